# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes one conversation of a data set to a file: {"messages": [...], "answer": "..."}.

The messages end with the first question; the answer is what the data set replies to it. A row is one of those
that can be trained on: messages, prompt and completion, or question and answer. Runs in the training
environment, which has the datasets library and, after training, the data set in its cache.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def conversation(row: dict[str, Any], column: str) -> dict[str, Any]:
    if column not in row:
        raise SystemExit(
            f"evaluate_column: the data set has no column {column}; it has {', '.join(row)}. Set one."
        )
    if {"question", "answer"} <= row.keys() and column in ("question", "answer"):
        return {"messages": [{"role": "user", "content": row["question"]}], "answer": row["answer"]}
    if not isinstance(row[column], list):
        raise SystemExit(f"evaluate_column: the column {column} is no conversation. Set another.")
    turns = row[column]
    if column == "prompt" and "completion" in row:
        turns = [message for pair in zip(turns, row["completion"], strict=False) for message in pair]
    messages = [{"role": m["role"], "content": m["content"]} for m in turns]
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise SystemExit(
            f"evaluate_row: the conversation has no answer of an assistant: {messages}. Set another."
        )
    return {"messages": messages[: answers[0]], "answer": messages[answers[0]]["content"]}


def main(arguments: list[str]) -> None:
    import datasets  # takes seconds

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--split", required=True)
    parser.add_argument("--config", help="configuration of the data set")
    parser.add_argument("--column", required=True)
    parser.add_argument("--row", type=int, required=True)
    parser.add_argument("--revision", default="", help="the data set's commit")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)

    split = options.split.split("+")[0].strip()  # of those that are joined the first
    part_of_it = f"{split}[{options.row}:{options.row + 1}]"
    rows = datasets.load_dataset(
        options.dataset, options.config, split=part_of_it, revision=options.revision or None
    )
    if not len(rows):
        raise SystemExit(
            f"evaluate_row: {options.dataset} has no row {options.row} in its split {split}. Set a lower one."
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    part = options.output.with_suffix(".part")
    part.write_text(json.dumps(conversation(rows[0], options.column), ensure_ascii=False), encoding="utf-8")
    part.replace(options.output)


if __name__ == "__main__":
    main(sys.argv[1:])
