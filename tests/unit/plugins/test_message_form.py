# SPDX-License-Identifier: GPL-3.0-or-later
"""A message is "option: problem. Remedy": what to do is a sentence, and not behind a second colon."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VERBS = (
    "ask|choose|create|delete|end|give|install|is the|keep|let|mount|move|name|pack|quote|remove|run|set"
    "|start|stop|train|try|use|wait|write"
)
REMEDY = re.compile(rf"\S: (?:{VERBS}) ")
#: Examples of documentation are YAML.
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}


def messages(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The texts that are no documentation, with an underscore for each value in them."""
    left_out: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant() as value):
                left_out.add(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in DOCUMENTATION:
                left_out.add(value)
            case ast.JoinedStr(values=values):
                left_out.update(values)
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if node not in left_out:
                yield node.lineno, text
            case ast.JoinedStr(values=values):
                parts = (each.value if isinstance(each, ast.Constant) else "_" for each in values)
                yield node.lineno, "".join(map(str, parts))


def test_what_counts_as_a_remedy_behind_a_colon() -> None:
    tree = ast.parse(
        '"""a: set one"""\nf(f"a: {b} is wrong: set one")\nf("a: is wrong. Set one: run x")\nf(x="a: name")\n'
        'remedy = "It is full: try again later"\nEXAMPLES = "a: set one"\n'
    )
    assert sorted(line for line, text in messages(tree) if REMEDY.search(text)) == [2, 3, 5]


def test_the_remedy_is_a_sentence_of_its_own() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted([*ROOT.glob("plugins/**/*.py"), *ROOT.glob("roles/*/files/*.py")])
        for line, text in messages(ast.parse(path.read_text(encoding="utf-8")))
        if REMEDY.search(text)
    ]
    assert found == []
