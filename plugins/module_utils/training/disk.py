# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run fits the data disk, before there is one.

Sizes are those of the arrays. On the disk they are packed with zstd, to 0.78 in bfloat16, and to 0.92 to 0.95
in float32 after training (with normally distributed weights, as Orbax writes them).
"""

from __future__ import annotations

import math

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.memory import BYTES
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


def checkpoint(model: str, dtype: str) -> float:
    """Bytes of a checkpoint."""
    return float(COPIES * BYTES[dtype] * MODELS[model].parameters)


def needed(model: str, dtype: str, base_dtype: str, kept: int) -> float | None:
    """Bytes that a run has on its disk at most; None for a model that is not known here.

    dtype, base_dtype: of the weights in training, and of the converted model. kept: how many checkpoints.
    While one is written there is one more. At the end the export and its download for serving are there.
    """
    if model not in MODELS or dtype not in BYTES or base_dtype not in BASE_BYTES:
        return None
    published = float(PUBLISHED * MODELS[model].parameters)
    base = published + BASE_BYTES[stored_in(base_dtype, model)] * MODELS[model].parameters
    trained = TRAINING + base + (kept + 1) * checkpoint(model, dtype)
    served = TRAINING + SERVING + base + kept * checkpoint(model, dtype) + 2 * published
    return max(trained, served)


def check(model: str, dtype: str, base_dtype: str, kept: int, size_gb: int) -> None:
    """Raises HubError where the run does not fit a disk of this size; 0: the size is not known."""
    found = needed(model, dtype, base_dtype, kept)
    if not size_gb or found is None or found <= size_gb * USABLE:
        return
    enough = math.ceil(found / USABLE / STEP_GB) * STEP_GB
    fewer = ", or keep fewer with sft_checkpoints_kept" if kept > 1 else ""
    raise HubError(
        f"tpu_vm_disk_size_gb: {size_gb} is too small: the run needs about {found / GB:.0f} GB, "
        f"most of it for {kept + 1} checkpoints of {checkpoint(model, dtype) / GB:.0f} GB ({model} in "
        f"{dtype}). Set tpu_vm_disk_size_gb to {enough} or more{fewer}"
    )
