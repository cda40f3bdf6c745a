# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a stage ended a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.plugin_utils import run_end

DOCUMENTATION = r"""
name: why_ended
short_description: Why a stage ended a run
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Says why a task failed, what became of the node, and what to do.
positional: seen, node, ended
options:
  _input:
    description: The result of the task that failed, C(ansible_failed_result).
    type: dict
    required: true
  seen:
    description: What M(tpuops.maxtext.tpu_vm_info) registered for the node. None where Google was not asked.
    type: dict
    required: true
  node:
    description: Name of the node.
    type: str
    required: true
  ended:
    description: What became of the node of an ephemeral run.
    type: str
    default: ""
"""

EXAMPLES = r"""
why: "{{ ansible_failed_result | tpuops.maxtext.why_ended(none, 'tpu-v5e-8') }}"
"""

RETURN = r"""
_value:
  description: The message.
  type: str
"""


def why_ended(failure: Mapping[str, Any], seen: Mapping[str, Any] | None, node: str, ended: str = "") -> str:
    return run_end.why(failure, seen, node, ended)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"why_ended": why_ended}
