# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules stay small: what several need belongs to module_utils."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from statistics import median

MODULES = sorted((Path(__file__).parents[3] / "plugins" / "modules").glob("*.py"))
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
BLANK = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def code_lines(source: str) -> int:
    """Lines that hold code: no blank ones, no comments, no documentation blocks."""
    documented = {
        line
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id in DOCUMENTATION
        for line in range(statement.lineno, (statement.end_lineno or 0) + 1)
    }
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in BLANK
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(code - documented)


def test_what_counts_as_a_line_of_code() -> None:
    source = 'DOCUMENTATION = r"""\na\n"""\n# comment\n\nx = [\n    1,\n]\n'
    assert code_lines(source) == 3


def test_the_median_module_is_under_a_hundred_lines_of_code() -> None:
    sizes = {module.stem: code_lines(module.read_text(encoding="utf-8")) for module in MODULES}
    assert len(sizes) > 10
    assert median(sizes.values()) < 100, sizes
