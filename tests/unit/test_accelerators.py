# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of accelerators: complete, and on its page of the documentation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators

from localcloud import catalog

ROOT = Path(__file__).parents[2]


def test_the_page_is_as_the_tables_are() -> None:
    spec = importlib.util.spec_from_file_location(
        "write_accelerators", ROOT / "scripts/write_accelerators.py"
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = module.PAGE.read_text(encoding="utf-8")
    assert text == module.written(text), "run scripts/write_accelerators.py"


def test_all_types_with_one_worker_are_there() -> None:
    offered = {kind.name for family in catalog._FAMILIES.values() for kind in family if kind.workers == 1}
    assert offered <= set(accelerators.SINGLE_HOST)


@pytest.mark.parametrize("name", accelerators.SINGLE_HOST)
def test_a_type_with_one_worker_has_all_that_is_asked(name: str) -> None:
    kind = accelerators.generation(name)
    assert kind is not None and kind.hbm and kind.runtime_version and kind.disk_type
    assert accelerators.workers(name) == 1
    # What the compiler can name has a known memory, so that a row of the table has a verdict.
    assert (accelerators.topology(name) is None) or kind.memory
    assert kind.memory is None or kind.memory * kind.devices <= kind.hbm * 1.01
