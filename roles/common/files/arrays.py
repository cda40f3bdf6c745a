# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the arrays of a MaxText checkpoint one by one, as Orbax wrote them, without a model around them.

Orbax restores into the arrays of a model that is there already, on its devices. To compare what lies on the
disk, or to find out whether it can be read at all, TensorStore is enough: an item (``0/items``,
``STEP/model_params``) is an OCDBT database of Zarr arrays, and ``_METADATA`` has their names.

Runs in the training environment (numpy, tensorstore, ml_dtypes).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Key = tuple[str, ...]


class Unreadable(Exception):
    """An array that cannot be read; the text names it and says why, in one line."""


def metadata(item: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(item, "_METADATA").read_text(encoding="utf-8"))
        found["tree_metadata"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise Unreadable(f"{item}/_METADATA: {error}") from error
    assert isinstance(found, dict)
    return found


def names(item: str) -> list[Key]:
    """The arrays of an item by their path in the tree, such as ("params", "decoder", "decoder_norm")."""
    found = []
    for entry in metadata(item)["tree_metadata"].values():
        kind = entry["value_metadata"]["value_type"]
        if kind in ("jax.Array", "np.ndarray", "scalar"):
            found.append(tuple(str(part["key"]) for part in entry["key_metadata"]))
    return found


def open_array(item: str, key: Key) -> Any:
    """The array, as a tensorstore.TensorStore: nothing but its shape and dtype is read."""
    import tensorstore

    zarr3 = metadata(item).get("use_zarr3")
    try:
        return tensorstore.open(
            {
                "driver": "zarr3" if zarr3 else "zarr",
                "kvstore": {"driver": "ocdbt", "base": f"file://{item}/", "path": ".".join(key) + "/"},
            },
            open=True,
            read=True,
        ).result()
    except ValueError as error:  # also what is absent or damaged
        raise Unreadable(f"{item}: {'.'.join(key)}: {first_line(error)}") from error


def read(item: str, key: Key) -> Any:
    """The array, as a numpy.ndarray."""
    store = open_array(item, key)
    try:
        return store.read().result()
    except ValueError as error:
        raise Unreadable(f"{item}: {'.'.join(key)}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_readable(item: str) -> None:
    """Read every array of an item and forget it. Raises Unreadable for the first that cannot be read."""
    for key in names(item):
        read(item, key)
