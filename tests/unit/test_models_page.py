# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/models.md against the table of models."""

from __future__ import annotations

from tests.unit.roles.conftest import load


def test_the_page_is_the_table_s() -> None:
    writer = load("scripts/write_models.py")
    page = writer.PAGE.read_text(encoding="utf-8")
    assert writer.written(page) == page, "run scripts/write_models.py"
