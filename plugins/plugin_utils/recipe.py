# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run trains: the settings of MaxText that have a variable of the same name, and those of LoRA.

What has MaxText's default is neither in the arguments nor in the record of a run. So a run that began before
there were these variables goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Setting -> MaxText's default (configs/base.yml). Their types are those of the defaults.
DEFAULTS: Mapping[str, int | float | str] = {
    "gradient_accumulation_steps": 1,
    "warmup_steps_fraction": 0.1,
    "lr_schedule_type": "cosine",
    # By default as many as there are steps.
    "learning_rate_schedule_steps": 0,
    "remat_policy": "full",
    "data_shuffle_seed": 0,
}
LORA = ("lora_rank", "lora_alpha", "lora_module_path")


def inputs(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the checkpoints of a run depend on, of these settings. What is no number stays as it is."""
    found = {name: typed(given[name], default) for name, default in DEFAULTS.items()}
    result = {name: value for name, value in found.items() if value != DEFAULTS[name]}
    rank = typed(given["lora_rank"], 0)
    if rank:
        result |= {"lora_rank": rank, "lora_alpha": typed(given["lora_alpha"], 0.0)}
        path = str(given["lora_module_path"])
        result |= {"lora_module_path": path} if path else {}
    return result


def arguments(given: Mapping[str, Any]) -> list[str]:
    """The same for MaxText's trainer."""
    found = inputs(given)
    result = [f"{name}={found[name]}" for name in DEFAULTS if name in found]
    if "lora_rank" not in found:
        return result
    result += ["lora.enable_lora=True", *(f"lora.{name}={found[name]}" for name in LORA if name in found)]
    # Adapters are float32 (training_lora.py), and the first moment would have the type of the weights.
    # MaxText keeps adapters whole on each device, and refuses where that is more than 2 % of all arrays.
    return [*result, "mu_dtype=float32", "sharding_tolerance=1.0"]


def typed(value: Any, like: float | str) -> Any:
    """A value of the command line, which is a string, in the type of a default."""
    try:
        return type(like)(value)
    except (TypeError, ValueError):  # refused elsewhere, with its name
        return value
