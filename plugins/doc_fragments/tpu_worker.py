# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that tells the controller whose worker the target is."""

from __future__ import annotations


class ModuleDocFragment:
    """The node, by name and place, and how to ask Google about it."""

    DOCUMENTATION = r"""
options:
  node:
    description:
      - The node that the target is a worker of. While the target cannot be reached, and when the job did not
        finish, the controller asks Google about it. A node that was preempted, stopped or deleted fails the
        task with C(failure.kind) V(preempted) or V(lost) for a C(rescue) block to act on, and is not waited
        for as O(reconnect_timeout) says.
      - Read on the controller only, never sent to the target.
    type: dict
    suboptions:
      name:
        description: Name of the node.
        type: str
        required: true
      zone:
        description: Its zone.
        type: str
        required: true
      project:
        description: Its project.
        type: str
        required: true
      auth:
        description: Credentials and endpoints, as the options of M(tpuops.maxtext.tpu_vm_info) give them.
        type: dict
        default: {}
      known_hosts_file:
        version_added: 0.2.0
        description:
          - Where SSH finds the host keys of the node's workers, as the inventory plugin writes it.
          - When SSH refuses a host key while the job runs, the key that the worker has published meanwhile
            takes the place of the old one. Google may move or repair a machine, which then has new keys.
        type: path
        default: ""
"""
