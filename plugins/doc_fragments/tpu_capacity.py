# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that create a node or report on it."""

from __future__ import annotations


class ModuleDocFragment:
    """Where the node may come from, whose it is, what it costs and when it ends by itself."""

    DOCUMENTATION = r"""
options:
  candidates:
    description: Where a TPU VM may come from, in the order in which it is tried.
    type: list
    elements: dict
    required: true
    suboptions:
      zone:
        description: Zone.
        type: str
        required: true
      accelerator_type:
        description: Accelerator type, as V(v5litepod-8).
        type: str
        required: true
      runtime_version:
        description: Runtime version, by default the one that Google names for the accelerator type.
        type: str
      provisioning:
        description: Which capacity is asked for. V(queued) waits for it in a queued resource.
        type: str
        choices: [on-demand, spot, queued, reserved]
        default: on-demand
      spot:
        description: With O(candidates[].provisioning=queued), whether spot capacity is waited for.
        type: bool
        default: false
      valid_for:
        description: With O(candidates[].provisioning=queued), seconds after which Google drops the request.
        type: int
      timeout:
        description: Seconds that this candidate may take. The default is
          O(tpuops.maxtext.tpu_capacity#module:wait_timeout).
        type: int
  disk:
    description: The data disk. Left out, there is none.
    type: dict
    suboptions:
      name:
        description: Name of the disk.
        type: str
        required: true
      size_gb:
        description: Size in GB. A disk that is there grows to it.
        type: int
      type:
        description: Type of the disk, by default one that the accelerator takes, V(hyperdisk-balanced)
          for v6e and V(pd-balanced) for the others.
        type: str
  labels:
    description: Labels of all that is made, beside those that are set anyway, which they may replace.
    type: dict
    default: {}
  owner:
    description: Whose this is, for the label C(owner). By default the name of the account that runs Ansible.
    type: str
  prices:
    description:
      - Prices for what is printed. Keys are C(currency), C(date), C(source), C(chip_hour) (generation,
        region, C(on-demand), C(spot) or C(reserved)) and C(disk_gb_month) (disk type, region).
      - What is not in it has no price known; what is printed names the keys that are missing.
    type: dict
    default: {}
  limits:
    description:
      - When the node ends by itself, as the role C(tpu_vm) has it arranged.
      - What a candidate cannot have is refused before anything is created. What is printed names the limit,
        and says whether a lost node deleted itself.
    type: dict
    suboptions:
      hours:
        description: Hours after its creation, V(0) for never.
        type: float
        default: 0
      idle_minutes:
        description: Minutes without a job, a request or a login, V(0) for never.
        type: int
        default: 0
      idle_action:
        description: What becomes of it then.
        type: str
        choices: [deleted, stopped]
        default: deleted
"""
