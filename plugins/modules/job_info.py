#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: job_info
short_description: Read the records of jobs, and what a running one wrote
version_added: 0.1.0
description:
  - Reads what M(tpuops.maxtext.job) left. One job by its name, or all that have a record in O(records_dir).
  - Records are for root to read (C(become)).
options:
  name:
    description: Name of the job. The default is all jobs.
    type: str
  records_dir:
    description: Directory of the records.
    type: path
    default: /mnt/disks/checkpoints/.tpuops/jobs
  wait:
    description: Seconds to wait for the job to end; returns as soon as it has. Needs O(name).
    type: float
    default: 0
  offset:
    description:
      - Byte of the job's progress file from which on to return its text. Needs O(name).
      - The default is not to return any text. V(-1) is the beginning of the current run.
    type: int
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.job
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Read all jobs of this machine's disk
  tpuops.maxtext.job_info:
  register: known
  become: true

- name: Look at one job
  tpuops.maxtext.job_info:
    name: sft-demo
  register: sft
  become: true
"""

RETURN = r"""
jobs:
  description:
    - The records, as M(tpuops.maxtext.job) returns them, in the order of their start.
    - Empty when the named job never ran.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "sft-demo", "status": "finished", "seconds": 180.2}]
text:
  description: What the progress file got since O(offset), whole lines only, the last 64 KiB of it.
  returned: when O(offset) is given
  type: str
  sample: "completed step: 1, seconds: 31.946\n"
offset:
  description: The byte to go on from.
  returned: when O(offset) is given
  type: int
  sample: 35
written:
  description: Bytes that the disk of the records got since the job started, from any program; null when
    unknown.
  returned: when O(offset) is given
  type: int
  sample: 8044936192
log_tail:
  description: The lines of the log that best explain how the job ended, at most 20.
  returned: when O(name) is given and the job ended without finishing
  type: list
  elements: str
  sample: ["ValueError: column messages is not there"]
silent:
  description: Whether systemd did not answer or started nothing, as the machine shuts down or has just
    started.
  returned: on failure, unless a disk is why
  type: bool
  sample: false
"""

import os
import time
from collections.abc import Iterable
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log, records, space, systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths

JOBS = "tpuops-*.service"
GUARD = "tpuops-guard.service"  # of the role tpu_vm, and no job
LOOK_EVERY = 0.2  # seconds; a look is one stat()


def all_records(directory: str) -> list[dict[str, Any]]:
    """The records in the directory by the time of their start; none when there is no directory."""
    try:
        names = [entry for entry in os.listdir(directory) if entry.endswith(".json")]
    except FileNotFoundError:
        return []
    found = [records.current(os.path.join(directory, entry)) for entry in names]
    return sorted((record for record in found if record), key=lambda record: str(record["started"]))


def check_complete(directory: str, running: Iterable[str], found: list[dict[str, Any]]) -> None:
    """Raise JobError where a job runs whose record is elsewhere: who deletes the node must not miss it."""
    missed = sorted({*running} - {record["unit"] for record in found} - {GUARD})
    if missed:
        raise JobError(
            f"records_dir: {directory} has no record of {', '.join(missed)}, which runs. Set "
            "data_disk_mount_point to where the data disk of that job is mounted."
        )


def every_job(directory: str) -> list[dict[str, Any]]:
    try:
        running = systemd.active([JOBS])  # first: a job that starts meanwhile has a record before
    except systemd.SystemdMissing:
        running = {}
    found = all_records(directory)
    check_complete(directory, running, found)
    return found


def wait_for_end(paths: Paths, seconds: float) -> None:
    """Return when the job's run directory is gone, the last thing that its unit does, or when time is up."""
    deadline = time.monotonic() + seconds
    while os.path.isdir(paths.directory) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)


def one_job(params: dict[str, Any]) -> dict[str, Any]:
    paths = Paths(params["name"], params["records_dir"])
    records.check_paths(paths)
    wait_for_end(paths, params["wait"])
    record = records.current(paths.record)  # before the text, so that the text of an ended job is complete
    if record is None:
        return {"jobs": []}
    result: dict[str, Any] = {"jobs": [record]}
    if params["offset"] is not None:
        progress = record["progress"]
        start = progress["offset"] if params["offset"] < 0 else params["offset"]
        result["text"], result["offset"] = log.read_chunk(progress["file"], start)
        result["written"] = space.written(record.get("disk"))
    if record["status"] not in ("running", "finished"):
        result["log_tail"] = log.tail(record["log"])
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str"},
            "records_dir": {"type": "path", "default": records.RECORDS_DIR},
            "wait": {"type": "float", "default": 0},
            "offset": {"type": "int"},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        systemd.mount(params["records_dir"])
        result = one_job(params) if params["name"] else {"jobs": every_job(params["records_dir"])}
    except (JobError, systemd.SystemdError) as error:
        module.fail_json(msg=str(error), silent=isinstance(error, systemd.SystemdSilent))
    except OSError as error:
        module.fail_json(msg=str(space.trouble(error)))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
