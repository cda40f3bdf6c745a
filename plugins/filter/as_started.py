# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A message whose commands act on the cloud that it speaks of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.plugin_utils import command_line

DOCUMENTATION = r"""
name: as_started
short_description: A message whose commands act on the cloud that it speaks of
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Replaces each C(ansible-playbook playbooks/NAME.yml) and C(ansible-playbook site.yml) of a message by the
    command that the user can type. It has the inventory of the running command, and the extra variables of
    it that name the project, the zone, the node, its owner and labels, the mount point of the disk, the
    model, the run, and the port of the server. For C(site.yml) it also has the settings that make the run and
    its node. A file of variables is named again. Secrets and what is meant for one command are left out.
  - A playbook that was started by its full name, as from Galaxy, gives commands with full names.
options:
  _input:
    description: The message.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say how to end the costs
  ansible.builtin.debug:
    msg: "{{ 'Delete the node with ansible-playbook playbooks/teardown.yml.' | tpuops.maxtext.as_started }}"
"""

RETURN = r"""
_value:
  description: The message.
  type: str
"""


def as_started(text: Any) -> str:
    return command_line.as_started(str(text))


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"as_started": as_started}
