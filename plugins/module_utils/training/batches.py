# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many batches a data set gives, as MaxText forms them, and whether that is enough for the steps.

A step takes one batch: per_device_batch_size sequences for each device. With packing, which is MaxText's
default for SFT, rows are put one after the other where there is room for them first, and a batch is full when
a row fits nowhere; the last batch counts although it is not full. Without packing each row is a sequence, and
rows that do not fill a batch are dropped. Where the data end before the steps, MaxText ends without an error;
its warm-up and decay are shares of the steps, so the learning rate was never what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

MARGIN = 1.5  # how far a part of the rows may mislead about all
SANE_EPOCHS = 50  # more would only learn the rows by heart


@dataclass(frozen=True)
class Plan:
    """What is asked for. sequences: in a batch, over all devices; length: of each, in tokens."""

    steps: int
    sequences: int
    length: int
    epochs: int = 1
    packing: bool = True
    per_device: float = 1


@dataclass(frozen=True)
class Amount:
    """What is known of the data.

    rows:         their number; None where nobody knows.
    likely, most: tokens of each row that was read, about and at most.
    """

    rows: int | None
    likely: list[int]
    most: list[int]

    @property
    def scale(self) -> float:
        """What the rows that were read must be multiplied with."""
        return max(1.0, self.rows / len(self.likely)) if self.rows and self.likely else 1.0


def packed(lengths: Iterable[int], sequences: int, length: int) -> list[int]:
    """The number of rows in each batch into which MaxText packs rows of these lengths."""
    found: list[int] = []
    room = [0] * sequences
    for tokens in lengths:
        size = min(tokens, length)
        place = next((index for index, free in enumerate(room) if free >= size), None) if found else None
        if place is None:
            found.append(0)
            room, place = [length] * sequences, 0
        room[place] -= size
        found[-1] += 1
    return found


def at_most(rows: int, plan: Plan) -> int:
    """The number of batches that so many rows can give, however long they are."""
    total = rows * plan.epochs
    return -(-total // plan.sequences) if plan.packing else total // plan.sequences


def estimate(amount: Amount, lengths: list[int], plan: Plan) -> int | None:
    """The number of batches if the rows have these lengths; None where nothing is known."""
    if lengths and plan.packing:
        if plan.epochs == 1 and amount.scale == 1:
            return len(packed(lengths, plan.sequences, plan.length))
        return max(1, math.ceil(parts(lengths, plan) * amount.scale * plan.epochs))
    return None if amount.rows is None else at_most(amount.rows, plan)


def parts(lengths: list[int], plan: Plan) -> float:
    """The number of batches, the last one counted as far as it is full: other rows may follow in it."""
    *full, last = packed(lengths, plan.sequences, plan.length)
    if full:
        return len(full) + min(1.0, last * len(full) / sum(full))
    return sum(min(tokens, plan.length) for tokens in lengths) / (plan.sequences * plan.length)


def tokens_wanted(plan: Plan) -> int:
    """As many as make it sure, on average, that the data last."""
    return math.ceil(plan.steps * plan.sequences * plan.length * 2 * MARGIN / plan.epochs)


def surely_enough(amount: Amount, plan: Plan) -> bool:
    """Whether even a cautious estimate gives all steps."""
    if amount.rows is None or not amount.likely:
        return False
    if plan.packing:
        tokens = sum(min(length, plan.length) for length in amount.likely) * amount.scale
        return tokens >= tokens_wanted(plan)
    return at_most(amount.rows, plan) >= plan.steps * (1 if amount.scale == 1 else MARGIN)


#: Its checkpoints are refused with another batch, other epochs or other data.
BOUND = "A run that has checkpoints takes other steps alone; for the rest use another run_name"


def shortage(amount: Amount, plan: Plan) -> str | None:
    """What to say and to do when the data cannot give all steps; None when they may."""
    if amount.rows == 0:
        return f"{plan.steps} steps need data: the split has no rows"
    found = estimate(amount, amount.most, plan)
    if found is None or found * (1 if amount.scale == 1 else MARGIN) >= plan.steps:
        return None
    likely = estimate(amount, amount.likely, plan) or found
    about = "" if amount.scale == 1 else "about "
    rows = f"{about}{plural(amount.rows or len(amount.most), 'row')}, {times(plan.epochs)}, give"
    size = f"{plural(plan.sequences, 'sequence')} of {plan.length} tokens"
    return (
        f"{plan.steps} steps need more data: {rows} {about}{plural(likely, 'batch', 'batches')} of {size}. "
        f"{remedies(amount, plan, likely)}"
    )


def remedies(amount: Amount, plan: Plan, likely: int) -> str:
    """What to set: the steps, the epochs, a smaller batch, or other data."""
    rows = amount.rows or len(amount.likely)
    if plan.packing and amount.likely:
        once = parts(amount.likely, plan) * amount.scale
    else:
        once = rows / plan.sequences
    epochs = max(plan.epochs + 1, math.ceil(plan.steps / once))
    ways = [f"steps to {likely} at most"] if likely else []
    if epochs <= SANE_EPOCHS:
        ways.append(f"sft_num_epoch to {epochs} at least")
    if plan.per_device > 1:
        ways.append(f"a smaller per_device_batch_size than {plan.per_device:g}")
    more = f"take a data set of about {rounded(rows * plan.steps / once / plan.epochs):,} rows like these"
    return f"{'Set ' if ways else ''}{', or '.join([*ways, more])}. {BOUND}"


def rounded(number: float) -> int:
    """Up, to three digits."""
    digit = int("1" + "0" * max(0, len(str(int(number))) - 3))
    return math.ceil(number / digit) * digit


def plural(number: int, one: str, several: str = "") -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def times(epochs: int) -> str:
    return "read once" if epochs == 1 else f"read {epochs} times"
