# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data type in which a model is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.training import memory

DOCUMENTATION = r"""
name: weight_dtype
short_description: The data type in which a model is trained
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives V(float32) where a step of full fine-tuning is known to fit each of the types of TPU, else
    V(bfloat16), in which most of the updates are rounded away.
positional: accelerator_types, per_device_batch_size, max_target_length, lora_rank
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
  per_device_batch_size:
    description: Sequences per device and step.
    type: float
    required: true
  max_target_length:
    description: Length of a sequence, in tokens.
    type: int
    required: true
  lora_rank:
    description: Rank of the adapters that are trained (LoRA); V(0) trains all weights.
    type: int
    default: 0
"""

EXAMPLES = r"""
weight_dtype: "{{ 'qwen3-4b' | tpuops.maxtext.weight_dtype(['v5litepod-8'], 1, 1024) }}"
"""

RETURN = r"""
_value:
  description: V(float32) or V(bfloat16).
  type: str
"""


def weight_dtype(
    model: str, accelerator_types: list[str], batch: Any, length: Any, lora_rank: Any = 0
) -> str:
    """float32 or bfloat16. A number that is none is refused elsewhere, with its name."""
    try:
        return memory.best_dtype(str(model), accelerator_types, float(batch), int(length), int(lora_rank))
    except ValueError:
        return "bfloat16"


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"weight_dtype": weight_dtype}
