# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's SFT trainer, with what MaxText does not pass on to the libraries below it.

    train_sft.py --keep N [--minutes M] MODULE CONFIG KEY=VALUE...

MODULE is the trainer's name in this version of MaxText (0.1.0 to 0.2.5); what follows are its own arguments.
MaxText tells Orbax in how many steps to save, and nothing more. Here five things are added:

- Only the last checkpoints are kept; and they may be saved by time instead of by steps.
- A checkpoint is on the disk before it has its name, and before an older one is deleted for it. Orbax leaves
  its small files in memory, for up to half a minute; without them it is none.
- Training goes on from a whole checkpoint. Orbax takes the highest number for the last checkpoint, also when
  a machine that lost its power left empty files there; such a directory is renamed to ``STEP.incomplete``.
  What Orbax itself knows to be unfinished (``STEP.orbax-checkpoint-tmp``) is deleted.
- It goes on with the data behind what the checkpoint was trained on. MaxText would begin anew.
- An error in any thread ends it. TensorBoard's writer dies of a full disk, and the trainer would wait for it
  for ever, on chips that cost money.

Runs in the training environment, beside the collection's ``checkpoints.py``. Needs Tunix 0.1.0 and an Orbax
that has policies (0.11.11).
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import checkpoints


def set_aside_incomplete(directory: Path) -> list[Path]:
    """Rename the incomplete steps above the last complete one; their new names.

    Lower ones are no danger: training does not begin there, and they go when checkpoints are pruned.
    """
    found = checkpoints.find(str(directory))
    complete = checkpoints.latest(found)
    renamed = []
    for checkpoint in found:
        if checkpoint["complete"] or (complete and checkpoint["step"] < complete["step"]):
            continue
        step, missing = Path(checkpoint["path"]), ", ".join(checkpoint["missing"])
        path = free_name(step)
        step.rename(path)
        print(f"checkpoint {step.name} is not complete ({missing}): it is now {path.name}", flush=True)
        renamed.append(path)
    return renamed


def free_name(step: Path) -> Path:
    """STEP.incomplete, or STEP.incomplete2 and so on where an earlier run took that."""
    path, number = step.with_name(f"{step.name}.incomplete"), 1
    while path.exists():
        number += 1
        path = step.with_name(f"{step.name}.incomplete{number}")
    return path


def with_checkpoint_options(options: Any, keep: int, minutes: float | None) -> Any:
    """MaxText's options for Orbax (CheckpointManagerOptions), with the number to keep and the time between.

    By time, the first one is saved after the first step, and none while another is still being written.
    """
    from orbax.checkpoint import AsyncOptions, checkpoint_managers

    changes: dict[str, Any] = {
        "preservation_policy": checkpoint_managers.LatestN(keep),
        "cleanup_tmp_directories": True,
    }
    if options.enable_async_checkpointing:  # without, Orbax has no such callback, and fails on it
        # Orbax calls it when all is written and STEP has not its name yet, in the thread that saves: training
        # waits for that only where the next one is due before. ext4 commits the name within 5 s. sync()
        # raises nothing: where the disk fails, the renaming that follows says so.
        changes["async_options"] = dataclasses.replace(
            options.async_options or AsyncOptions(), post_finalization_callback=os.sync
        )
    if minutes is not None:
        changes["save_decision_policy"] = checkpoint_managers.AnySavePolicy(
            [
                checkpoint_managers.ContinuousCheckpointingPolicy(minimum_interval_secs=round(minutes * 60)),
                checkpoint_managers.PreemptionCheckpointingPolicy(),
            ]
        )
    return dataclasses.replace(options, **changes)


def change_checkpoints(trainer: ModuleType, keep: int, minutes: float | None) -> None:
    """Let the trainer find whole checkpoints alone, and save and keep them like that."""
    import jax

    original = trainer.get_tunix_config

    def get_tunix_config(config: Any) -> Any:
        directory = Path(config.checkpoint_dir)
        if directory.is_absolute() and jax.process_index() == 0:  # not a bucket, which has other marks
            set_aside_incomplete(directory)
        tunix = original(config)
        options = with_checkpoint_options(tunix.checkpointing_options, keep, minutes)
        return dataclasses.replace(tunix, checkpointing_options=options)

    trainer.get_tunix_config = get_tunix_config  # type: ignore[attr-defined]


def change_data(trainer: ModuleType) -> None:
    """Let the trainer's data go on where the checkpoint ends."""
    base: Any = trainer.hooks.SFTDataHooks

    class ContinuedData(base):  # type: ignore[misc]
        """Reads, and drops, as many batches as the checkpoint was trained on, before it gives one."""

        begun = False

        def load_next_train_batch(self, train_ctx: Any) -> Any:
            if not self.begun:
                self.begun = True
                if train_ctx.iter_steps:
                    print(f"passing over the data of {train_ctx.iter_steps} batches", flush=True)
                for _ in range(train_ctx.iter_steps):
                    if super().load_next_train_batch(train_ctx) is None:
                        return None  # the data ends before
            return super().load_next_train_batch(train_ctx)

    trainer.hooks.SFTDataHooks = ContinuedData


def end_with_any_thread() -> None:
    """Let an error that nobody catches in a thread end the process, as one in the main thread does."""
    report = threading.excepthook

    def end(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is SystemExit:
            return
        try:
            report(failed)
            sys.stderr.flush()
        finally:  # also where the log has no room for the report
            os._exit(1)

    threading.excepthook = end


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    option = parser.add_argument
    option("--keep", type=int, required=True, help="number of checkpoints to keep, the last ones")
    option("--minutes", type=float, help="minutes between two checkpoints, instead of steps")
    option("module", help="name of MaxText's trainer")
    option("arguments", nargs=argparse.REMAINDER, help="its configuration file and settings")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    end_with_any_thread()
    from absl import app

    trainer = importlib.import_module(options.module)
    change_checkpoints(trainer, options.keep, options.minutes)
    change_data(trainer)
    app.run(trainer.main, argv=[options.module, *options.arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
