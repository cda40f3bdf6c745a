# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's converter to the Hub's format, and lets it read the checkpoint as it was stored.

    export_exactly.py MODULE ARGUMENT...

The converter of MaxText 0.2.5 reads all arrays in ``weight_dtype``, the data type that it saves them in.
So arrays that it holds scaled are rounded before the scale is taken back, and rounded again afterwards: the
queries of a Llama do not come back as they were. Here only the result is rounded.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from typing import Any


def read_as_stored(utils: Any) -> None:
    """Let the converter, whose module ``utils`` this is, round nothing that it reads."""
    load = utils.load_orbax_checkpoint

    def load_as_stored(config: Any) -> Any:
        return load(config.model_copy(update={"weight_dtype": None}))

    utils.load_orbax_checkpoint = load_as_stored


def main(arguments: list[str]) -> None:
    module = arguments[0]
    read_as_stored(importlib.import_module(f"{module.rpartition('.')[0]}.utils.utils"))
    sys.argv = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
