# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run fits the data disk, before there is one.

Sizes are those of the arrays. On the disk they are packed with zstd, to 0.78 in bfloat16, and to 0.92 to 0.95
in float32 after training (with normally distributed weights, as Orbax writes them).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.memory import BYTES, adapters
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import (
    MODELS,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import (
    base_dtype as stored_in,
)

GB = 1e9
USABLE = 0.98 * 2**30  # of each GB that Google counts, in the file system (mkfs.ext4 -m 0)
TRAINING, SERVING = 4 * GB, 9 * GB  # the environments on a TPU VM
PUBLISHED = 2  # bytes of a weight on the Hub, in the export, and in what is served: bfloat16
COPIES = 3  # in a checkpoint: the weights and two moments
BASE_BYTES = {**BYTES, "auto": PUBLISHED}  # auto: as on the Hub
STEP_GB = 10  # to which a recommended size is rounded


@dataclass(frozen=True)
class Trained:
    """What a checkpoint holds. dtype: of the weights. lora_rank: that of adapters, 0 for all weights.

    accumulated: whether it has the sum of several batches' gradients, too (optax.MultiSteps).
    """

    dtype: str
    lora_rank: int = 0
    accumulated: bool = False

    def __str__(self) -> str:
        return f"adapters of rank {self.lora_rank}" if self.lora_rank else self.dtype


def checkpoint(model: str, trained: Trained) -> float:
    """Bytes of a checkpoint."""
    copies = COPIES + trained.accumulated
    if trained.lora_rank:
        return float(copies * BYTES["float32"] * adapters(MODELS[model], trained.lora_rank))
    return float(copies * BYTES[trained.dtype] * MODELS[model].parameters)


def needed(model: str, trained: Trained, base_dtype: str, kept: int) -> float | None:
    """Bytes that a run has on its disk at most; None for a model that is not known here.

    base_dtype: of the converted model. kept: how many checkpoints.
    While one is written there is one more. At the end the export and its download for serving are there.
    """
    if model not in MODELS or trained.dtype not in BYTES or base_dtype not in BASE_BYTES:
        return None
    published = float(PUBLISHED * MODELS[model].parameters)
    base = published + BASE_BYTES[stored_in(base_dtype, model)] * MODELS[model].parameters
    training = TRAINING + base + (kept + 1) * checkpoint(model, trained)
    served = TRAINING + SERVING + base + kept * checkpoint(model, trained) + 2 * published
    return max(training, served)


def check(model: str, trained: Trained, base_dtype: str, kept: int, size_gb: int) -> None:
    """Raises HubError where the run does not fit a disk of this size; 0: the size is not known."""
    found = needed(model, trained, base_dtype, kept)
    if not size_gb or found is None or found <= size_gb * USABLE:
        return
    enough = math.ceil(found / USABLE / STEP_GB) * STEP_GB
    if trained.lora_rank:  # the model itself is what is large
        raise HubError(
            f"tpu_vm_disk_size_gb: {size_gb} is too small: the run needs about {found / GB:.0f} GB for the "
            f"environments, {model} as it comes, converted and exported, and {kept + 1} checkpoints of "
            f"{checkpoint(model, trained) / GB:.1f} GB. Set tpu_vm_disk_size_gb to {enough} or more"
        )
    fewer = ", or keep fewer with sft_checkpoints_kept" if kept > 1 else ""
    raise HubError(
        f"tpu_vm_disk_size_gb: {size_gb} is too small: the run needs about {found / GB:.0f} GB, "
        f"most of it for {kept + 1} checkpoints of {checkpoint(model, trained) / GB:.0f} GB ({model} in "
        f"{trained}). Set tpu_vm_disk_size_gb to {enough} or more{fewer}"
    )
