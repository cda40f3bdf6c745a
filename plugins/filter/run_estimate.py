# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An estimate of a training: whether it fits, how long it takes, what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.training import estimate, memory
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe

DOCUMENTATION = r"""
name: run_estimate
short_description: Whether a training fits, how long a run takes and what it costs
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives a sentence for each type of TPU, with what the compiler says of its memory. Gives one for each
    candidate, with an estimate of the time and of the cost.
positional: candidates
options:
  _input:
    description: Name of the model in MaxText.
    type: str
    required: true
  candidates:
    description: The candidates of M(tpuops.maxtext.tpu_capacity), as it returns them in C(plan).
    type: list
    elements: dict
    required: true
  dtype:
    description: Data type of the weights, V(float32) or V(bfloat16).
    type: str
    required: true
  batch:
    description: Sequences per device and step.
    type: float
    required: true
  length:
    description: Length of a sequence, in tokens.
    type: int
    required: true
  steps:
    description: Number of steps.
    type: int
    required: true
  disk_gb:
    description: Size of the data disk, in GB.
    type: int
    required: true
  lora_rank:
    description: Rank of the adapters that are trained (LoRA); V(0) trains all weights.
    type: int
    default: 0
"""

EXAMPLES = r"""
lines: >-
  {{ 'qwen3-4b' | tpuops.maxtext.run_estimate(made.plan.candidates, dtype='float32', batch=1, length=1024,
     steps=100, disk_gb=256) }}
"""

RETURN = r"""
_value:
  description: The sentences.
  type: list
  elements: str
"""


def run_estimate(
    model: str,
    candidates: list[dict[str, Any]],
    dtype: str,
    batch: Any,
    length: Any,
    steps: Any,
    disk_gb: Any,
    lora_rank: Any = 0,
) -> list[str]:
    """Nothing where a number is none: that is refused elsewhere, with its name."""
    try:
        recipe = Recipe(str(model), str(dtype), int(lora_rank), float(batch), int(length))
        number, size = int(steps), int(disk_gb)
    except ValueError:
        return []
    types = list(dict.fromkeys(each["accelerator_type"] for each in candidates))
    verdicts = {each: memory.fits(model, dtype, each, *recipe[3:], recipe.rank) for each in types}
    return [sentence(recipe, each, verdicts[each]) for each in types] + [
        cost(found, candidate)
        for candidate in candidates
        if verdicts[candidate["accelerator_type"]].verdict != memory.TOO_LARGE
        and (found := estimate.estimate(recipe, candidate["accelerator_type"], number, size))
    ]


def sentence(recipe: Recipe, accelerator_type: str, fit: memory.Fit) -> str:
    said = f"{accelerator_type}: {fit.verdict}: {fit}."
    if fit.verdict != memory.TOO_LARGE:
        return said
    model, dtype, rank, batch, length = recipe
    fitting = memory.remedies(model, dtype, accelerator_type, batch, length, rank)
    return f"{said} What fits: {', or '.join(fitting)}." if fitting else said


def cost(found: estimate.Estimate, candidate: dict[str, Any]) -> str:
    hour = candidate["total_hour"]
    price = (
        f"{hour * found.total / 3600:.2f} {candidate['currency']}" if hour is not None else "no price known"
    )
    return f"{candidate['label']}: about {found.total / 60:.0f} minutes, {price} (minutes: {found})"


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"run_estimate": run_estimate}
