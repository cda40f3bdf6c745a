#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: job
short_description: Run a long command once, durably, and follow it
version_added: 0.1.0
description:
  - Runs a command on the target as a transient systemd service, which survives the SSH connection and the
    controller.
  - A job is known by its name and by a fingerprint of O(argv), O(environment) and O(inputs). When it finished
    with the same fingerprint and its O(outputs) exist, nothing runs. When it is running, the task attaches to
    it instead of starting a second one. When the fingerprint changed, or the last run did not finish, it runs
    again.
  - Progress is shown on the controller while the task waits, steps where O(progress) tells them, else what
    was written to the disk and the last line of the log. Interrupting the playbook leaves the job running.
  - Each run leaves a record, a small JSON file, and a log in O(records_dir). M(tpuops.maxtext.job_info) reads
    them.
  - The command of a user other than root runs in a sandbox. It gets no new privileges and no capabilities,
    cannot write to C(/usr), C(/boot) and C(/etc), sees no home directory below C(/home) and C(/root) and no
    process of other users, and has a C(/tmp) of its own. C(HOME) is the user's home directory, or C(/tmp)
    where that is out of reach.
  - Each job of the default O(user) has a group of its own while it runs. So no other job can read its memory,
    its environment or its O(secrets).
  - Needs root on the target (C(become)) and systemd 247 or later.
