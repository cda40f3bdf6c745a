# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run takes: an estimate. docs/accelerators.md says where each number is from, and its error."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, Model

BYTES = {"bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class Rate:
    """peak: TFLOP/s of a chip in bfloat16. share: of it that a step of fine-tuning is assumed to reach."""

    peak: float
    share: float


# Half of the least that MaxText published for pre-training, whose steps are larger.
RATES = {"v5e": Rate(197, 0.27), "v5p": Rate(459, 0.32), "v6e": Rate(918, 0.21)}

PASSES_OF_ATTENTION = 4  # forwards, forwards again, and twice as much backwards
NODE = 300.0
COMPILE = 90.0
SERVE = 357.0
CHECKPOINT_MINUTES = 10


@dataclass(frozen=True)
class Estimate:
    """Seconds of each part of a run. Downloads, installations and the conversions are not in it."""

    node: float
    load: float
    compile: float
    steps: float
    save: float
    serve: float

    @property
    def total(self) -> float:
        return self.node + self.load + self.compile + self.steps + self.save + self.serve

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {minutes(getattr(self, each.name))}" for each in fields(self))


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}" if seconds < 600 and seconds % 60 else f"{seconds / 60:.0f}"


def estimate(recipe: Recipe, accelerator_type: str, steps: int, disk_gb: int) -> Estimate | None:
    """The parts of a run; None where the model or the chips are not known."""
    shape, kind = MODELS.get(recipe.model), accelerators.generation(accelerator_type)
    rate = RATES.get(kind.name) if kind else None
    if shape is None or rate is None or recipe.dtype not in BYTES:
        return None
    stepping = steps * operations(recipe) / (rate.peak * 1e12 * rate.share)
    saves = 1 + int(stepping // (60 * CHECKPOINT_MINUTES))
    weights = shape.parameters * BYTES[recipe.dtype]
    # The weights and two moments, or an adapter, which is small.
    saved = 0 if recipe.rank else 3 * weights
    speed = disk_speed(disk_gb)
    return Estimate(
        node=NODE,
        load=shape.parameters * BYTES["bfloat16"] / speed,
        compile=COMPILE,
        steps=stepping,
        save=saves * saved / speed,
        serve=SERVE,
    )


def operations(recipe: Recipe) -> float:
    """Of a device in a step, as XLA's own count has the body of a loop over layers only once.

    Two for a weight and token forwards, two more as the activations are computed again (full remat), two for
    the gradients of the activations and two for those of the weights, which an adapter does without. In
    attention a token meets half of the others, twice (scores and values).
    """
    shape = MODELS[recipe.model]
    passes = 6 if recipe.rank else 8
    attention = 2 * PASSES_OF_ATTENTION * shape.layers * shape.heads * shape.head * recipe.length
    return recipe.batch * recipe.length * (passes * multiplied(shape) + attention)


def multiplied(shape: Model) -> int:
    """Weights that a token is multiplied with: all but the embedding, of which it reads a row."""
    return shape.parameters - (0 if shape.tied else shape.vocabulary * shape.embedding)


def disk_speed(gigabytes: int) -> float:
    """Bytes a second of a pd-balanced of this size, as Google's documentation has them."""
    return (140 + 0.28 * gigabytes) * 1e6
