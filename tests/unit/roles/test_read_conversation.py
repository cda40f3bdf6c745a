# SPDX-License-Identifier: GPL-3.0-or-later
"""The question of a data set, of each form that can be trained on."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SYSTEM = {"role": "system", "content": "Be terse."}
USER = {"role": "user", "content": "What is 1 plus 1?"}
ANSWER = {"role": "assistant", "content": "2"}


@pytest.mark.parametrize(
    ("row", "column", "messages"),
    [
        ({"messages": [SYSTEM, USER, ANSWER, USER]}, "messages", [SYSTEM, USER]),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt", [USER]),
        ({"prompt": [USER, USER], "completion": [ANSWER, ANSWER]}, "prompt", [USER]),
        ({"question": "What is 1 plus 1?", "answer": "2"}, "question", [USER]),
        ({"question": "What is 1 plus 1?", "answer": "2"}, "answer", [USER]),
    ],
)
def test_the_first_question_of_a_row(
    conversations: ModuleType, row: dict[str, Any], column: str, messages: list[dict[str, str]]
) -> None:
    assert conversations.conversation(row, column) == {"messages": messages, "answer": "2"}


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        ({"text": "x"}, "messages", "^evaluate_column: .* no column messages; it has text. Set one"),
        ({"messages": [USER]}, "messages", "^evaluate_row: .* has no answer of an assistant.* Set another"),
        ({"text": "x"}, "text", "^evaluate_column: the column text is no conversation. Set another"),
    ],
)
def test_a_row_without_one(conversations: ModuleType, row: dict[str, Any], column: str, said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        conversations.conversation(row, column)


@pytest.mark.parametrize(
    ("options", "loaded"),
    [
        ([], ("me/data", None, "train[3:4]", None)),
        (["--config=ja", "--revision=abc"], ("me/data", "ja", "train[3:4]", "abc")),
        (["--split=a+b"], ("me/data", None, "a[3:4]", None)),
    ],
)
def test_what_is_loaded(
    conversations: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: list[str],
    loaded: tuple[str | None, ...],
) -> None:
    import datasets

    seen = []

    def load(path: str, name: str | None, *, split: str, revision: str | None) -> list[dict[str, Any]]:
        seen.append((path, name, split, revision))
        return [{"messages": [USER, ANSWER]}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    output = tmp_path / "question.json"
    given = ["me/data", "--split=train", "--column=messages", "--row=3", f"--output={output}", *options]
    conversations.main(given)
    assert seen == [loaded]
    assert json.loads(output.read_text())["answer"] == "2"