options:
  name:
    description:
      - Name of the job; one instance runs at a time. Any text that can be printed.
      - The service is called C(tpuops-<name>.service). A name with other characters than letters, digits,
        C(.), C(_) and C(-), or a longer one than 100, is replaced there, and in the names of the record and
        the log, by a part of it and a hash.
    type: str
    required: true
  argv:
    description:
      - The program and its arguments. There is no shell. Everyone on the machine can read them.
      - Required for O(state=finished) and O(state=started).
    type: list
    elements: str
  environment:
    description: Environment variables of the command that are no secret. Values must be strings or numbers.
    type: dict
    default: {}
  secrets:
    description:
      - Environment variables of the command that nobody else may read.
      - They reach the command through credentials of its service, files in memory that only the service can
        read. They are part of no command line, unit file, record, log or return value, nor of the
        fingerprint.
      - Another job of the default O(user) cannot read them either. Jobs of another user can.
    type: dict
    default: {}
  chdir:
    description: Directory to run the command in. It must exist, and not lie below C(/home) or C(/root). The
      default is the root directory.
    type: path
  user:
    description:
      - Whom the command runs as.
      - The default is C(tpuops), the user that the role C(data_disk) creates for the jobs.
    type: str
  inputs:
    description:
      - What the result depends on beside O(argv) and O(environment), such as the hash of a lock file or the
        revision of a model.
      - Kept in the record, hashed into the fingerprint.
    type: dict
    default: {}
  outputs:
    description: Files or directories that must exist when the command has succeeded. When one is gone, the
      job runs again.
    type: list
    elements: path
    default: []
  manifests:
    description:
      - What describes O(outputs) by size and hash. The keys are the files that the command writes beside
        them, in the format of this collection's C(manifest.py), the values the directories that they
        describe.
      - When a file there is gone, or has another size, or was changed since and has another content, the job
        runs again. Only files that changed are read for that.
    type: dict
    default: {}
    version_added: 0.2.0
  progress:
    description: How to tell the progress. Without it, what was written to the disk and the last line of the
      log are shown, at most every ten seconds.
    type: dict
    suboptions:
      file:
        description: The file that tells it. The default is the job's log.
        type: path
      format:
        description:
          - V(json) reads a JSON object a line with C(step) and optionally C(total), C(loss), C(seconds) (for
            the step), C(tokens_per_second) (for each device) and C(message).
          - V(maxtext) reads what MaxText's trainers log for each step.
          - V(pattern) reads lines with O(progress.pattern).
        type: str
        choices: [json, maxtext, pattern]
        default: json
      pattern:
        description: A regular expression of Python with groups named like the fields of
          O(progress.format=json).
        type: str
      total:
        description: The number of steps, for C(40/100) and for the estimate of the time left.
        type: int
  timeout:
    description: Seconds after which the command is stopped and the job fails. The default is no limit.
    type: int
  disk_space:
    description:
      - What the command will write to the disk of O(records_dir), at most. The job does not start on a disk
        with less free space.
      - The sum of O(disk_space.bytes) and O(disk_space.times) the size of O(disk_space.like), less the size
        of what O(disk_space.present) names.
      - With neither O(disk_space.bytes) nor O(disk_space.like) nothing is compared, and the module warns of
        that where it starts the job.
    type: dict
    suboptions:
      bytes:
        description: A number of bytes.
        type: float
      like:
        description: A file or directory to compare with.
        type: path
      times:
        description: How often its size is written.
        type: float
        default: 1
      present:
        description: What the command leaves, or takes from a cache; as much of it as is there already need
          not be written.
        type: list
        elements: path
        default: []
  conflicts:
    description: Units beside which the job must not run, as shell patterns, for example of services that hold
      the same chips. The job does not start while one of them runs. One that is stopping is waited for, up
      to 70 seconds.
    type: list
    elements: str
    default: []
  stops:
    description:
      - Units that are stopped before the job starts, such as the server of the same run, which holds the
        chips.
      - The keys are their names, the values a line that their unit file must have; a unit without it is
        somebody else's and keeps running.
    type: dict
    default: {}
    version_added: 0.2.0
  background:
    description:
      - Whether the command gives way to all other programs of the machine, for processor and disk.
      - It is work ahead of its time, whose loss costs nothing but that time. So a node on which nothing else
        runs may be deleted or stopped.
      - It takes effect when the job starts. A task that attaches to the job changes nothing.
    type: bool
    default: false
    version_added: 0.2.0
  restart:
    description: What is started again, how often.
    type: dict
    suboptions:
      failed:
        description: The command, when it failed. The machine sees to that by itself. O(timeout) is for all
          attempts together.
        type: int
        default: 0
      interrupted:
        description: The job, when the machine restarted under it. The task sees to that while it waits.
        type: int
        default: 0
  stop_timeout:
    description: Seconds that the command has to end after SIGTERM, when it is stopped or out of time, before
      it is killed.
    type: int
    default: 60
  records_dir:
    description:
      - Directory of the records and logs. Best on the disk that holds the outputs.
      - It is created when it is missing, with at most its parent. When it lies on a disk that has a mount
        unit and is not mounted yet, as right after a restart, that is mounted first.
    type: path
    default: /mnt/disks/checkpoints/.tpuops/jobs
  state:
    description:
      - V(finished) runs the job, or attaches to it, and waits until it has finished. The task fails when the
        job does.
      - V(started) returns as soon as the job runs.
      - V(attached) follows the job when it is running, whatever its command, and waits until it has finished.
      - V(stopped) stops the job when it is running.
    type: str
    choices: [finished, started, attached, stopped]
    default: finished
  poll:
    description: Seconds between two looks at a running job, at most. They are seconds apart at first, and
      a fiftieth of the time that passed later. The end is noticed at once.
    type: int
    default: 60
  reconnect_timeout:
    description: Seconds for which a job is waited for that cannot be reached. The job does not notice.
    type: int
    default: 300
  reconnect_interval:
    description: Seconds between two attempts to reach the machine, to find the job's record, or to learn from
      Google why the machine shut down.
    type: float
    default: 5
    version_added: 0.2.0
