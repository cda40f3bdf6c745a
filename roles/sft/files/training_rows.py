# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a training that goes on begin with the first row that its checkpoint was not trained on.

MaxText itself begins with the first row of all. To pass over as many batches as there were is right on as
many chips only: a batch has a number of sequences for each chip, and a sequence has as many rows as fit. On
twice the chips as many batches are other rows, of which half were never trained on.

So rows are counted, and the manifest of a checkpoint has their number. It holds because the pipeline (MaxText
0.2.5) reads the rows of a run in one order, whatever the chips, and packs no row before the one in front of
it is in a batch. A row without tokens, as one without an answer, trains nothing and counts nowhere: in a
batch it cannot be seen.

Used by train_sft.py, beside which it lies.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

SOURCE = "HFDataSource"
NUMBERS = "inputs_segmentation"


@dataclass
class Position:
    """Where the data of the training stand."""

    #: Of batches, that the checkpoint was trained on.
    batches: int = 0
    batches_a_step: int = 1
    #: Rows that the source of the training still has to pass over; it takes them from here when it is made.
    left: int = 0
    #: Of the checkpoint's batches, those that the source passes over, and that nobody reads here.
    passed_batches: int = 0
    #: Rows that are trained on, by the number of batches; none where they cannot be counted.
    rows: dict[int, int] = field(default_factory=dict)

    def begin(self, step: int, batches_a_step: int, rows: int | None) -> None:
        """rows: that the checkpoint of this step was trained on; None where its manifest does not tell."""
        self.batches, self.batches_a_step = step * batches_a_step, batches_a_step
        if rows is not None:
            self.rows = {self.batches: rows}
        else:  # all batches are read again, from the first row on
            self.rows = {0: 0}

    def count(self, batches: int, batch: Any) -> None:
        """Note the last of so many batches, which is trained on now."""
        before, more = self.rows.get(batches - 1), rows_in(batch)
        if before is not None and more is not None:
            self.rows[batches] = before + more

    def rows_at(self, step: int) -> int | None:
        """Rows that the checkpoint of this step was trained on; None where they were not counted."""
        return self.rows.get(step * self.batches_a_step)


def rows_in(batch: Any) -> int | None:
    """Rows with tokens in a batch: each has a number of its own in its sequence, 0 is padding.

    None where a batch has other contents, as in another version.
    """
    if not isinstance(batch, dict) or NUMBERS not in batch:
        return None
    import numpy

    sequences = numpy.asarray(batch[NUMBERS])
    return sum(len(numpy.unique(sequence[sequence != 0])) for sequence in sequences)


def has_tokens(row: Any, column: str) -> bool:
    """Whether a message of the row, which is a list of tokens by then, has one."""
    return any(len(tokens) for tokens in row[column])


def change_source(position: Position) -> None:
    """Let MaxText's source of rows, where this version has it, pass over those that were trained on."""
    module = next(
        (each for name, each in [*sys.modules.items()] if name.endswith("input_pipeline_utils")), None
    )
    base: Any = getattr(module, SOURCE, None)
    if base is None:
        return

    class ContinuedSource(base):  # type: ignore[misc]
        """The rows of the training, the first one of all sources that are made."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.left, position.left = position.left, 0  # it may be read in another process

        def __getitem__(self, index: int) -> Any:
            while self.left:
                if has_tokens(super().__getitem__(index), self.data_column_names[0]):
                    self.left -= 1
            return super().__getitem__(index)

    setattr(module, SOURCE, ContinuedSource)


def change_data(trainer: ModuleType, position: Position) -> None:
    """Let the trainer's data go on where the checkpoint ends."""
    base: Any = trainer.hooks.SFTDataHooks

    class ContinuedData(base):  # type: ignore[misc]
        """Gives, and counts, the batches behind what the checkpoint was trained on."""

        begun = False
        reason = "the checkpoint does not tell how many rows it was trained on"

        def __init__(self, *arguments: Any, **options: Any) -> None:
            known = position.rows.get(position.batches) if position.batches else None
            position.left = known or 0
            super().__init__(*arguments, **options)
            if known is None:
                return
            if position.left:  # no source took them
                position.left, position.rows = 0, {0: 0}
                self.reason = "this version of MaxText reads the rows in a way that is not known"
            else:
                position.passed_batches = position.batches
                print(
                    f"the checkpoint was trained on the first {known} rows: the data go on with row "
                    f"{known + 1}",
                    flush=True,
                )

        def load_next_train_batch(self, train_ctx: Any) -> Any:
            if not self.begun:
                self.begun = True
                if not self.pass_over(train_ctx, train_ctx.iter_steps - position.passed_batches):
                    return None  # the data end before
            batch = super().load_next_train_batch(train_ctx)
            position.count(train_ctx.iter_steps + 1, batch)
            return batch

        def pass_over(self, train_ctx: Any, batches: int) -> bool:
            """Read and drop so many batches; whether there were as many."""
            if batches:
                print(
                    f"{self.reason}: passing over {batches} batches of this number of chips, which are the "
                    "rows of the checkpoint only if it was trained on as many",
                    flush=True,
                )
            for number in range(batches):
                batch = super().load_next_train_batch(train_ctx)
                if batch is None:
                    return False
                position.count(number + 1, batch)
            return True

    trainer.hooks.SFTDataHooks = ContinuedData
