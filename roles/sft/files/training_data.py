# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets a training whose data end before its steps end with an error, and before its first step if it can.

MaxText takes every error of the data, the end as well as a Hub that does not answer, for the end of the
training, and exits with 0. Its warm-up and decay are shares of the steps, so after an early end the learning
rate was never what was asked for; with very few rows it was 0.

Used by train_sft.py, beside which it lies.
"""

from __future__ import annotations

from collections import deque
from types import ModuleType
from typing import Any

from training_rows import Position

# Of batches that are read before the first step, to see that they last; the chips share them. One of 8
# sequences of 1024 tokens has 200 kB, so this holds 330 steps. In a longer run the end comes when it comes.
AHEAD_BYTES = 64 << 20
# Its checkpoints go on with the commit of the data and with the epochs that they began with alone.
OTHER_RUN = "use another run_name, as this run keeps its data"


def check_data(trainer: ModuleType, refused: type[Exception], position: Position) -> None:
    """Change the trainer's data hooks, before anything else changes them.

    refused: what is raised, with the reason and what to set.
    """
    base: Any = trainer.hooks.SFTDataHooks

    class CheckedData(base):  # type: ignore[misc]
        """Reads batches ahead, and refuses where they are fewer than the steps need."""

        ahead: deque[Any] | None = None
        given = 0
        reason: Exception | None = None  # why there was no batch

        def load_next_train_batch(self, train_ctx: Any) -> Any:
            if self.ahead is None:
                self.ahead = self.read_ahead(train_ctx)
            batch = self.ahead.popleft() if self.ahead else self.read(train_ctx)
            self.train_batch = batch  # there the other hooks look for it
            self.given += 1
            if batch is None and train_ctx.train_steps < self.config.steps:
                raise refused(self.explain(self.given - 1, train_ctx.train_steps))
            return batch

        def read_ahead(self, train_ctx: Any) -> deque[Any]:
            found: deque[Any] = deque()
            held = 0
            while len(found) < self.wanted() and held < AHEAD_BYTES:
                batch = self.read(train_ctx)
                if batch is None:
                    raise refused(self.explain(len(found), train_ctx.train_steps))
                found.append(batch)
                held += size(batch)
            return found

        def wanted(self) -> int:
            """Batches for all steps, those of an earlier start included if they are read again."""
            return int(self.config.steps * self.each() - position.passed_batches)

        def each(self) -> int:
            """Batches for a step."""
            return int(getattr(self.config, "gradient_accumulation_steps", 1))

        def read(self, train_ctx: Any) -> Any:
            """The next batch, None where there is none."""
            loader = getattr(self, "train_data_loader", None)
            if loader is None:
                return super().load_next_train_batch(train_ctx)
            try:
                return loader.load_next_batch()
            except Exception as error:
                self.reason = error
                return None

        def explain(self, found: int, step: int) -> str:
            after = f"It ended at step {step}." if step else "No step was trained."
            if self.reason is not None and not ended(self.reason):
                read = f"{found} batches of {self.wanted()}"
                return (
                    f"The data cannot be read on after {read}: {str(self.reason).rstrip('.')}. {after} "
                    f"{correct(step)}"
                )
            epochs, steps = int(getattr(self.config, "num_epoch", 1)), self.config.steps
            enough = (position.passed_batches + found) // self.each()
            times = "once" if epochs == 1 else f"{epochs} times"
            batches = "batch" if found == 1 else "batches"
            if position.passed_batches:  # on other chips perhaps, so nothing tells what all data give here
                there = f"behind the rows that are trained they give {found} {batches}"
                wanted, more = f"{steps - position.batches // self.each()} more steps", 0
            else:
                there, wanted = f"read {times} they give {found} {batches}", f"{steps} steps"
                more = -(-epochs * self.wanted() // found) if enough else 0
            return (
                f"The data end before the steps: {there}, and {wanted} need {self.wanted()}. {after} "
                f"{prolong(enough, more, step)}"
            )

    trainer.hooks.SFTDataHooks = CheckedData


def correct(step: int) -> str:
    """What to do about rows that cannot be read, when so many steps are trained."""
    if not step:
        return "Correct the rows if they are the cause, and run the same command again."
    return (
        f"Correct the rows and {OTHER_RUN}. Where the Hub did not answer, run the same command again instead."
    )


def prolong(enough: int, epochs: int, step: int) -> str:
    """What to set when the data give only so many steps, and so many epochs (0: not known) give all."""
    if not enough:
        return f"Take more data{f', and {OTHER_RUN}' if step else ''}."
    more = f"sft_num_epoch to {f'{epochs} at least' if epochs else 'more'}, or take more data."
    if not step:
        return f"Set steps to {enough} at most, or {more}"
    return f"Set steps to {enough} at most. Or {OTHER_RUN}, and with that set {more}"


def ended(error: BaseException) -> bool:
    """Whether the data are at their end, and nothing is wrong with them."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, StopIteration) or isinstance(cause, StopIteration)


def size(batch: Any) -> int:
    """Bytes of its arrays."""
    return sum(int(array.nbytes) for array in batch.values()) if isinstance(batch, dict) else 0
