# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists the sentences of more than 30 words in the documents and in the messages of the code.

    python scripts/long_sentences.py

A reader must understand each sentence at first reading. What must stay long stands in EXCEPTIONS, with the
reason; an exception that no sentence needs any more is an error too. tests/unit/test_documents.py runs this.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 30  # words

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "environments/README.md", "roles/*/README.md")
#: The beginning of a sentence that may be long, and why.
EXCEPTIONS: dict[str, str] = {
    "import importlib.util, sys": "a program that is handed to Python, not a text",
}

# Written by programs: tables of the argument specs, of make chaos and of make bench.
GENERATED = re.compile(r"<!-- (settings:|written by).*?<!-- (end|written by[^>]*end) -->", re.DOTALL)
FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"\n\n(?:    .*\n)+")
ITEM = re.compile(r"^ *(?:[-*]|\d+\.) +|^#+ +|^> ?", re.MULTILINE)
END = re.compile(r"(?<=[.!?])[)\"']?\s+(?=[A-Z`\"'({\[*]|\d)|\n{2,}")
#: Text of Jinja: a literal is text of the message, anything else is a word.
JINJA = re.compile(r"\{\{(.*?)\}\}|\{%.*?%\}", re.DOTALL)
LITERAL = re.compile(r"'((?:[^'\\]|\\.)*)'")
DOCUMENTED = re.compile(r"(DOCUMENTATION|EXAMPLES|RETURN)$")
MESSAGES = ("fail_msg", "success_msg", "msg", "name")


@dataclass(frozen=True, order=True)
class Sentence:
    source: str
    text: str

    @property
    def words(self) -> int:
        return len([word for word in self.text.split() if re.search(r"\w", word)])


def sentences(source: str, text: str) -> Iterator[Sentence]:
    for sentence in END.split(text):
        if sentence and sentence.strip():
            yield Sentence(source, " ".join(sentence.split()))


def of_document(path: Path) -> Iterator[Sentence]:
    text = GENERATED.sub("\n\n", path.read_text(encoding="utf-8"))
    text = INDENTED.sub("\n\n", FENCE.sub("\n\n", text))
    text = re.sub(r"`[^`]*`", "Code", text)  # a sentence may begin so
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    # A cell of a table and an item of a list is a text of its own.
    text = re.sub(r"^\|.*$", lambda row: "\n\n" + row[0].replace("|", "\n\n"), text, flags=re.MULTILINE)
    yield from sentences(name(path), ITEM.sub("\n\n", text))


def of_program(path: Path) -> Iterator[str]:
    """The texts of a program, apart from docstrings and from the documentation of a plugin."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
        elif isinstance(node, ast.Assign) and DOCUMENTED.match(ast.unparse(node.targets[0])):
            left_out.add(id(node.value))
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield "".join(map(str, parts))


def of_playbook(path: Path) -> Iterator[str]:
    """The names and messages of tasks."""
    for text in told(yaml.safe_load(path.read_text(encoding="utf-8"))):
        yield JINJA.sub(lambda found: " X ".join(LITERAL.findall(found[1] or "")) or "X", text)


def told(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in MESSAGES and isinstance(value, str):
                yield value
            else:
                yield from told(value)
    elif isinstance(node, list):
        for each in node:
            yield from told(each)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def everything() -> Iterator[Sentence]:
    for pattern in DOCUMENTS:
        for document in sorted(ROOT.glob(pattern)):
            if not document.name.endswith(".ja.md"):  # Japanese has no spaces between words
                yield from of_document(document)
    for path, text in messages():
        yield from sentences(name(path), text)


@cache
def messages() -> tuple[tuple[Path, str], ...]:
    """Every text of the code that may be a message, and its file."""
    return tuple(of_code())


def of_code() -> Iterator[tuple[Path, str]]:
    for program in (*sorted((ROOT / "plugins").rglob("*.py")), *sorted(ROOT.glob("roles/*/files/*.py"))):
        if program.parent.name != "doc_fragments":
            yield from ((program, text) for text in of_program(program))
    for playbook in (*sorted((ROOT / "playbooks").rglob("*.yml")), *sorted(ROOT.glob("roles/*/tasks/*.yml"))):
        yield from ((playbook, text) for text in of_playbook(playbook))


def long() -> list[Sentence]:
    return sorted({sentence for sentence in everything() if sentence.words > LONGEST})


def unexpected(found: list[Sentence]) -> list[str]:
    """What is long without an exception, and exceptions that nothing needs."""
    excused = {
        begin: [sentence for sentence in found if sentence.text.startswith(begin)] for begin in EXCEPTIONS
    }
    known = {sentence for each in excused.values() for sentence in each}
    return [
        *(
            f"{sentence.source}: {sentence.words} words: {sentence.text}"
            for sentence in found
            if sentence not in known
        ),
        *(f"EXCEPTIONS: no long sentence begins so: {begin}" for begin, each in excused.items() if not each),
    ]


def main() -> int:
    wrong = unexpected(long())
    sys.stdout.write("".join(f"{line}\n" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
