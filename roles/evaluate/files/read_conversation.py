# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes one conversation of a data set to a file: {"messages": [...], "answer": "..."}.

The messages end with the first question; the answer is what the data set replies to it. Runs in the training
environment, which has the datasets library and, after training, the data set in its cache.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import datasets


def conversation(row: dict[str, Any], column: str) -> dict[str, Any]:
    if column not in row:
        raise SystemExit(f"The data set has no column {column}; it has {', '.join(row)}.")
    messages = [{"role": m["role"], "content": m["content"]} for m in row[column]]
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise SystemExit(f"The conversation has no answer of an assistant: {messages}")
    return {"messages": messages[: answers[0]], "answer": messages[answers[0]]["content"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--split", required=True)
    parser.add_argument("--column", required=True)
    parser.add_argument("--row", type=int, required=True)
    parser.add_argument("--revision", default="", help="the data set's commit")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    rows = datasets.load_dataset(
        options.dataset,
        split=f"{options.split}[{options.row}:{options.row + 1}]",
        revision=options.revision or None,
    )
    if not len(rows):
        raise SystemExit(f"{options.dataset} has no row {options.row} in its split {options.split}.")
    part = options.output.with_suffix(".part")
    part.write_text(json.dumps(conversation(rows[0], options.column), ensure_ascii=False), encoding="utf-8")
    part.replace(options.output)


if __name__ == "__main__":
    main()
