# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node has one worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators

DOCUMENTATION = r"""
name: one_worker
short_description: Whether a node has one worker
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives V(true) where each of the types of TPU is known to have one worker.
options:
  _input:
    description: The types of TPU that the run may get.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
skip: "{{ ['v5litepod-8'] | tpuops.maxtext.one_worker }}"
"""

RETURN = r"""
_value:
  description: Whether there is one worker. V(false) for a type that is not known.
  type: bool
"""


def one_worker(accelerator_types: list[str]) -> bool:
    """Whether each of these types has one worker."""
    return all(accelerators.workers(each) == 1 for each in accelerator_types)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"one_worker": one_worker}
