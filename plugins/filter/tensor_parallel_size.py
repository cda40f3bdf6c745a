# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On how many chips a model is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.training import serving

DOCUMENTATION = r"""
name: tensor_parallel_size
short_description: On how many chips a model is served
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives the most chips of each of the types of TPU that can share the attention heads of the model.
  - Gives V(1) where the model or a type is not known.
positional: accelerator_types
options:
  _input:
    description: Name of the model in MaxText.
    type: str
    required: true
  accelerator_types:
    description: The types of TPU that the run may get.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
tensor_parallel_size: "{{ 'qwen3-4b' | tpuops.maxtext.tensor_parallel_size(['v5litepod-8']) }}"
"""

RETURN = r"""
_value:
  description: The number of chips.
  type: int
"""


def tensor_parallel_size(model: str, accelerator_types: list[str]) -> int:
    return serving.largest_size(str(model), accelerator_types)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"tensor_parallel_size": tensor_parallel_size}
