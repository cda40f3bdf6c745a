# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a stage lost its node."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.plugin_utils import run_end

DOCUMENTATION = r"""
name: node_loss
short_description: Why a stage lost its node
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Says whether the node of a stage that failed is lost, by what its jobs were told and by what Google says.
  - A node is not lost where a user stopped the job. The user may have stopped or deleted the node as well.
positional: seen
options:
  _input:
    description: The results of the tasks that failed, C(ansible_failed_result) of each worker.
    type: list
    elements: dict
    required: true
  seen:
    description: What M(tpuops.maxtext.tpu_vm_info) registered for the node.
    type: dict
    required: true
"""

EXAMPLES = r"""
loss: "{{ [ansible_failed_result] | tpuops.maxtext.node_loss(seen) }}"
"""

RETURN = r"""
_value:
  description: C(state), the node's in Google's words, V(lost), or V(unknown). C(losses), a C(reason) for
    each loss, empty where the node is not lost. C(unhealthy), whether Google keeps an unhealthy node, which
    has to be deleted before another one is created.
  type: dict
"""


def node_loss(failures: Sequence[Mapping[str, Any]], seen: Mapping[str, Any]) -> dict[str, Any]:
    return run_end.loss(failures, seen)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"node_loss": node_loss}
