#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: prerequisites
short_description: Check that a stage has what it needs on the TPU VM
version_added: 0.2.0
description:
  - Looks on the target for what earlier stages leave there. Fails where something is missing, and names the
    tags of C(site.yml) that create it.
  - A path that is not given is not looked for.
options:
  stage:
    description: Tag of the stage that needs it.
    type: str
    required: true
  mount_point:
    description: Where the data disk is mounted. When it is not, nothing else is looked for.
    type: path
  environment:
    description: Directory of the environment of MaxText.
    type: path
  model:
    description: Directory of the converted model.
    type: path
  checkpoints:
    description: Directory of the checkpoints of a run.
    type: path
  server:
    description: Name of the systemd unit that serves the model.
    type: str
notes:
  - In check mode the task does not fail, as an earlier stage has not created anything then.
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Check that the disk is mounted and MaxText is installed
  tpuops.maxtext.prerequisites:
    stage: sft
    mount_point: /mnt/disks/checkpoints
    environment: /mnt/disks/checkpoints/env/train
  become: true
"""

RETURN = r"""
missing:
  description: What is not there; V(disk), V(environment), V(model), V(checkpoints), V(server).
  returned: success
  type: list
  elements: str
  sample: [environment, model]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import prerequisites
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.systemd import SystemdError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "stage": {"type": "str", "required": True},
            "mount_point": {"type": "path"},
            "environment": {"type": "path"},
            "model": {"type": "path"},
            "checkpoints": {"type": "path"},
            "server": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wanted = {name: value for name, value in module.params.items() if name != "stage"}
    try:
        lacks = prerequisites.missing(prerequisites.Wanted(**wanted))
    except SystemdError as error:
        module.fail_json(msg=f"mount_point: {error}")
    module.exit_json(changed=False, missing=lacks)


if __name__ == "__main__":
    main()
