# SPDX-License-Identifier: GPL-3.0-or-later
"""A message is "option: problem. Remedy": what to do is a sentence, and not behind a second colon."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PLUGINS = Path(__file__).parents[3] / "plugins"
VERBS = "ask|choose|create|end|give|is the|keep|let|mount|move|name|pack|quote|run|set|start|use|wait|write"
REMEDY = re.compile(rf"\S: (?:{VERBS}) ")


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts that calls are given, with a blank for each value in them."""
    for call in ast.walk(tree):
        if not isinstance(call, ast.Call):
            continue
        for given in [*call.args, *(keyword.value for keyword in call.keywords)]:
            match given:
                case ast.Constant(value=str(text)):
                    yield given.lineno, text
                case ast.JoinedStr(values=values):
                    parts = (each.value if isinstance(each, ast.Constant) else "_" for each in values)
                    yield given.lineno, "".join(map(str, parts))


def test_what_counts_as_a_remedy_behind_a_colon() -> None:
    tree = ast.parse("f(f'a: {b} is wrong: set one')\nf('a: is wrong. Set one: run x')\nf(x='a: name')")
    assert [line for line, text in messages(tree) if REMEDY.search(text)] == [1, 2]


def test_the_remedy_is_a_sentence_of_its_own() -> None:
    found = [
        f"{path.relative_to(PLUGINS)}:{line}: {text}"
        for path in sorted(PLUGINS.rglob("*.py"))
        for line, text in messages(ast.parse(path.read_text(encoding="utf-8")))
        if REMEDY.search(text)
    ]
    assert found == []
