#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: run_report
short_description: Print where the runs are, how to query their models, what they cost and how to stop that
version_added: 0.2.0
description:
  - Prints text for people. At the start of a run project, account, node, price and the repository. At its
    end, and at any time, the nodes, queued resources and disks of one owner in all zones, the runs on the
    nodes that were asked, the commands that query their models, the cost so far, and the commands that end
    it.
  - Reads RV(tpuops.maxtext.run_info#module:runs) of O(hosts) in the variable C(_tpu_vm_runs) of each.
  - Runs where the play runs, which is meant to be the controller. Changes nothing.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.tpu_capacity
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
  - tpuops.maxtext.attributes.actiongroup_gcp
options:
  phase:
    description:
      - V(start) asks Google nothing. V(end) prints what V(status) does, without the note about the prices,
        which V(start) has printed.
    type: str
    choices: [start, end, status]
    default: status
  name:
    description: Name of the node of the run.
    type: str
    required: true
  hosts:
    description: Workers whose runs were read.
    type: list
    elements: str
    default: []
  hf_repo:
    description: Repository that the run publishes to. Empty for none.
    type: str
    default: ""
  hf_endpoint:
    description: Address of the Hub.
    type: str
    default: https://huggingface.co
"""

EXAMPLES = r"""
- name: Show what there is and what it costs
  tpuops.maxtext.run_report:
    project: my-project
    name: tpu-v5e-8
    candidates:
      - {zone: us-west1-c, accelerator_type: v5litepod-8}
"""

RETURN = r"""
report:
  description: The lines that were printed.
  returned: success
  type: list
  elements: str
  sample: ["Project my-project, account me@example.com"]
"""
