# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a compilation of the training step is asked and answers: the rows of compiled_rows.py."""

from __future__ import annotations

from typing import NamedTuple

FITS, TOO_LARGE = "fits", "too large"


class Recipe(NamedTuple):
    """What the memory of a step depends on. rank: of LoRA, 0 where all weights are trained."""

    model: str
    dtype: str
    rank: int
    batch: float
    length: int

    def __str__(self) -> str:
        what = f"LoRA of rank {self.rank} on " if self.rank else ""
        sequences = f"{self.batch:g} sequence{'' if self.batch == 1 else 's'} of {self.length} tokens"
        return f"{what}{self.model} in {self.dtype} with {sequences}"

    def arguments(self) -> list[str]:
        """Those of the trainer, as the role sft gives them."""
        lora = [
            "lora.enable_lora=True",
            f"lora.lora_rank={self.rank}",
            f"lora.lora_alpha={2 * self.rank}.0",  # a factor of the compiled program, which needs no memory
        ]
        return [
            f"model_name={self.model}",
            f"per_device_batch_size={self.batch:g}",
            f"max_target_length={self.length}",
            f"weight_dtype={self.dtype}",
            "scan_layers=True",
            *(lora if self.rank else []),
        ]


class Row(NamedTuple):
    """The compiler's answer. total: GiB of a device, at least so many where it is refused.

    Where the step fits, total is arguments and temporary, and the output that does not take the place of an
    argument (aliased).
    """

    recipe: Recipe
    accelerator_type: str
    verdict: str
    total: float
    arguments: float | None
    temporary: float | None
    output: float | None
    aliased: float | None
    date: str
