#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_capacity
short_description: Keep a TPU VM in the first of several places that has capacity
version_added: 0.2.0
description:
  - Tries candidates, which are zones, accelerator types and kinds of capacity, in order until one gives a TPU
    VM, and makes its data disk where that is.
  - A lack of capacity or of quota, a node that is preempted during its creation, and a candidate's time being
    up move on to the next candidate. Anything else, as a permission that is missing or bad input, ends it.
  - Zones, types and versions of all candidates are checked before anything is created.
  - What has the labels C(created-by) and C(owner) that this would give it is ours. What is not, a TPU VM, a
    queued resource or a disk of the name, is neither used nor changed nor deleted. It stops this where a
    candidate is tried, and the message says how it becomes ours, or who may delete it.
  - A TPU VM of ours that is there in the zone of a candidate is kept, whatever stands before it in the list,
    and started where it is stopped. One that was preempted or terminated, and a queued resource that failed
    or was suspended, are deleted.
  - A queued resource of ours that still waits is waited for where a candidate asks for the same. Otherwise it
    is deleted, in whichever zone it is, since it could become a second TPU VM. They are looked for unless
    the TPU VM is there.
  - Where a data disk of ours is there already, only candidates in its zone are tried, and RV(pinned) and a
    warning say so. A disk that was created for a candidate which then gives no node is deleted again; no
    other disk ever is.
  - What a candidate that is given up may still make is deleted before the next one is tried. Only the last
    one is left to go on when its time is up. Running again waits for it further.
  - Everything made has the labels C(created-by), C(owner) and C(run).
  - In a check run it prints what would be created, in which order, and what an hour of it costs.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.tpu_capacity
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.actiongroup_gcp
attributes:
  check_mode:
    support: full
    details:
      - It predicts that the first candidate has capacity.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the TPU VM and of its queued resource.
    type: str
    required: true
  state:
    description:
      - With V(absent) the TPU VM and its queued resource are deleted, in whichever candidate's zone they are,
        and queued resources of ours without a node in all other zones. The disk stays, unless O(delete_disk)
        names it. What is not ours stays, and RV(kept) and a warning say so.
      - With V(absent) and V(stopped) a TPU VM of ours in another zone stays. Where there was none in
        the candidates' zones, RV(left) names it, or the error does. Else a warning
        does, as it may be another run's.
      - With V(stopped) the TPU VM is stopped, in whichever candidate's zone it is; it is an error where there
        is none. What still waits in a queue stays.
      - Neither asks whether a job runs on it, see M(tpuops.maxtext.tpu_vm).
    type: str
    choices: [present, absent, stopped]
    default: present
  node:
    description: Further options of M(tpuops.maxtext.tpu_vm), the same for all candidates.
    type: dict
    default: {}
  delete_disk:
    description: With O(state=absent), name of the disk that is deleted too.
    type: str
  run:
    description: The run that this is for, for the label C(run). What a label cannot hold becomes a hyphen.
    type: str
    default: ""
  wait_timeout:
    description: Seconds that a candidate without a timeout of its own may take, and that a deletion or a stop
      may take.
    type: int
    default: 1800
notes:
  - It runs on the controller and plays M(tpuops.maxtext.gcp_disk), M(tpuops.maxtext.tpu_vm) and
    M(tpuops.maxtext.tpu_queued_resource) on the host of the task.
"""

EXAMPLES = r"""
- name: Keep a TPU VM wherever there is one, the cheap ones first
  tpuops.maxtext.tpu_capacity:
    project: my-project
    name: tpu-v5e-8
    candidates:
      - zone: us-west4-a
        accelerator_type: v5litepod-8
        provisioning: spot
        timeout: 600
      - zone: us-west1-c
        accelerator_type: v5litepod-8
      - zone: us-east5-a
        accelerator_type: v6e-8
        provisioning: queued
        spot: true
        valid_for: 21600
        timeout: 21600
    disk:
      name: tpu-data-disk
      size_gb: 256
    run: qwen3-4b-sft
  register: capacity

