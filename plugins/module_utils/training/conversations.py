# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MaxText's SFT takes for a conversation, as its input pipeline for Hugging Face has it (0.2.5).

A row is a list of messages (column messages), two such lists that are zipped (prompt, completion) or two
strings (question, answer). Of other rows the pipeline says on the node that an index is out of range, and not
which row; some parts it drops without a word. So a row that would not be trained on as it is written is a
problem here.
"""

from __future__ import annotations

from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

FORMS = (["messages"], ["prompt", "completion"], ["question", "answer"])
ROLES = ("system", "user", "assistant")
SHOWN = 40  # characters of what a row holds, in a message
NAMES = {str: "a string", list: "a list", dict: "an object", bool: "true or false"}


def columns_problem(columns: list[str], there: list[str] | None) -> str | None:
    """What is wrong with these columns for training; there: those of the data set, None where not known."""
    if columns == ["completion", "prompt"]:
        return f"{shown(columns)} puts answers first: set train_data_columns to [prompt, completion]"
    if any(sorted(columns) == sorted(form) for form in FORMS):
        return None
    had = next((form for form in FORMS if set(form) <= set(there or [])), None)
    remedy = (
        f"Set train_data_columns to {shown(had)}, which it has"
        if had
        else "Convert the data set: each row needs messages, a list of objects with role and content"
    )
    return f"{shown(columns)} is not what MaxText trains on: {' or '.join(forms_shown())}. {remedy}"


def forms_shown() -> list[str]:
    *others, last = [shown(form) for form in FORMS]
    return [", ".join(others), last]


def shown(columns: list[str]) -> str:
    return f"[{', '.join(columns)}]"


def problem(row: Json, columns: list[str]) -> str | None:
    """What keeps MaxText from training on this row as it is written; None when nothing does."""
    if set(columns) == {"question", "answer"}:
        return strings_problem(row)
    for column in columns:
        found = list_problem(column, row.get(column))
        if found:
            return found
    if len(columns) == 1:
        return turns_problem(row[columns[0]])
    prompt, completion = row["prompt"], row["completion"]
    if len(prompt) != len(completion):
        return (
            f"prompt has {len(prompt)} messages and completion {len(completion)}: MaxText pairs them; "
            "one column, messages, takes any conversation"
        )
    return turns_problem([message for pair in zip(prompt, completion) for message in pair])


def strings_problem(row: Json) -> str | None:
    for column in ("question", "answer"):
        value = row.get(column)
        if value is not None and not isinstance(value, str):
            return f"{column} is {kind(value)}, not a string"
        if not value or not value.strip():
            return f"it has no {column}"
        if not is_unicode(value):
            return f"its {column} is not valid Unicode"
    return None


def list_problem(column: str, value: Any) -> str | None:
    wanted = "with role and content"
    if value is None or value == []:
        return f"it has no {column}"
    if not isinstance(value, list):
        return f"{column} is {kind(value)}, not a list of messages {wanted}"
    for message in value:
        if not isinstance(message, dict):
            return f"{column} has {kind(message)}, not a message {wanted}"
        if "role" not in message or "content" not in message:
            return (
                f"a message has {short(', '.join(map(str, message))) or 'nothing'}: it needs role and content"
            )
    return None


def turns_problem(messages: list[Json]) -> str | None:
    """What is wrong with the order and the contents of the messages."""
    asked = False  # by the user, or by the system alone, since the last answer
    for index, message in enumerate(messages):
        role = message["role"]
        found = message_problem(message)
        if found:
            return found
        if role == "system" and index:
            return "a system message stands behind the first place"
        if role == "assistant" and not asked:
            return "it begins with the assistant" if index == 0 else "an answer follows another one"
        asked = role != "assistant"
    if not any(message["role"] == "assistant" for message in messages):
        return "it has no message of the assistant, so nothing to learn"
    return None


def message_problem(message: Json) -> str | None:
    role, content = message["role"], message["content"]
    if role not in ROLES:
        return f"a message has the role {short(repr(role))}: MaxText drops all but system, user and assistant"
    if message.get("tool_calls"):
        return "a message has tool_calls, whose results MaxText drops"
    if content is None:
        return "a message has no content"
    if not isinstance(content, str):
        return f"the content of a message is {kind(content)}: only a string is trained on"
    if not is_unicode(content):
        return "the content of a message is not valid Unicode"
    return None


def texts(row: Json, columns: list[str]) -> list[str]:
    """The text of each message of a row without a problem."""
    if set(columns) == {"question", "answer"}:
        return [row["question"], row["answer"]]
    order = ["prompt", "completion"] if len(columns) == 2 else columns
    return [message["content"] for column in order for message in row[column]]


def answers(row: Json, columns: list[str]) -> int:
    """How many answers a row without a problem has."""
    if set(columns) == {"question", "answer"}:
        return 1
    return sum(message["role"] == "assistant" for column in columns for message in row[column])


def question(row: Json, columns: list[str]) -> list[str]:
    """The texts in front of the first answer of a row without a problem."""
    if len(columns) == 2:
        return texts(row, columns)[:1]
    messages = row[columns[0]]
    first = next(index for index, message in enumerate(messages) if message["role"] == "assistant")
    return [message["content"] for message in messages[:first]]


def is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON can escape it
        return False
    return True


def short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def kind(value: Any) -> str:
    return NAMES.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)
