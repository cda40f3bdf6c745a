#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: run_info
short_description: Read what runs on a TPU VM, and what its runs have left
version_added: 0.2.0
description:
  - Reads the records that M(tpuops.maxtext.job) left on the data disk, the first and the last loss of each
    training, and the unit of the server.
  - Records are for root to read (C(become)).
options:
  records_dir:
    description: Directory of the records.
    type: path
    default: /mnt/disks/checkpoints/.tpuops/jobs
  unit:
    description: Name of the systemd unit that serves the model.
    type: str
    default: vllm.service
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.job_info
  - module: tpuops.maxtext.run_report
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Read the runs of the TPU VM
  tpuops.maxtext.run_info:
  become: true
  register: runs
"""

RETURN = r"""
runs:
  description: The runs, in the order in which their trainings started.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the run.
      type: str
      returned: always
      sample: qwen3-4b-sft
    training:
      description:
        - Status, times, number of steps, and the fields of the first and the last step. Null without one.
      type: dict
      returned: always
      sample: {"status": "finished", "seconds": 180.2, "steps": 100, "first": {"step": 1, "loss": 6.9}}
    export:
      description: Status and directory of the export; null without one.
      type: dict
      returned: always
      sample: {"status": "finished", "directory": /mnt/disks/checkpoints/huggingface/qwen3-4b-sft}
    upload:
      description: Status of the last upload, and its repository; null without one.
      type: dict
      returned: always
      sample: {"status": "finished", "repo": me/qwen3-4b-sft}
running:
  description: The jobs that run, each with name and start.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "sft-qwen3-4b-sft", "started": "2026-11-24T04:00:00+00:00"}]
server:
  description: The model that is served, its port, its run, what it is (V(base), or the tuned model of V(hub)
    or V(export)), the file of its key, and whether it answers; null where none is.
  returned: success
  type: dict
  sample:
    model: me/qwen3-4b-sft
    port: 8000
    run: qwen3-4b-sft
    kind: hub
    key_file: /etc/tpuops/vllm-api-key
    healthy: true
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import run_info
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import records, systemd


def all_records(directory: str) -> list[dict[str, Any]]:
    systemd.mount(directory)  # a machine that has just started may not have done so yet
    names = os.listdir(directory) if os.path.isdir(directory) else []
    found = [records.current(os.path.join(directory, name)) for name in names if name.endswith(".json")]
    return sorted((record for record in found if record), key=lambda record: str(record["started"]))


def server(unit: str) -> dict[str, Any] | None:
    if not systemd.is_active(unit):
        return None
    found = run_info.server(systemd.text(unit))
    return {**found, "healthy": answers(found["port"])} if found else None


def answers(port: int) -> bool:
    from urllib.request import ProxyHandler, build_opener

    try:
        # No proxy: the address is the machine's own.
        with build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "records_dir": {"type": "path", "default": records.RECORDS_DIR},
            "unit": {"type": "str", "default": "vllm.service"},
        },
        supports_check_mode=True,
    )
    try:
        known = all_records(module.params["records_dir"])
        serves = server(module.params["unit"])
    except (records.JobError, systemd.SystemdError) as error:
        module.fail_json(msg=str(error))
    except PermissionError as error:
        module.fail_json(msg=f"records_dir: {error.filename} may not be read by this user. Set become: true.")
    module.exit_json(
        changed=False,
        runs=run_info.runs(known),
        running=[
            {"name": record["name"], "started": record["started"]}
            for record in known
            if record["status"] == "running"
        ],
        server=serves,
    )


if __name__ == "__main__":
    main()