- name: Delete it, wherever it is, and keep the disk
  tpuops.maxtext.tpu_capacity:
    project: my-project
    name: tpu-v5e-8
    candidates: "{{ candidates }}"
    state: absent

- name: Stop it over the weekend
  tpuops.maxtext.tpu_capacity:
    project: my-project
    name: tpu-v5e-8
    candidates: "{{ candidates }}"
    state: stopped
"""

RETURN = r"""
candidate:
  description: The candidate that the TPU VM is from. In a check run, the first that would be tried.
  returned: success, with O(state=present)
  type: dict
  sample:
    zone: us-west1-c
    accelerator_type: v5litepod-8
    runtime_version: v2-alpha-tpuv5-lite
    provisioning: spot
label:
  description: The same in words, as it is printed.
  returned: success, with O(state=present)
  type: str
  sample: us-west1-c v5litepod-8 spot
there:
  description: Whether the TPU VM was there before.
  returned: success, with O(state=present)
  type: bool
changes:
  description: What was created, changed and deleted, in words.
  returned: success, with O(state=present)
  type: list
  elements: str
  sample: [create the disk tpu-data-disk in us-west1-c, create the TPU VM tpu-v5e-8 in us-west1-c]
refusals:
  description: The candidates that gave none in this run, and why, in the order in which they were tried.
  returned: with O(state=present), also on failure
  type: list
  elements: dict
  contains:
    candidate:
      description: As in RV(candidate).
      type: dict
    kind:
      description: The cause, one of those of M(tpuops.maxtext.tpu_vm).
      type: str
      sample: stockout
    message:
      description: What Google said.
      type: str
pinned:
  description: The disk with data, and its zone, where only that zone was tried; empty otherwise.
  returned: success, with O(state=present)
  type: dict
  sample: {disk: tpu-data-disk, zone: us-west1-c}
node:
  description: The node as M(tpuops.maxtext.tpu_vm) returns it. In check mode, as it would be.
  returned: success, with O(state=present)
  type: dict
workers:
  description: Its machines, as M(tpuops.maxtext.tpu_vm) returns them.
  returned: success, with O(state=present)
  type: list
  elements: dict
kept:
  description: What has the name and is not ours, a sentence each.
  returned: success, with O(state=absent) and O(state=stopped)
  type: list
  elements: str
left:
  description: Why something of what is named is still there, or may be, a sentence each. It is empty where
    nothing is left.
  returned: success, with O(state=absent) and O(state=stopped)
  type: list
  elements: str
doubt:
  description:
    - That O(name) is probably wrong, in a sentence; empty otherwise.
    - It is wrong where there is nothing of the name, Google remembers no TPU VM of ours with it in the
      candidates' zones, and there are other TPU VMs of ours. Google keeps an operation for a time
      that it does not name.
  returned: success, with O(state=absent)
  type: str
  sample: ""
told:
  description: What was deleted or stopped, in a sentence. Where that is nothing, what there is instead.
  returned: success, with O(state=absent) and O(state=stopped)
  type: str
  sample: "Deleted: TPU VM tpu-v5e-8 in us-west1-c."
plan:
  description: What the candidates cost.
  returned: with O(state=present)
  type: dict
  contains:
    candidates:
      description: The candidates that can be tried, in order.
      type: list
      elements: dict
      contains:
        label:
          description: The candidate, in words.
          type: str
        zone:
          description: Its zone.
          type: str
        cost:
          description: What an hour costs, in words.
          type: str
          sample: 9.635 USD an hour (node 9.600, disk 0.035)
        accelerator_type:
          description: The type of TPU.
          type: str
        node_hour:
          description: Price of the node for an hour, none if it is not known.
          type: float
        disk_hour:
          description: Price of the disk for an hour, none if it is not known.
          type: float
        total_hour:
          description: Both together, none if one is not known.
          type: float
        currency:
          description: Currency of the prices.
          type: str
    prices:
      description: Date and source of the prices.
      type: str
failure:
  description: The cause of a failure, that of the last candidate if all were tried, for a rescue block to act
    on.
  returned: failure
  type: dict
  sample: {kind: stockout, code: 8, reason: RESOURCE_EXHAUSTED, details: []}
"""
