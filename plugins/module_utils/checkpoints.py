# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find MaxText's checkpoints on a disk and tell which of them are whole.

Two layouts, as MaxText 0.2.5 writes them: a converted base model is ``DIR/0/items``, a training run is
``RUN/checkpoints/STEP/{model_params,optimizer_state}``. Orbax writes into ``STEP.orbax-checkpoint-tmp`` and
renames that when it is done, so such a directory is never a checkpoint. A machine that loses its power may
still leave empty files in a directory with a final name.

The program that trains leaves a manifest of each checkpoint, ``RUN/manifests/STEP.json`` (manifest.py). Here
the sizes are compared with it; that program compares the contents before it uses one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import manifest

# The parts of a checkpoint that hold arrays; others (metadata, a data iterator) need not be there.
ARRAY_ITEMS = ("items", "model_params", "optimizer_state")
MODEL_ITEMS = ("items", "model_params")
ITEM_CONTENTS = ("_METADATA", "manifest.ocdbt", "d", "ocdbt.process_0")
UNFINISHED = ".orbax-checkpoint-tmp"


def find(path: str) -> list[dict[str, Any]]:
    """The checkpoints of a run, of its directory of checkpoints, or of a converted model, by step."""
    below = os.path.join(path, "checkpoints")
    root = below if os.path.isdir(below) else path
    if not os.path.isdir(root):
        return []
    steps = sorted(int(name) for name in os.listdir(root) if is_step(root, name))
    return [checkpoint(root, step) for step in steps]


def is_step(root: str, name: str) -> bool:
    # str.isdigit() also takes digits of other scripts, and 007 would not lead back to its directory.
    return name.isdecimal() and name == str(int(name)) and os.path.isdir(os.path.join(root, name))


def checkpoint(root: str, step: int) -> dict[str, Any]:
    """What is known of a checkpoint: step, path, complete, parts (those that are there), missing (what is not
    as it should be), manifest (its path), and of that digest and about (what the checkpoint depends on).

    ``missing`` has paths, relative to the checkpoint, of what is absent or empty, or sentences about files
    that differ from the manifest. Without a manifest the last three are None; without a readable one, the
    last two.
    """
    path = os.path.join(root, str(step))
    items = parts(path)
    missing = [
        f"{item}/{name}"
        for item in items
        for name in ITEM_CONTENTS
        if not is_written(os.path.join(path, item, name))
    ]
    missing += [name for name in empty_files(path, items) if name not in missing]
    if not set(items) & set(MODEL_ITEMS):
        missing.append(" or ".join(MODEL_ITEMS))
    record = manifest_path(path)
    described = manifest.read(record)
    if described and not missing:
        missing = manifest.problems(record, path, thorough=False)
    return {
        "step": step,
        "path": path,
        "complete": not missing,
        "parts": items,
        "missing": missing,
        "digest": manifest.digest(described) if described else None,
        "about": described["about"] if described else None,
        "manifest": record if os.path.exists(record) else None,
    }


def parts(path: str) -> list[str]:
    """The parts of a checkpoint that hold arrays."""
    return [name for name in ARRAY_ITEMS if os.path.isdir(os.path.join(path, name))]


def manifest_path(path: str) -> str:
    """Where the manifest of a run's checkpoint is: RUN/manifests/STEP.json for RUN/checkpoints/STEP."""
    root, step = os.path.split(path)
    return os.path.join(os.path.dirname(root), "manifests", f"{step}.json")


def set_aside(step: Path, suffix: str) -> Path:
    """Rename it to STEP.SUFFIX, or STEP.SUFFIX2 where an earlier one has that; its manifest is deleted."""
    path, number = step.with_name(f"{step.name}.{suffix}"), 1
    while path.exists():
        number += 1
        path = step.with_name(f"{step.name}.{suffix}{number}")
    Path(manifest_path(str(step))).unlink(missing_ok=True)
    return step.rename(path)


def is_written(path: str) -> bool:
    """Whether it is a file, or a directory with something in it."""
    return os.path.isfile(path) or (os.path.isdir(path) and bool(os.listdir(path)))


def empty_files(path: str, items: list[str]) -> list[str]:
    """The files of these parts without anything in them, relative to the checkpoint: Orbax writes none."""
    return [
        name for name in manifest.files_below(path, items) if os.path.getsize(os.path.join(path, name)) == 0
    ]


def latest(checkpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The complete checkpoint with the highest step."""
    return next((found for found in reversed(checkpoints) if found["complete"]), None)
