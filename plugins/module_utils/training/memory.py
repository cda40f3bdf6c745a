# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model can be trained in the memory of a TPU, and what would fit where it cannot.

Only what is known is answered with yes or no. What is known:

- The TPU compiler's figures for the step of MaxText's SFT trainer (compiled_rows.py).
- Whatever is no larger in any respect, and has as much memory, fits too. Whatever is no smaller in any
  respect does not fit either. The arrays are sharded over all devices; on fewer devices each holds at most
  as much more as there are fewer of them. Another generation of TPUs has other kernels and layouts, so its
  figures count only with a MARGIN.
- At the end of a step a device holds its share of the weights, of AdamW's two moments and of the new
  weights, for Tunix donates the optimizer alone. Without that there is no training, whatever the batch. With
  LoRA the weights have no moments, but the step returns them too, as a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe, Row
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled_rows import ROWS
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, Model

FITS, TOO_LARGE, UNKNOWN = compiled.FITS, compiled.TOO_LARGE, "unknown"
BYTES = {"bfloat16": 2, "float32": 4}
ACCUMULATED = 1  # more, where gradients are accumulated
COPIES = 4  # weights, two moments, new weights
COPIES_LORA = 2  # weights, and their copy in what the step returns
GIB = 2**30
MARGIN = 1.25
# With one worker, by what an hour costs.
LARGER_TYPES = ("v5litepod-4", "v5litepod-8", "v6e-4", "v6e-8", "v5p-8")
USUAL_RANK = 16
LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Fit:
    """The verdict (FITS, TOO_LARGE or UNKNOWN) and its numbers.

    needed: GiB of a device; with FITS at most so many, else at least. None where nothing is known.
    available: GiB of a device; None where it is not known.
    reason: a sentence with the numbers.
    """

    verdict: str
    needed: float | None
    available: float | None
    reason: str

    def __str__(self) -> str:
        return self.reason


def fits(
    model: str,
    dtype: str,
    accelerator_type: str,
    per_device_batch_size: float,
    max_target_length: int,
    lora_rank: int = 0,
    accumulated: bool = False,
) -> Fit:
    """Whether a step of fine-tuning with AdamW fits each device of a node of this type.

    model: its name in MaxText, with its own configuration. dtype: of the weights, bfloat16 or float32.
    lora_rank: 0 where all weights are trained.
    accumulated: whether the sum of several batches' gradients is kept.
    """
    recipe = Recipe(model, dtype, lora_rank, per_device_batch_size, max_target_length)
    kind, devices = accelerators.generation(accelerator_type), accelerators.devices(accelerator_type)
    shape, size = MODELS.get(model), BYTES.get(dtype)
    what = f"{recipe} a device"
    where = f"a {accelerator_type}'s device"
    if shape is None or size is None or not devices or kind is None or kind.memory is None:
        missing = f"{model}'s size" if shape is None else "its memory" if size else f"the size of {dtype}"
        text = f"it is not known whether {what} fits {where}: {missing} is not known here"
        return Fit(UNKNOWN, None, kind.memory if kind else None, text)
    share = f"the {kind.memory} GiB of {where}"

    found = least(recipe, accelerator_type)
    more = beside(recipe, accelerator_type, accumulated)
    if found and found[0] + more <= kind.memory:
        needed, row = round(found[0] + more, 2), found[1]
        exact = (not more or lora_rank) and row.recipe == recipe and row.accelerator_type == accelerator_type
        text = f"{what} needs {'' if exact else 'at most '}{needed} GiB of {share} ({source(row)})"
        return Fit(FITS, needed, kind.memory, text)

    for row in ROWS:
        if row.verdict == TOO_LARGE and at_least_as_large(recipe, accelerator_type, row):
            text = f"{what} needs {row.total} GiB or more, and {where} has {kind.memory} GiB ({source(row)})"
            return Fit(TOO_LARGE, row.total, kind.memory, text)
    needed = at_least(recipe, accelerator_type) + more
    if needed > kind.memory:
        return Fit(TOO_LARGE, needed, kind.memory, f"{what} needs more than {needed:.1f} GiB of {share}")
    text = f"it is not known whether {what} fits {share}; it needs more than {needed:.1f} GiB"
    return Fit(UNKNOWN, needed, kind.memory, text)


def source(row: Row) -> str:
    return f"the TPU compiler's figure for {row.recipe} on a {row.accelerator_type}"


def best_dtype(model: str, accelerator_types: Sequence[str], batch: float, length: int) -> str:
    """The dtype of the weights in training: float32 where it is known to fit each type, else bfloat16.

    At a learning rate of 2e-5 most of AdamW's updates are below half a unit in the last place of bfloat16: of
    all weights of Qwen2.5 1.5B, 61 % do not move in a step of full size and 89 % in one of usual size, and
    what is rounded away is not carried on. MaxText's own default is float32.
    """
    answers = [fits(model, "float32", each, batch, length).verdict for each in accelerator_types]
    return "float32" if answers and set(answers) == {FITS} else "bfloat16"


def best_batch(
    model: str,
    dtype: str,
    accelerator_types: Sequence[str],
    length: int,
    lora_rank: int = 0,
    accumulated: bool = False,
) -> int | None:
    """The most sequences a device that are known to fit each type; None where no number is known to."""
    batches = sorted({int(row.recipe.batch) for row in ROWS}, reverse=True)
    for batch in batches:
        answers = {
            fits(model, dtype, each, batch, length, lora_rank, accumulated).verdict
            for each in accelerator_types
        }
        if answers == {FITS}:
            return batch
    return None


