#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: checkpoint_info
short_description: Find MaxText's checkpoints and tell which are complete
version_added: 0.1.0
description:
  - Lists the checkpoints of a training run or of a converted model on the target's disk.
  - A checkpoint is complete when each part of it that holds arrays has C(_METADATA), C(manifest.ocdbt), C(d)
    and C(ocdbt.process_0), no file of them is empty, and the sizes are those of its manifest, where it has
    one. What Orbax has not finished writing
    (C(*.orbax-checkpoint-tmp)) is no checkpoint.
options:
  path:
    description:
      - Directory of a run (it has C(checkpoints) in it), of checkpoints, or of a converted model (it has
        C(0/items) in it).
      - There are no checkpoints in a directory that does not exist.
      - When it lies on a disk that has a mount unit and is not mounted yet, as right after a restart, that is
        mounted first. This needs root (C(become)).
    type: path
    required: true
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Find out how far training got
  tpuops.maxtext.checkpoint_info:
    path: /mnt/disks/checkpoints/maxtext/qwen3-4b-sft
  register: trained

- name: Stop when the base model is not there
  ansible.builtin.assert:
    that: trained.latest_step is not none
"""

RETURN = r"""
checkpoints:
  description: The checkpoints by step.
  returned: success
  type: list
  elements: dict
  contains:
    step:
      description: The step.
      type: int
      returned: always
      sample: 100
    path:
      description: Its directory.
      type: str
      returned: always
      sample: /mnt/disks/checkpoints/maxtext/qwen3-4b-sft/checkpoints/100
    complete:
      description: Whether everything is there.
      type: bool
      returned: always
      sample: true
    parts:
      description: The parts with arrays that are there.
      type: list
      elements: str
      returned: always
      sample: [model_params, optimizer_state]
    digest:
      description: The SHA-256 of the names and hashes of its files, by its manifest; null without one.
      type: str
      returned: always
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    manifest:
      description: The path of its manifest; null where there is no such file.
      type: str
      returned: always
      sample: /mnt/disks/checkpoints/maxtext/qwen3-4b-sft/manifests/100.json
    about:
      description: What it depends on, as its manifest says; null without one.
      type: dict
      returned: always
      sample: {hf_model: Qwen/Qwen3-4B}
    missing:
      description:
        - What is not there, or empty, and should not be, relative to the checkpoint's directory. Else how its
          files differ from the manifest that its training left.
      type: list
      elements: str
      returned: always
      sample: []
latest_step:
  description: The highest step of a complete checkpoint; null when there is none.
  returned: success
  type: int
  sample: 100
latest_digest:
  description:
    - The SHA-256 of the names and hashes of the files of that checkpoint, by its manifest; null when there is
      no checkpoint, or no manifest of it.
  returned: success
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
latest_about:
  description: What that checkpoint depends on, as its manifest says; null when there is no
    checkpoint, or no manifest of it.
  returned: success
  type: dict
  sample: {hf_model: Qwen/Qwen3-4B}
latest_path:
  description: The directory of that checkpoint; null when there is none.
  returned: success
  type: str
  sample: /mnt/disks/checkpoints/maxtext/qwen3-4b-sft/checkpoints/100
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import checkpoints
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd


def main() -> None:
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True
    )
    path = module.params["path"]
    if not os.path.isabs(path):
        module.fail_json(msg=f"path: {path} is not the absolute path of a directory on the target")
    try:
        systemd.mount(path)
        found = checkpoints.find(path)
    except systemd.SystemdError as error:
        module.fail_json(msg=f"path: {error}")
    except PermissionError as error:
        module.fail_json(msg=f"path: {error.filename} may not be read by this user. Set become: true")
    latest = checkpoints.latest(found)
    module.exit_json(
        changed=False,
        checkpoints=found,
        latest_step=latest["step"] if latest else None,
        latest_path=latest["path"] if latest else None,
        latest_digest=latest["digest"] if latest else None,
        latest_about=latest["about"] if latest else None,
    )


if __name__ == "__main__":
    main()
