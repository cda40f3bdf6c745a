# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/variables.md says what the argument specs say, and leaves no setting out."""

from __future__ import annotations

import importlib
import re
from typing import Any

from .roles.conftest import ROOT, load

settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")

PAGE = ROOT / "docs/variables.md"
# Roles that other roles and playbooks of this collection play; a user sets nothing of theirs.
PARTS = ("locked_env", "preflight")


def test_the_tables_are_those_of_the_sources() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == load("scripts/write_variables.py").written(text), "run scripts/write_variables.py"


def test_every_setting_stands_in_one_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    expected = {
        name
        for name, each in settings.known().items()
        if each.role not in PARTS and not name.startswith("common_") and not each.passed
    }
    assert sorted(expected - set(rows)) == []
    assert sorted(name for name in rows if name in settings.known() and settings.known()[name].passed) == []
    assert sorted(name for name in set(rows) if rows.count(name) > 1) == []
