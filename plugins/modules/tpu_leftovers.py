#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_leftovers
short_description: List what this collection created and is still there, and delete what is named
version_added: 0.2.0
description:
  - Finds TPU VMs, queued resources and disks of all zones that have the label C(created-by) of this
    collection, and prints the age of each, whose it is, for which run it was made and what an hour of it
    costs. With O(delete) it prints what it deletes instead.
  - Deletes nothing that O(delete) does not name, nothing without the label, and nothing of anybody else,
    unless O(owner) names that person.
  - Runs where the play runs, which is meant to be the controller.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.actiongroup_gcp
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
    details:
      - A name that O(delete) has and that is not there is an error, as a name with a mistake in it would be.
        When a deletion fails, the message says which names are gone already.
options:
  delete:
    description:
      - Names of what is to be deleted, V(NAME), V(ZONE/NAME) or V(KIND:ZONE/NAME), where the kind is V(node),
        V(queued) or V(disk). The first column of what is printed is such a name.
      - A name means what is yours (O(me)), or with O(owner) what is that person's. A name that only other
        people's things have is an error, and those stay.
      - A queued resource belongs to the owner of its nodes, as somebody may have taken one over.
      - A name that several things of one owner have is an error. Only a node and the queued resource that it
        came from count as one and go together.
      - A node is deleted also while a job runs on it; C(playbooks/leftovers.yml) looks for jobs first. A disk
        is not deleted while it is attached.
    type: list
    elements: str
    default: []
  owner:
    description:
      - Only what has this value of the label C(owner). By default everybody's is listed, and yours deleted.
      - What Google does not take in a label's value counts as a hyphen.
    type: str
  me:
    description: Who you are, as O(tpuops.maxtext.tpu_capacity#module:owner), with the same default.
    type: str
  labels:
    description: Your labels, as O(tpuops.maxtext.tpu_capacity#module:labels). A label C(owner) among them
      says who you are, before O(me).
    type: dict
    default: {}
  prices:
    description: What an hour costs, as M(tpuops.maxtext.tpu_capacity) takes it.
    type: dict
    default: {}
  wait_timeout:
    description: How long a deletion may take, in seconds.
    type: int
    default: 600
"""

EXAMPLES = r"""
- name: See what is still there
  tpuops.maxtext.tpu_leftovers:
    project: my-project

- name: Delete a node
  tpuops.maxtext.tpu_leftovers:
    project: my-project
    delete: [us-west1-c/tpu-v5e-8]
"""

RETURN = r"""
leftovers:
  description: What was there, nodes and queued resources from the oldest, then disks.
  returned: success, and when a deletion failed
  type: list
  elements: dict
  sample:
    - kind: node
      name: tpu-v5e-8
      zone: us-west1-c
      state: READY
      owner: ann
      run: qwen3-4b-sft
      created: "2026-11-24T04:05:00+00:00"
      age_seconds: 7200
      hour: 9.6
      currency: USD
      users: []
      nodes: [tpu-v5e-8]
hour:
  description: What an hour of all of it costs, without what has no known price.
  returned: success
  type: float
  sample: 9.635
deleted:
  description: What was deleted, as in RV(leftovers).
  returned: success, and when a deletion failed
  type: list
  elements: dict
  sample: []
failure:
  description: The cause of a failure, as the module that failed returned it.
  returned: failure
  type: dict
  sample: {"kind": "permission", "code": 403, "reason": "PERMISSION_DENIED", "details": []}
"""
