#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_upload
short_description: Upload a folder to a repository on the Hugging Face Hub
version_added: 0.1.0
description:
  - Compares each file of a folder on the target with what the Hub has, by size and hash, and uploads in one
    commit what differs. When nothing differs, nothing is sent and no commit is made.
  - The upload is a job, as of M(tpuops.maxtext.job), so it survives the connection and the controller.
    Running the task again attaches to it. Faults of the network and of the Hub are tried again, without
    sending again what has arrived. When the machine restarts under it, it is started again.
  - The upload leaves a manifest in the repository, C(tpuops-upload.json). It lists the uploaded files with
    their hashes. By it the next upload knows which files are its own. It deletes those that the folder no
    longer has, in the same commit.
  - Other files, and files that somebody changed since, stop the task before anything is sent. A model is
    loaded from all files of its repository, so they would be mixed with the folder's. Documents are allowed,
    such as C(README.md), C(LICENSE) and images. Those of others are never changed.
  - Afterwards the repository is compared with the folder once more. The task succeeds only when they are the
    same.
  - Runs on the target with the huggingface_hub of another Python than Ansible's own. Needs root (C(become))
    and systemd.
options:
  manifest:
    description:
      - What was recorded of the files in O(folder), in the format of this collection's C(manifest.py). When
        one of them differs from it, nothing is uploaded.
      - The sizes are compared each time, the contents before something is uploaded.
    type: path
    version_added: 0.2.0
  folder:
    description: The folder to upload, with everything below it but C(.git) and C(.cache).
    type: path
    required: true
  revision:
    description: Branch to upload to.
    type: str
    default: main
  ignore_patterns:
    description: Files to leave out, as shell patterns that are matched with the path below the folder.
    type: list
    elements: str
    default: []
  replace:
    description: Whether a repository that has files of others is replaced as a whole, documents included. One
      that has only files of earlier uploads, and documents, is handled as without this option.
    type: bool
    default: false
    version_added: 0.2.0
  commit_message:
    description: Message of the commit.
    type: str
    default: Upload with tpuops.maxtext
  name:
    description: Name of the job. The default is C(upload-) and O(repo_id) with a dot in place of the slash.
    type: str
  records_dir:
    description: Directory of the job's record and log; see O(tpuops.maxtext.job#module:records_dir).
    type: path
    default: /mnt/disks/checkpoints/.tpuops/jobs
  timeout:
    description: Seconds after which the upload is stopped and the task fails. The default is no limit.
    type: int
  poll:
    description: Seconds between two looks at the upload, at most. They are seconds apart at first, and
      a fiftieth of the time that passed later. The end is noticed at once.
    type: int
    default: 60
  reconnect_timeout:
    description: Seconds for which a target is waited for that cannot be reached.
    type: int
    default: 300
  reconnect_interval:
    description: Seconds between two attempts to reach the target, or to find the record of the upload.
    type: float
    default: 5
    version_added: 0.2.0
extends_documentation_fragment:
  - tpuops.maxtext.huggingface
  - tpuops.maxtext.attributes
  - tpuops.maxtext.tpu_worker
attributes:
  check_mode:
    support: full
    details:
      - Lists what would be uploaded. A folder or repository that does not exist yet counts as a change.
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: tpuops.maxtext.hf_repo
  - module: tpuops.maxtext.job
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Upload the export
  tpuops.maxtext.hf_upload:
    folder: /mnt/disks/checkpoints/huggingface/qwen3-4b-sft
    repo_id: me/qwen3-4b-sft
    token: "{{ hf_token }}"
    python: /mnt/disks/checkpoints/env/train/bin/python
  become: true
"""

RETURN = r"""
upload:
  description: The files that differed before the task, relative to O(folder).
  returned: success
  type: list
  elements: str
  sample: [config.json, model-00001-of-00002.safetensors]
delete:
  description: The files that the task deletes from the repository, as the folder does not have them.
  returned: success
  type: list
  elements: str
  sample: []
bytes:
  description: Size of the files in RV(upload).
  returned: success
  type: int
  sample: 8044936192
files:
  description: Number of files in the folder, without the ignored ones.
  returned: success
  type: int
  sample: 9
revision_before:
  description: Commit that the folder was compared with; null in check mode when there is no repository yet.
  returned: success
  type: str
  sample: 3fa1c0d2e4b5a69788796a5b4c3d2e1f00112233
action:
  description: What the task did; one of V(run), V(attach), V(skip).
  returned: success
  type: str
  sample: run
job:
  description: The record of the upload, as M(tpuops.maxtext.job) returns it.
  returned: when there was something to upload
  type: dict
  sample: {"name": "upload-me.qwen3-4b-sft", "status": "finished", "seconds": 64.0}
silent:
  description: Whether systemd did not answer or started nothing, as the machine shuts down or has just
    started.
  returned: on failure, unless a disk is why
  type: bool
  sample: false
