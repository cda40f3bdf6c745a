# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether all weights of a model can be trained in the memory of a TPU.

Only what is known is answered with yes or no. What is known:

- MEASURED: what the TPU compiler of the locked environment needs for the step of MaxText's SFT trainer.
- Whatever is no larger in any respect, and has as much memory, fits too. Whatever is no smaller in any
  respect does not fit either. The arrays are sharded over all devices; on fewer devices each holds at most
  as much more as there are fewer of them.
- At the end of a step a device holds its share of the weights, of AdamW's two moments and of the new
  weights, for Tunix donates the optimizer alone. Without that there is no training, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, Model

FITS, TOO_LARGE, UNKNOWN = "fits", "too large", "unknown"
BYTES = {"bfloat16": 2, "float32": 4}
ACCUMULATED = 1  # more, where gradients are accumulated
COPIES = 4  # weights, two moments, new weights
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """GiB of a device that one compilation needed: in all, and beside arguments and results (temporary)."""

    model: str
    dtype: str
    batch: int
    length: int
    total: float
    temporary: float | None = None

    def __str__(self) -> str:
        return f"{self.model} in {self.dtype} with {sequences(self.batch, self.length)}"


MEASURED_DEVICES = 8
# maxtext 0.2.5, google-tunix 0.1.7, jax 0.11.0 and libtpu 0.0.44.1, compiled for the topology v5e:2x4 on
# 2026-11-28, with scanned layers, full rematerialization and splash attention. It refused 14B.
MEASURED = (
    Measured("qwen3-4b", "bfloat16", 1, 1024, 5.48, 1.74),
    Measured("qwen3-4b", "bfloat16", 4, 1024, 8.64, 4.89),
    Measured("qwen3-4b", "float32", 1, 1024, 9.54, 2.05),
    Measured("qwen3-8b", "bfloat16", 1, 1024, 8.95, 1.32),
    Measured("qwen3-14b", "bfloat16", 1, 1024, 17.90),
)


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
    accumulated: bool = False,
) -> Fit:
    """Whether a step of full fine-tuning with AdamW fits each device of a node of this type.

    model: its name in MaxText, with its own configuration. dtype: of the weights, bfloat16 or float32.
    accumulated: whether the sum of several batches' gradients is kept.
    """
    batch, length = per_device_batch_size, max_target_length
    kind, devices = accelerators.generation(accelerator_type), accelerators.devices(accelerator_type)
    shape, size = MODELS.get(model), BYTES.get(dtype)
    what = f"{model} in {dtype} with {sequences(batch, length)} a device"
    where = f"a {accelerator_type}'s device"
    if shape is None or size is None or not devices or kind is None or kind.memory is None:
        missing = f"{model}'s size" if shape is None else "its memory" if size else f"the size of {dtype}"
        text = f"it is not known whether {what} fits {where}: {missing} is not known here"
        return Fit(UNKNOWN, None, kind.memory if kind else None, text)
    share = f"the {kind.memory} GiB of {where}"

    fewer = max(1.0, MEASURED_DEVICES / devices)
    more = ACCUMULATED * size * shape.parameters / devices / GIB if accumulated else 0.0
    for known in MEASURED:
        if within(shape, size, batch, length, known) and known.total * fewer + more <= kind.memory:
            at_most = "" if fewer == 1 and not more and str(known) in what else "at most "
            needed = round(known.total * fewer + more, 2)
            source = f"the TPU compiler's figure for {known}"
            return Fit(FITS, needed, kind.memory, f"{what} needs {at_most}{needed} GiB of {share} ({source})")

    needed = at_least(shape, size, batch, length, devices) + more
    if needed > kind.memory:
        return Fit(TOO_LARGE, needed, kind.memory, f"{what} needs more than {needed:.1f} GiB of {share}")
    text = f"it is not known whether {what} fits {share}; it needs more than {needed:.1f} GiB"
    return Fit(UNKNOWN, needed, kind.memory, text)


def fits_adapters(
    model: str, dtype: str, accelerator_type: str, per_device_batch_size: float, max_target_length: int
) -> Fit:
    """Whether a step of LoRA fits. It needs no more than one of all weights, and at least the weights."""
    whole = fits(model, dtype, accelerator_type, per_device_batch_size, max_target_length)
    shape, devices = MODELS.get(model), accelerators.devices(accelerator_type)
    if whole.verdict == FITS or shape is None or not devices or whole.available is None:
        return whole
    what = f"LoRA of {model} in {dtype} with {sequences(per_device_batch_size, max_target_length)} a device"
    share = f"the {whole.available} GiB of a {accelerator_type}'s device"
    needed = BYTES.get(dtype, 0) * shape.parameters / devices / GIB
    if needed > whole.available:
        return Fit(TOO_LARGE, needed, whole.available, f"{what} needs more than {needed:.1f} GiB of {share}")
    text = f"it is not known whether {what} fits {share}; it needs more than {needed:.1f} GiB"
    return Fit(UNKNOWN, needed, whole.available, text)


def best_dtype(model: str, accelerator_types: Sequence[str], batch: float, length: int) -> str:
    """The dtype of the weights in training: float32 where it is known to fit each type, else bfloat16.

    At a learning rate of 2e-5 most of AdamW's updates are below half a unit in the last place of bfloat16: of
    all weights of Qwen2.5 1.5B, 61 % do not move in a step of full size and 89 % in one of usual size, and
    what is rounded away is not carried on. MaxText's own default is float32.
    """
    answers = [fits(model, "float32", each, batch, length).verdict for each in accelerator_types]
    return "float32" if answers and set(answers) == {FITS} else "bfloat16"


def within(shape: Model, size: int, batch: float, length: int, known: Measured) -> bool:
    """Whether a step is no larger in any respect than one that was measured."""
    return (
        shape.within(MODELS[known.model])
        and size <= BYTES[known.dtype]
        and batch <= known.batch
        and length <= known.length
    )


def at_least(shape: Model, size: int, batch: float, length: int, devices: int) -> float:
    """GiB without which a device cannot hold a step."""
    bounds = [copies := COPIES * size * shape.parameters / devices / GIB]
    for known in MEASURED:
        larger = (
            MODELS[known.model].within(shape)
            and size >= BYTES[known.dtype]
            and batch >= known.batch
            and length >= known.length
            and devices <= MEASURED_DEVICES
        )
        if larger:
            bounds += [known.total, copies + (known.temporary or 0)]
    return max(bounds)


def sequences(batch: float, length: int) -> str:
    return f"{batch:g} sequence{'' if batch == 1 else 's'} of {length} tokens"