notes:
  - The C(async) keyword is refused; a job is durable without it.
  - With C(--diff), shows what of O(argv), O(environment) and O(inputs) changed since the last run.
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.tpu_worker
attributes:
  check_mode:
    support: full
    details:
      - Tells whether the job would run.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: tpuops.maxtext.job_info
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Fine-tune the model
  tpuops.maxtext.job:
    name: sft-demo
    argv:
      - /mnt/disks/checkpoints/env/train/bin/python
      - -m
      - maxtext.trainers.post_train.sft.train_sft
      - src/maxtext/configs/post_train/sft.yml
      - run_name=demo
      - steps=100
    environment:
      JAX_PLATFORMS: tpu
    secrets:
      HF_TOKEN: "{{ hf_token }}"
    inputs:
      environment_lock: "{{ lock_sha256 }}"
    outputs:
      - /mnt/disks/checkpoints/maxtext/demo/checkpoints
    progress:
      format: maxtext
      total: 100
    timeout: 7200
  become: true

- name: Start a job and come back for it later
  tpuops.maxtext.job:
    name: download
    argv: [hf, download, Qwen/Qwen3-4B]
    state: started
    background: true
  become: true

- name: Follow it, without knowing what it does
  tpuops.maxtext.job:
    name: download
    state: attached
  become: true

- name: Stop it
  tpuops.maxtext.job:
    name: download
    state: stopped
  become: true
"""

RETURN = r"""
job:
  description: The record of the job.
  returned: when the job is known
  type: dict
  contains:
    name:
      description: Name of the job.
      type: str
      returned: always
      sample: sft-demo
    unit:
      description: Name of its service.
      type: str
      returned: always
      sample: tpuops-sft-demo.service
    status:
      description:
        - One of V(running), V(finished), V(failed), V(timeout), V(stopped), V(interrupted).
        - V(interrupted) means that the machine restarted, shut down or was replaced while the job ran.
      type: str
      returned: always
      sample: finished
    reason:
      description: Why it has this status, where there is more to say than the exit status.
      type: str
      returned: always
      sample: it ran longer than 7200 s
    fingerprint:
      description: SHA-256 of O(argv), O(environment) and O(inputs).
      type: str
      returned: always
      sample: 4a0c1f1e9a0f8b7f7c3d2b5e6a1d0c9b8a7f6e5d4c3b2a190817f6e5d4c3b2a1
    argv:
      description: The command.
      type: list
      elements: str
      returned: always
      sample: [python3, -m, trainer]
    environment:
      description: Its environment variables, without the secrets.
      type: dict
      returned: always
      sample: {"JAX_PLATFORMS": "tpu"}
    inputs:
      description: What the result depends on.
      type: dict
      returned: always
      sample: {"steps": 100}
    outputs:
      description: What it leaves.
      type: list
      elements: str
      returned: always
      sample: [/mnt/disks/checkpoints/maxtext/demo/checkpoints]
    manifests:
      description: What describes them by size and hash, each with the directory that it describes.
      type: dict
      returned: always
      sample: {}
    chdir:
      description: Directory it ran in.
      type: str
      returned: always
      sample: /mnt/disks/checkpoints
    user:
      description: Whom it ran as.
      type: str
      returned: always
      sample: tpuops
    timeout:
      description: Limit of its time in seconds.
      type: int
      returned: always
      sample: 7200
    restarts:
      description: How often its command may be started again after a failure.
      type: int
      returned: always
      sample: 0
    attempts:
      description: How often its command was started in this run.
      type: int
      returned: always
      sample: 1
    disk:
      description:
        - The directory on whose disk it writes (C(path)), the bytes in use there when it started (C(used)),
          and the bytes that it is expected to write (C(needed)), null where nothing is known of them.
        - Null when it did not start.
      type: dict
      returned: always
      sample: {"path": "/mnt/disks/checkpoints/.tpuops/jobs", "used": 41000000, "needed": 8044936192}
    stopped:
      description: The units of O(stops) that were stopped for it.
      type: list
      elements: str
      returned: always
      sample: [vllm.service]
    log:
      description: Path of its log; the log of the run before lies beside it with C(.1) appended.
      type: str
      returned: always
      sample: /mnt/disks/checkpoints/.tpuops/jobs/sft-demo.log
    progress:
      description: File that tells the progress, the byte at which this run's part of it begins, and what of
        O(progress) was set.
      type: dict
      returned: always
      sample: {"file": "/mnt/disks/checkpoints/.tpuops/jobs/sft-demo.log", "offset": 0}
    started:
      description: When it started, in UTC.
      type: str
      returned: always
      sample: "2026-11-24T04:05:00.000+00:00"
    ended:
      description: When it ended, in UTC; null while it runs.
      type: str
      returned: always
      sample: "2026-11-24T04:08:00.000+00:00"
    seconds:
      description: How long it ran; null while it runs.
      type: float
      returned: always
      sample: 180.2
    exit_code:
      description: Exit status of the command; null when a signal ended it.
      type: int
      returned: always
      sample: 0
    signal:
      description: The signal that ended the command, or null.
      type: str
      returned: always
      sample: SIGKILL
    peak_memory_bytes:
      description: The largest resident set of any of its processes; null when it is unknown.
      type: int
      returned: always
      sample: 1288490188
    cpu_seconds:
      description: Time of the processors that the command and its children took; null when it is unknown.
      type: float
      returned: when it ended
      sample: 1420.5
    boot_id:
      description: The boot of the machine that it ran in.
      type: str
      returned: always
      sample: 6d2c0f4e-6a36-4d0e-8f0e-2a3c5c8c9f10
    background:
      description: Whether it gives way to all other programs.
      type: bool
      returned: when it does
      sample: true
    machine_id:
      description: The machine that it ran on.
      type: str
      returned: always
      sample: 2f1e5a5d8f9b4c0d9e8f7a6b5c4d3e2f
    runs:
      description: How often the job ran with this fingerprint, this run included.
      type: int
      returned: always
      sample: 1
