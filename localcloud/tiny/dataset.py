# SPDX-License-Identifier: GPL-3.0-or-later
"""The small data set as a repository of the Hub: one parquet file of the split `train`, and its card."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from .questions import Row

SCHEMA = pa.schema([("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))])
TRAIN_FILE = "data/train-00000-of-00001.parquet"
CARD = """\
---
license: cc0-1.0
language:
- ja
- en
task_categories:
- text-generation
pretty_name: Coding questions in Japanese and English
size_categories:
- n<1K
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
---

# Coding questions in Japanese and English

{count} questions about short Python functions, each with its answer, made by the local cloud in the shape of
the data set whose name it bears: one column, `messages`, with a user's and an assistant's turn.
"""


def dataset_files(rows: list[Row]) -> dict[str, bytes]:
    """README.md and the parquet file; the same rows give the same bytes with the same pyarrow."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer, compression="zstd")
    return {"README.md": CARD.format(count=len(rows)).encode(), TRAIN_FILE: buffer.getvalue()}
