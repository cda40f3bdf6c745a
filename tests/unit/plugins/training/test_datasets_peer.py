# SPDX-License-Identifier: GPL-3.0-or-later
"""The datasets library, which MaxText reads with, is the witness of what is in a split."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import columns, rows
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.rows import DataFile

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"質問 {number}"},
            {"role": "assistant", "content": f"It is {number}.\n"},
        ]
    }
    for number in range(7)
]
PAIRS = 'question,answer\nwhat?,that\n"a, b","x\ny"\nnothing,\n'


def jsonl(found: Any = ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def parquet(found: Any = ROWS) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found), buffer)
    return buffer.getvalue()


def card(text: str) -> bytes:
    return f"---\n{text}---\n".encode()


TWO = card("configs:\n- config_name: en\n  data_files: en/*\n- config_name: ja\n  data_files: ja/*\n")
DEFAULT = card(
    "configs:\n- config_name: y\n  data_files: y/*\n- config_name: x\n  data_files: x/*\n  default: true\n"
)
LAYOUTS: dict[str, tuple[dict[str, bytes], str | None, str]] = {
    "data/train-0-of-2": (
        {f"data/train-0000{n}-of-00002.parquet": parquet(ROWS[n::2]) for n in (0, 1)}
        | {"data/test-00000-of-00001.parquet": parquet(ROWS[:2])},
        None,
        "train",
    ),
    "names of files": ({"train.jsonl": jsonl(), "dev.jsonl": jsonl(ROWS[:1])}, None, "validation"),
    "directories": ({"train/a/x.jsonl": jsonl(ROWS[:3]), "train/b/y.jsonl": jsonl(ROWS[3:])}, None, "train"),
    "no names": ({"a.jsonl": jsonl(ROWS[:3]), "b.jsonl": jsonl(ROWS[3:])}, None, "train"),
    "what is ignored": ({"a.jsonl": jsonl(), "config.json": b"{}", ".x/b.jsonl": jsonl()}, None, "train"),
    "packed": ({"train.jsonl.gz": gzip.compress(jsonl())}, None, "train"),
    "csv": ({"train.csv": PAIRS.encode()}, None, "train"),
    "tsv": ({"train.tsv": b"question\tanswer\nq\ta, b\n"}, None, "train"),
    "csv with words for nothing": (
        {"train.csv": b"question,answer\na,NA\nb,null\nc,n/a\nd,None\ne,nan\nf,nothing\n"},
        None,
        "train",
    ),
    "two formats, of one file each": ({"train.jsonl": jsonl(), "x/train.parquet": parquet()}, None, "train"),
    "two formats, one with more files": (
        {"a/train.jsonl": jsonl(), "b/train.jsonl": jsonl(ROWS[:2]), "train.parquet": parquet()},
        None,
        "train",
    ),
    "two formats that one reader takes": (
        {"train-1.json": jsonl(), "train-2.ndjson": jsonl(ROWS[:2]), "train.csv": PAIRS.encode()},
        None,
        "train",
    ),
    "a named configuration": (
        {"en/a.jsonl": jsonl(ROWS[:2]), "ja/a.jsonl": jsonl(), "README.md": TWO},
        "ja",
        "train",
    ),
    "the only configuration": (
        {
            "x/a.jsonl": jsonl(),
            "y/b.jsonl": jsonl(ROWS[:1]),
            "README.md": card("configs:\n- config_name: x\n  data_files: x/*\n"),
        },
        None,
        "train",
    ),
    "the default configuration": (
        {
            "x/a.jsonl": jsonl(),
            "y/b.jsonl": jsonl(ROWS[:1]),
            "README.md": DEFAULT,
        },
        None,
        "train",
    ),
    "a configuration's directory": (
        {
            "x/train.jsonl": jsonl(),
            "train.jsonl": jsonl(ROWS[:1]),
            "README.md": card("configs:\n- config_name: x\n  data_dir: x\n"),
        },
        None,
        "train",
    ),
    "splits that are joined": ({"train.jsonl": jsonl(), "test.jsonl": jsonl(ROWS[:2])}, None, "train+test"),
}


def ours(root: Path, files: dict[str, bytes], name: str | None, split: str) -> list[dict[str, Any]]:
    text = files.get("README.md", b"---\n---\n").decode().split("---\n")[1]
    config = columns.card_config(yaml.safe_load(text) or {}, name)
    assert config is not None
    of_splits = columns.split_files(config, sorted(files))
    paths = [path for each in columns.split_names(split) or [] for path in of_splits[each]]

    def given(path: str) -> DataFile:
        content = (root / path).read_bytes()
        return DataFile(
            path,
            len(content),
            lambda first, last: content[first:] if last is None else content[first : last + 1],
        )

    found = rows.sample([given(path) for path in paths], ["messages", "question", "answer"])
    assert found.complete
    return found.rows


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_rows_are_those_that_the_library_reads(tmp_path: Path, layout: str) -> None:
    files, name, split = LAYOUTS[layout]
    root = tmp_path / "some-data"
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    peer = list(datasets.load_dataset(str(root), name, split=split, streaming=True, cache_dir=str(tmp_path)))
    found = ours(root, files, name, split)
    order = json.dumps
    assert sorted(found, key=order) == sorted(({**row} for row in peer), key=order)


def test_what_the_library_refuses(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "ja").mkdir()
    for path, content in {"en/a.jsonl": jsonl(), "ja/a.jsonl": jsonl(), "README.md": TWO}.items():
        (tmp_path / path).write_bytes(content)
    with pytest.raises(ValueError, match="Config name is missing"):
        datasets.load_dataset(str(tmp_path), split="train", streaming=True)
    with pytest.raises(ValueError, match="Bad split"):
        datasets.load_dataset(str(tmp_path), "ja", split="train[:3]", streaming=True)


def test_the_library_refuses_several_formats_that_a_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    two = card("configs:\n- config_name: x\n  data_files: x/*\n")
    for path, content in {"x/a.jsonl": jsonl(), "x/b.parquet": parquet(), "README.md": two}.items():
        (tmp_path / path).write_bytes(content)
    with pytest.raises(pa.ArrowInvalid):
        list(datasets.load_dataset(str(tmp_path), split="train", streaming=True, cache_dir=str(tmp_path)))
