# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find MaxText's checkpoints on a disk and tell which of them are whole.

Two layouts, as MaxText 0.2.5 writes them: a converted base model is ``DIR/0/items``, a training run is
``RUN/checkpoints/STEP/{model_params,optimizer_state}``. Orbax writes into ``STEP.orbax-checkpoint-tmp`` and
renames that when it is done, so such a directory is never a checkpoint. A machine that loses its power may
still leave empty files in a directory with a final name.
"""

from __future__ import annotations

import os
from typing import Any

# The parts of a checkpoint that hold arrays; others (metadata, a data iterator) need not be there.
ARRAY_ITEMS = ("items", "model_params", "optimizer_state")
MODEL_ITEMS = ("items", "model_params")
ITEM_CONTENTS = ("_METADATA", "manifest.ocdbt", "d", "ocdbt.process_0")


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
    """step, path, complete, parts (those that are there) and missing (paths, relative, that should be)."""
    path = os.path.join(root, str(step))
    items = [name for name in ARRAY_ITEMS if os.path.isdir(os.path.join(path, name))]
    missing = [
        f"{item}/{name}"
        for item in items
        for name in ITEM_CONTENTS
        if not is_written(os.path.join(path, item, name))
    ]
    if not set(items) & set(MODEL_ITEMS):
        missing.append(" or ".join(MODEL_ITEMS))
    return {"step": step, "path": path, "complete": not missing, "parts": items, "missing": missing}


def is_written(path: str) -> bool:
    """Whether it is a directory or a file with something in it."""
    return os.path.isdir(path) or (os.path.exists(path) and os.path.getsize(path) > 0)


def latest(checkpoints: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The complete checkpoint with the highest step."""
    return next((found for found in reversed(checkpoints) if found["complete"]), None)
