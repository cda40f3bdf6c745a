# SPDX-License-Identifier: GPL-3.0-or-later
"""Columns and splits, told without downloading a data set."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import columns
from hypothesis import given
from hypothesis import strategies as st


def ranges(content: bytes) -> columns.ReadRange:
    def read(first: int, last: int | None) -> bytes:
        assert last is not None or first < 0
        return content[first:] if last is None else content[first : last + 1]

    return read


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_nested_columns_of_a_parquet_file() -> None:
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    table = pa.table(
        {
            "id": pa.array([1, 2]),
            "messages": pa.array([[], [{"role": "user", "content": "x"}]], pa.list_(message)),
            "meta": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
            "score": pa.array([0.5, None]),
            "ok": pa.array([True, False]),
        }
    )
    found = columns.file_columns("data/train-00000-of-00001.parquet", ranges(parquet(table)))
    assert found == ["id", "messages", "meta", "score", "ok"]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8),
        min_size=1,
        max_size=40,
        unique=True,
    )
)
def test_any_names_of_parquet_columns(names: list[str]) -> None:
    table = pa.table({name: pa.array([1]) for name in names})
    assert columns.file_columns("x.parquet", ranges(parquet(table))) == names


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("a.parquet", b"not parquet at all", None),
        ("a.parquet", b"", None),
        ("a.jsonl", b'{"messages": [{"role": "user"}], "id": 1}\n{"x": 1}\n', ["messages", "id"]),
        ("a.json", b' [\n {"messages": []}, {"x": 1}]', ["messages"]),
        ("a.json", b'{"data": 1}', ["data"]),
        ("a.json", b"[1, 2]", None),
        ("a.jsonl", b'{"messages": [', None),
        ("a.csv", 'id,"a, b",質問\n1,2,3\n'.encode("utf-8-sig"), ["id", "a, b", "質問"]),
        ("a.tsv", b"id\ttext\r\n1\tx\r\n", ["id", "text"]),
    ],
)
def test_columns_of_other_files(path: str, content: bytes, expected: list[str] | None) -> None:
    assert columns.file_columns(path, ranges(content)) == expected


def test_a_first_row_longer_than_what_is_read() -> None:
    content = json.dumps({"text": "x" * columns.HEAD_BYTES}).encode()
    assert columns.file_columns("a.jsonl", ranges(content)) is None


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet", "README.md"],
            ["train", "test"],
        ),
        (["train.jsonl", "dev.jsonl"], ["train", "validation"]),
        (["validation/a.csv", "training/b.csv"], ["validation", "train"]),
        (["corpus.json"], ["train"]),
        (["README.md", "images.zip"], []),
        (["constrained.json"], ["train"]),
        (["dataset_infos.json", "config.json", ".cache/a.json", "__x/a.csv"], []),
    ],
)
def test_splits_by_the_names_of_files(files: list[str], expected: list[str]) -> None:
    assert list(columns.split_files({}, files)) == expected


@pytest.mark.parametrize(
    "declared",
    [
        "sets/*.jsonl",
        ["sets/*.jsonl"],
        [{"split": "train", "path": "sets/*.jsonl"}],
        [{"split": "train", "path": ["sets/a.jsonl", "sets/b.jsonl"]}],
    ],
)
def test_splits_that_the_card_declares(declared: Any) -> None:
    files = ["sets/a.jsonl", "sets/b.jsonl", "test.jsonl"]
    assert columns.split_files({"data_files": declared}, files) == {"train": files[:2]}


def test_the_card_s_configurations() -> None:
    card = {
        "configs": [
            {"config_name": "en", "data_files": "en.json"},
            {"config_name": "default", "data_files": "all.json"},
        ],
        "dataset_info": [
            {"config_name": "en", "features": [{"name": "question"}]},
            {"config_name": "default", "features": [{"name": "messages"}]},
        ],
    }
    chosen = [columns.card_config(card, name) for name in (None, "en", "fr")]
    assert [each and each["data_files"] for each in chosen] == ["all.json", "en.json", None]
    assert columns.card_columns(columns.card_info(card, "default")) == ["messages"]
    assert columns.card_columns(columns.card_info(card, "en")) == ["question"]
    assert columns.card_columns(columns.card_info({}, None)) is None


def test_several_configurations_without_a_default_need_a_name() -> None:
    several = {"configs": [{"config_name": "en"}, {"config_name": "ja"}]}
    assert columns.card_config(several, None) is None
    assert columns.card_config(several, "ja") == {"config_name": "ja"}
    assert columns.config_names(several) == ["en", "ja"]
    marked = {"configs": [{"config_name": "en"}, {"config_name": "ja", "default": True}]}
    assert columns.card_config(marked, None) == {"config_name": "ja", "default": True}
    assert columns.card_config({"configs": several["configs"][:1]}, None) == {"config_name": "en"}
    assert columns.card_config({}, None) == {}
    assert columns.card_config({}, "en") is None


def test_a_configuration_s_directory() -> None:
    files = ["en/train.jsonl", "ja/train.jsonl", "ja/test.jsonl"]
    assert columns.split_files({"data_dir": "ja"}, files) == {"train": files[1:2], "test": files[2:]}


def test_splits_of_an_expression() -> None:
    assert columns.split_names("train") == ["train"]
    assert columns.split_names("train_sft + test_sft") == ["train_sft", "test_sft"]
    assert columns.split_names("train[:10%]") is None


def test_a_compressed_file_has_a_split_and_tells_no_columns() -> None:
    assert columns.split_files({}, ["train.jsonl.gz"]) == {"train": ["train.jsonl.gz"]}
    assert columns.file_columns("train.jsonl.gz", ranges(gzip.compress(b'{"a": 1}'))) is None