failure:
  description: The cause, where the node is lost.
  returned: when the node is lost
  type: dict
  sample: {"kind": "preempted", "code": 0, "reason": "PREEMPTED", "details": []}
reached:
  description: The last step that the job told before its node was lost, with what it said of it.
  returned: when the node is lost
  type: dict
  sample: {"step": 37.0, "loss": 1.5}
action:
  description: What the task did; one of V(run), V(attach), V(skip), V(stop), V(none).
  returned: success
  type: str
  sample: run
reason:
  description: Why it did that.
  returned: success
  type: str
  sample: inputs.steps changed
silent:
  description: Whether systemd did not answer or started nothing, as the machine shuts down or has just
    started.
  returned: on failure, unless a disk is why
  type: bool
  sample: false
"""

import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, records, space, systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.worker import NODE


def difference(before: dict[str, Any] | None, after: dict[str, Any]) -> dict[str, Any]:
    """The fingerprinted fields, for --diff."""
    return {
        "before_header": "last run",
        "after_header": "this run",
        "before": {field: before[field] for field in records.FINGERPRINTED} if before else {},
        "after": {field: after[field] for field in records.FINGERPRINTED},
    }


def ensure_running(module: AnsibleModule, paths: Paths) -> dict[str, Any]:
    """Run, attach or do nothing; the result of the task as far as it is known by then."""
    params = module.params
    wanted = records.new(
        paths,
        params["argv"],
        params["environment"],
        params["inputs"],
        outputs=params["outputs"],
        manifests=params["manifests"],
        chdir=params["chdir"],
        user=params["user"],
        timeout=params["timeout"],
        progress=params["progress"],
        restarts=(params["restart"] or {}).get("failed") or 0,
        background=params["background"],
    )
    previous = records.current(paths.record)
    decision = records.decide(previous, wanted)
    if decision.action == "refuse":
        raise launch.refuse(paths, decision.reason)
    changed = decision.action != "skip"
    result: dict[str, Any] = {"changed": changed, "action": decision.action, "reason": decision.reason}
    if decision.action != "run":
        return {**result, "job": previous}
    if module._diff:
        result["diff"] = difference(previous, wanted)
    if module.check_mode:
        return result
    disk = params["disk_space"]
    if disk and disk["bytes"] is None and disk["like"] is None:
        module.warn(
            f"How much job {paths.name} will write is not known, so nothing was compared with the free space "
            f"of {paths.records_dir}; should that disk fill up, the job fails and says so."
        )
    secrets = {name: str(value) for name, value in params["secrets"].items()}
    record = launch.run(
        paths,
        wanted,
        previous,
        secrets,
        stop_timeout=params["stop_timeout"],
        disk_space=disk,
        conflicts=params["conflicts"],
        stops=params["stops"],
    )
    for unit in record["stopped"]:
        module.warn(f"{unit} was stopped for job {paths.name}, which needs what it held.")
    return {**result, "job": record}


def ensure_stopped(module: AnsibleModule, paths: Paths) -> dict[str, Any]:
    stopped = systemd.is_active(paths.unit) if module.check_mode else launch.stop(paths)
    result = {
        "changed": stopped,
        "action": "stop" if stopped else "none",
        "reason": "it was running" if stopped else "it was not running",
    }
    record = records.current(paths.record)
    return {**result, "job": record} if record else result


def attach(paths: Paths) -> dict[str, Any]:
    record = records.current(paths.record)
    if record is None:
        return {"changed": False, "action": "none", "reason": "it never ran"}
    running = record["status"] == "running"
    reason = "it is running" if running else f"its last run is {record['status']}"
    return {"changed": False, "action": "attach" if running else "none", "reason": reason, "job": record}


def act(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    paths = Paths(params["name"], params["records_dir"])
    records.check_paths(paths)
    systemd.mount(paths.records_dir)
    if params["state"] == "stopped":
        return ensure_stopped(module, paths)
    if params["state"] == "attached":
        return attach(paths)
    records.check_command(params["argv"], params["environment"], params["secrets"], params["inputs"])
    if module.check_mode:
        return ensure_running(module, paths)
    with launch.locked(paths.lock):
        return ensure_running(module, paths)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "argv": {"type": "list", "elements": "str"},
            "environment": {"type": "dict", "default": {}},
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "chdir": {"type": "path"},
            "user": {"type": "str"},
            "inputs": {"type": "dict", "default": {}},
            "outputs": {"type": "list", "elements": "path", "default": []},
            "manifests": {"type": "dict", "default": {}},
            "progress": {
                "type": "dict",
                "options": {
                    "file": {"type": "path"},
                    "format": {"type": "str", "choices": ["json", "maxtext", "pattern"], "default": "json"},
                    "pattern": {"type": "str"},
                    "total": {"type": "int"},
                },
                "required_if": [("format", "pattern", ["pattern"])],
            },
            "timeout": {"type": "int"},
            "disk_space": {
                "type": "dict",
                "options": {
                    "bytes": {"type": "float"},
                    "like": {"type": "path"},
                    "times": {"type": "float", "default": 1},
                    "present": {"type": "list", "elements": "path", "default": []},
                },
            },
            "conflicts": {"type": "list", "elements": "str", "default": []},
            "stops": {"type": "dict", "default": {}},
            "background": {"type": "bool", "default": False},
            "restart": {
                "type": "dict",
                "options": {
                    "failed": {"type": "int", "default": 0},
                    "interrupted": {"type": "int", "default": 0},
                },
            },
            "stop_timeout": {"type": "int", "default": launch.STOP_TIMEOUT},
            "records_dir": {"type": "path", "default": records.RECORDS_DIR},
            "state": {
                "type": "str",
                "choices": ["finished", "started", "attached", "stopped"],
                "default": "finished",
            },
            "poll": {"type": "int", "default": 60},
            "reconnect_timeout": {"type": "int", "default": 300},
            "reconnect_interval": {"type": "float", "default": 5.0},
            "node": {"type": "dict", "options": NODE},
        },
        required_if=[("state", "finished", ["argv"]), ("state", "started", ["argv"])],
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="a job is a system service and needs root. Set become: true on the task")
    try:
        result = act(module)
    except (JobError, systemd.SystemdError) as error:
        module.fail_json(msg=str(error), silent=isinstance(error, systemd.SystemdSilent))
    except OSError as error:
        module.fail_json(msg=str(space.trouble(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