def remedies(
    model: str,
    dtype: str,
    accelerator_type: str,
    batch: float,
    length: int,
    lora_rank: int = 0,
    accumulated: bool = False,
) -> list[str]:
    """What is known to fit in place of a step that does not: a setting and its value each."""
    found = []
    smaller = best_batch(model, dtype, [accelerator_type], length, lora_rank, accumulated)
    if smaller and smaller < batch:
        found.append(f"per_device_batch_size={smaller}")
    shorter = [
        each
        for each in LENGTHS
        if each < length
        and fits(model, dtype, accelerator_type, batch, each, lora_rank, accumulated).verdict == FITS
    ]
    if shorter:
        found.append(f"max_target_length={shorter[-1]}")
    types = [dtype, *(other for other in ("float32", "bfloat16") if other != dtype)]
    for other in types if not lora_rank else ():
        if fits(model, other, accelerator_type, batch, length, USUAL_RANK).verdict == FITS:
            found.append(
                f"lora_rank={USUAL_RANK}" + ("" if other == dtype else f" with sft_weight_dtype={other}")
            )
            break
    for larger in LARGER_TYPES:
        if fits(model, dtype, larger, batch, length, lora_rank, accumulated).verdict == FITS:
            return [*found, f"tpu_vm_accelerator_type={larger}"]
    return found


def least(recipe: Recipe, accelerator_type: str) -> tuple[float, Row] | None:
    """GiB that a device needs at most, by the row that says the least."""
    answers = [
        (needed, row) for row in ROWS if (needed := at_most(recipe, accelerator_type, row)) is not None
    ]
    return min(answers, key=lambda answer: answer[0]) if answers else None


def at_most(recipe: Recipe, accelerator_type: str, row: Row) -> float | None:
    """GiB that a device needs at most, by one row; None where that does not say."""
    known = row.recipe
    devices, measured = accelerators.devices(accelerator_type), accelerators.devices(row.accelerator_type)
    smaller = (
        row.verdict == FITS
        and MODELS[recipe.model].within(MODELS[known.model])
        and BYTES[recipe.dtype] <= BYTES[known.dtype]
        and recipe.batch <= known.batch
        and recipe.length <= known.length
        and bool(recipe.rank) == bool(known.rank)
        and recipe.rank <= known.rank
    )
    if not smaller or not devices or not measured:
        return None
    return round(row.total * max(1.0, measured / devices) * margin(accelerator_type, row), 2)


def margin(accelerator_type: str, row: Row) -> float:
    same = accelerators.generation(accelerator_type) == accelerators.generation(row.accelerator_type)
    return 1.0 if same else MARGIN


def at_least_as_large(recipe: Recipe, accelerator_type: str, row: Row) -> bool:
    """Whether a step is no smaller in any respect than that of a row, on devices of the same kind."""
    known = row.recipe
    devices, measured = accelerators.devices(accelerator_type), accelerators.devices(row.accelerator_type)
    return bool(
        margin(accelerator_type, row) == 1
        and devices
        and measured
        and devices <= measured
        and MODELS[known.model].within(MODELS[recipe.model])
        and BYTES[recipe.dtype] >= BYTES[known.dtype]
        and recipe.batch >= known.batch
        and recipe.length >= known.length
        # All weights with their moments are more than those of an adapter.
        and (not recipe.rank or (known.rank and recipe.rank >= known.rank))
    )


def at_least(recipe: Recipe, accelerator_type: str) -> float:
    """GiB without which a device cannot hold a step."""
    held = copies(recipe, accelerator_type)
    larger = [row for row in ROWS if at_least_as_large(recipe, accelerator_type, row)]
    return max(held, *(row.total for row in larger), *(held + temporary(recipe, row) for row in larger), 0)


def temporary(recipe: Recipe, row: Row) -> float:
    """What a step needs beside its copies, if that is known of a smaller one of the same kind."""
    return (row.temporary or 0) if bool(recipe.rank) == bool(row.recipe.rank) else 0


def beside(recipe: Recipe, accelerator_type: str, accumulated: bool) -> float:
    """GiB of a device that the compiled steps do not have: the sum of gradients, and adapters in float32.

    Each device has all adapters. They were compiled in the data type of the weights.
    """
    if recipe.rank:
        wider = (BYTES["float32"] - BYTES[recipe.dtype]) * (COPIES + 1 + accumulated)  # their gradients, too
        return wider * adapters(MODELS[recipe.model], recipe.rank) / GIB
    return ACCUMULATED * copies(recipe, accelerator_type) / COPIES if accumulated else 0.0


def adapters(shape: Model, rank: int) -> int:
    """Numbers of the adapters of all linear layers: for each, its inputs and its outputs, times the rank."""
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    attention = 2 * (shape.embedding + queries) + 2 * (shape.embedding + keys)
    return shape.layers * rank * (attention + 3 * (shape.embedding + shape.mlp))


def copies(recipe: Recipe, accelerator_type: str) -> float:
    """GiB of a device for the weights and their copies, which each step has whatever the compiler does."""
    number = COPIES_LORA if recipe.rank else COPIES
    size = BYTES[recipe.dtype] * MODELS[recipe.model].parameters
    return number * size / (accelerators.devices(accelerator_type) or 1) / GIB