"""

import hashlib
import json
import os
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest as manifests
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import hub, target
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, records, space, systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.worker import NODE

PROGRAM = "hub.py"


def compare(module: AnsibleModule) -> dict[str, Any]:
    """What differs; in check mode the folder and the repository need not be there yet."""
    params = module.params
    if not os.path.isdir(params["folder"]):
        if not module.check_mode:
            raise HubError(f"folder: {params['folder']} is not a directory on the target")
        return {"upload": [], "delete": [], "manifest": None, "bytes": 0, "files": 0, "revision": None}
    request = {field: params[field] for field in ("folder", "ignore_patterns", "revision", "replace")}
    comparison = target.call(params, "compare", request)
    if comparison["revision"] is None and not module.check_mode:
        raise HubError(f"repo_id: there is no {params['repo_id']} at {params['endpoint']}. Create it first")
    return comparison


def manifest(folder: str, ignore_patterns: list[str]) -> str:
    """A digest of the folder's files by name, size and time of change; new when one was written."""
    entries = []
    for path in hub.local_files(folder, ignore_patterns):
        status = os.stat(os.path.join(folder, path))
        entries.append([path, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def check_folder(params: dict[str, Any], *, thorough: bool) -> None:
    """Compare the folder with its manifest, all of it before anything is sent."""
    if params["manifest"] is None or not os.path.isdir(params["folder"]):
        return
    damage = manifests.problems(params["manifest"], params["folder"], thorough=thorough)
    if damage:
        raise HubError(
            f"folder: {params['folder']} is damaged ({manifests.sentence(damage)}), so nothing was uploaded. "
            f"Remove its record (sudo rm {params['manifest']} on the machine) and export again: "
            "ansible-playbook site.yml --tags export"
        )


def ensure_uploading(params: dict[str, Any], revision: str) -> dict[str, Any]:
    """Run the upload, or attach to it when it runs already."""
    name = params["name"] or f"upload-{params['repo_id'].replace('/', '.')}"
    paths = Paths(name, params["records_dir"])
    records.check_paths(paths)
    request = {
        "repo_id": params["repo_id"],
        "repo_type": params["repo_type"],
        "revision": params["revision"],
        "folder": params["folder"],
        "ignore_patterns": params["ignore_patterns"],
        "replace": params["replace"],
        "message": params["commit_message"],
    }
    program = os.path.join(paths.directory, PROGRAM)
    argv = [params["python"], "-I", program, "upload", json.dumps(request)]
    inputs = {"files": manifest(params["folder"], params["ignore_patterns"]), "revision_before": revision}
    secrets = {"HF_TOKEN": params["token"]}
    variables = target.environment(params)
    records.check_command(argv, variables, secrets, inputs)
    systemd.mount(paths.records_dir)
    with launch.locked(paths.lock):
        wanted = records.new(
            paths, argv, variables, inputs, outputs=[], user=params["user"], timeout=params["timeout"]
        )
        previous = records.current(paths.record)
        decision = records.decide(previous, wanted)
        if decision.action == "refuse":
            raise launch.refuse(paths, decision.reason)
        if decision.action == "attach":
            return {"action": "attach", "job": previous}
        # A record that says finished does not count: the Hub has just said otherwise.
        files = {PROGRAM: launch.source_of(hub)}
        return {"action": "run", "job": launch.run(paths, wanted, previous, secrets, files=files)}


def ensure(module: AnsibleModule) -> dict[str, Any]:
    target.check(module.params)
    comparison = compare(module)
    check_folder(module.params, thorough=bool(comparison["upload"]))
    revision = comparison.pop("revision")
    changed = hub.differs(comparison) or revision is None
    del comparison["manifest"]
    result: dict[str, Any] = {"changed": changed, "action": "run" if changed else "skip", **comparison}
    result["revision_before"] = revision
    if module._diff:
        lines = [f"{action} {path}\n" for action in ("upload", "delete") for path in comparison[action]]
        result["diff"] = {"prepared": "".join(lines)}
    if changed and not module.check_mode:
        result.update(ensure_uploading(module.params, revision))
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **target.ARGUMENTS,
            "folder": {"type": "path", "required": True},
            "manifest": {"type": "path"},
            "revision": {"type": "str", "default": "main"},
            "ignore_patterns": {"type": "list", "elements": "str", "default": []},
            "replace": {"type": "bool", "default": False},
            "commit_message": {"type": "str", "default": "Upload with tpuops.maxtext"},
            "name": {"type": "str"},
            "records_dir": {"type": "path", "default": records.RECORDS_DIR},
            "timeout": {"type": "int"},
            "poll": {"type": "int", "default": 60},
            "reconnect_timeout": {"type": "int", "default": 300},
            "reconnect_interval": {"type": "float", "default": 5.0},
            "node": {"type": "dict", "options": NODE},
        },
        supports_check_mode=True,
    )
    if os.geteuid() != 0:
        module.fail_json(msg="an upload is a system service and needs root. Set become: true on the task")
    try:
        result = ensure(module)
    except (HubError, JobError, systemd.SystemdError) as error:
        module.fail_json(msg=str(error), silent=isinstance(error, systemd.SystemdSilent))
    except OSError as error:
        module.fail_json(msg=str(space.trouble(error)))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
