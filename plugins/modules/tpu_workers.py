#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_workers
short_description: Find the hosts of a run in the inventory
version_added: 0.2.0
description:
  - Finds the workers of a node among the hosts of the inventory plugin P(tpuops.maxtext.tpu_vm#inventory).
  - The workers of somebody else's node of the same name are not among them. So nothing trains on that node,
    stops its jobs or deletes it.
  - With O(project) it first checks that the inventory lists the nodes of that project, and fails otherwise.
    A run that creates a node which the inventory does not show would pay for it and could not use it.
  - Asks neither Google nor a machine.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
options:
  name:
    description: Name of the node of the run. It is this, O(nodes) or O(project).
    type: str
  nodes:
    description: Nodes of any owner, as RV(tpuops.maxtext.tpu_leftovers#module:deleted) has them. Of
      each C(zone), and C(nodes), the names, count.
    type: list
    elements: dict
  labels:
    description: Labels of the run, as O(tpuops.maxtext.tpu_capacity#module:labels).
    type: dict
    default: {}
  owner:
    description: Whose the run is, as O(tpuops.maxtext.tpu_capacity#module:owner), with the same default.
    type: str
  project:
    description: Id of the project whose nodes the inventory must list. Not with O(nodes).
    type: str
  zones:
    description: Zones in which the run may create the node O(name). With O(project) and O(name) the inventory
      must list them, and a node of this name.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Find the workers of the run
  tpuops.maxtext.tpu_workers:
    name: tpu-v5e-8
  register: workers

- name: Let the next play run on them
  ansible.builtin.add_host:
    name: "{{ item }}"
    groups: workers
  loop: "{{ workers.hosts }}"
"""

RETURN = r"""
hosts:
  description: Their names in the inventory.
  returned: success
  type: list
  elements: str
  sample: [tpu-v5e-8]
others:
  description: What has the name and is somebody else's, a sentence each.
  returned: success
  type: list
  elements: str
  sample: []
missing:
  description: Why no stage can run there, and what to do. Empty where one can, and with O(nodes).
  returned: success
  type: str
  sample: ""
"""
