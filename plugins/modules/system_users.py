#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: system_users
short_description: Create the users that services run as
version_added: 0.2.0
description:
  - Creates users that nobody can log in as. They have no password, no shell and no C(sudo), and are expired.
  - Each has a group of the same name and number, and a home directory that only it can read.
  - The numbers are the same on each machine, so that the files on a data disk keep their owner.
options:
  users:
    description: The users.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the user and of its group.
        type: str
        required: true
      number:
        description: Number of the user and of its group.
        type: int
        required: true
      home:
        description: Home directory. Its parents are created when they are missing, as root's.
        type: path
        required: true
  devices:
    description:
      - Device files that the users need, as shell patterns.
      - The users become members of the group of a device that is open to its group and not to all. The module
        warns of a device that is open to root alone.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Create the user of the jobs
  tpuops.maxtext.system_users:
    users:
      - name: tpuops
        number: 60801
        home: /var/lib/tpuops
    devices: [/dev/vfio/*, /dev/accel*]
  become: true
"""

RETURN = r"""
created:
  description: The users of which something was missing or different, such as the group or the home.
  returned: success
  type: list
  elements: str
  sample: [tpuops]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.accounts import Account, AccountError


def ensure(account: Account, groups: list[str], check_mode: bool) -> bool:
    """Create what is missing of an account; whether anything was."""
    steps = account.steps()
    steps += [
        ["usermod", "--append", f"--groups={group}", account.name]
        for group in groups
        if account.name not in accounts.members(group)
    ]
    home = account.needs_home()
    if not check_mode:
        for step in steps:
            accounts.call(step)
        if home:
            account.make_home()
    return bool(steps or home)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "users": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "number": {"type": "int", "required": True},
                    "home": {"type": "path", "required": True},
                },
            },
            "devices": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        found = accounts.devices(module.params["devices"])
        groups = accounts.device_groups(found)
        with accounts.alone():
            created = [
                user["name"]
                for user in module.params["users"]
                if ensure(Account(**user), groups, module.check_mode)
            ]
    except AccountError as error:
        module.fail_json(msg=f"users: {error}.")
    except OSError as error:
        module.fail_json(msg=f"users: {error}.")
    if closed := accounts.closed(found):
        module.warn(
            f"devices: only root may use {', '.join(closed)}. A job that needs it fails. "
            "Give it a group, or open it to all, with a udev rule."
        )
    module.exit_json(changed=bool(created), created=created)


if __name__ == "__main__":
    main()
