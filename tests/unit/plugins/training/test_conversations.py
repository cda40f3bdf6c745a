# SPDX-License-Identifier: GPL-3.0-or-later
"""What MaxText's SFT takes for a conversation, and what it would refuse or drop on the node."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import conversations

USER = {"role": "user", "content": "What is 1 plus 1?"}
ANSWER = {"role": "assistant", "content": "It is 2."}
SYSTEM = {"role": "system", "content": "You are terse."}
MESSAGES, PAIR, QUESTION = ["messages"], ["prompt", "completion"], ["question", "answer"]


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (MESSAGES, {"messages": [USER, ANSWER]}),
        (MESSAGES, {"messages": [SYSTEM, USER, ANSWER, USER, ANSWER], "id": 7}),
        (MESSAGES, {"messages": [{**USER, "name": "x"}, {**ANSWER, "tool_calls": None}]}),
        (MESSAGES, {"messages": [{**USER, "tool_calls": []}, ANSWER]}),
        (PAIR, {"prompt": [USER], "completion": [ANSWER]}),
        (MESSAGES, {"messages": [SYSTEM, ANSWER]}),
        (MESSAGES, {"messages": [USER, USER, ANSWER, USER]}),
        (MESSAGES, {"messages": [{**USER, "content": ""}, {**ANSWER, "content": ""}]}),
        (QUESTION, {"question": "What is 1 plus 1?", "answer": "2"}),
    ],
)
def test_what_is_trained_on(columns: list[str], row: dict[str, Any]) -> None:
    assert conversations.problem(row, columns) is None


@pytest.mark.parametrize(
    ("columns", "row", "said"),
    [
        (MESSAGES, {}, "has no messages"),
        (MESSAGES, {"messages": None}, "has no messages"),
        (MESSAGES, {"messages": []}, "has no messages"),
        (
            MESSAGES,
            {"messages": "Hello"},
            "messages is a string, not a list of messages with role and content",
        ),
        (MESSAGES, {"messages": ["Hello"]}, "messages has a string, not a message with role and content"),
        (
            MESSAGES,
            {"messages": [{"from": "human", "value": "x"}]},
            "a message has from, value: it needs role and content",
        ),
        (
            MESSAGES,
            {"messages": [{"role": "human", "content": "x"}]},
            "a message has the role 'human': MaxText drops all but system, user and assistant",
        ),
        (MESSAGES, {"messages": [USER, {"role": "tool", "content": "2"}, ANSWER]}, "the role 'tool'"),
        (MESSAGES, {"messages": [{"role": None, "content": "2"}]}, "the role None"),
        (
            MESSAGES,
            {"messages": [USER, {**ANSWER, "tool_calls": [{"name": "add"}]}]},
            "a message has tool_calls, whose results MaxText drops",
        ),
        (MESSAGES, {"messages": [USER, {**ANSWER, "content": None}]}, "a message has no content"),
        (
            MESSAGES,
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}, ANSWER]},
            "the content of a message is a list: only a string is trained on",
        ),
        (MESSAGES, {"messages": [USER]}, "has no message of the assistant, so nothing to learn"),
        (MESSAGES, {"messages": [ANSWER, USER, ANSWER]}, "begins with the assistant"),
        (MESSAGES, {"messages": [USER, ANSWER, ANSWER]}, "an answer follows another one"),
        (MESSAGES, {"messages": [USER, SYSTEM, ANSWER]}, "a system message stands behind the first place"),
        (MESSAGES, {"messages": [{**USER, "content": "\ud83d"}, ANSWER]}, "is not valid Unicode"),
        (PAIR, {"prompt": "q", "completion": "a"}, "prompt is a string, not a list of messages"),
        (PAIR, {"prompt": [SYSTEM, USER], "completion": [ANSWER]}, "prompt has 2 messages and completion 1"),
        (PAIR, {"prompt": [ANSWER], "completion": [USER]}, "begins with the assistant"),
        (QUESTION, {"question": "q", "answer": None}, "has no answer"),
        (QUESTION, {"question": "", "answer": "a"}, "has no question"),
        (QUESTION, {"question": ["q"], "answer": "a"}, "question is a list, not a string"),
        (QUESTION, {"question": 3, "answer": "a"}, "question is a number, not a string"),
    ],
)
def test_what_is_not(columns: list[str], row: dict[str, Any], said: str) -> None:
    found = conversations.problem(row, columns)
    assert found is not None
    assert said in found


def test_what_a_row_holds_is_shown_in_short() -> None:
    for message in ({"role": "x" * 1000, "content": ""}, {"y" * 1000: ""}):
        found = conversations.problem({"messages": [message]}, MESSAGES)
        assert found is not None
        assert len(found) < 150


@pytest.mark.parametrize("columns", [MESSAGES, PAIR, QUESTION, ["answer", "question"]])
def test_columns_that_can_be_trained_on(columns: list[str]) -> None:
    assert conversations.columns_problem(columns, None) is None


@pytest.mark.parametrize(
    ("columns", "there", "said"),
    [
        (["text"], ["text"], "[text] is not what MaxText trains on: [messages], [prompt, completion] or "),
        (
            ["conversations"],
            ["messages", "conversations"],
            "Set train_data_columns to [messages], which it has",
        ),
        (["text"], ["answer", "question"], "Set train_data_columns to [question, answer], which it has"),
        (["instruction", "output"], ["instruction", "output"], "Convert the data set"),
        (["messages", "id"], ["messages", "id"], "Set train_data_columns to [messages]"),
        ([], None, "[] is not what"),
        (["completion", "prompt"], None, "Set train_data_columns to [prompt, completion]"),
    ],
)
def test_columns_that_can_not(columns: list[str], there: list[str] | None, said: str) -> None:
    found = conversations.columns_problem(columns, there)
    assert found is not None
    assert said in found


def test_texts_before_the_first_answer() -> None:
    assert conversations.question({"messages": [SYSTEM, USER, ANSWER, USER]}, MESSAGES) == [
        SYSTEM["content"],
        USER["content"],
    ]
    assert conversations.question({"prompt": [USER, USER], "completion": [ANSWER, ANSWER]}, PAIR) == [
        USER["content"]
    ]
    assert conversations.question({"question": "q", "answer": "a"}, QUESTION) == ["q"]


def test_texts_of_a_row() -> None:
    assert conversations.texts({"messages": [USER, ANSWER]}, MESSAGES) == [USER["content"], ANSWER["content"]]
    row = {"prompt": [USER], "completion": [ANSWER]}
    assert conversations.texts(row, PAIR) == [USER["content"], ANSWER["content"]]
    assert conversations.texts({"question": "q", "answer": "a"}, QUESTION) == ["q", "a"]
