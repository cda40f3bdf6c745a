# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of a data set, read from its files without downloading more than is looked at."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import rows
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.rows import DataFile

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"質問 {number}: what is it?"},
            {"role": "assistant", "content": f"It is {number}."},
        ],
        "id": number,
    }
    for number in range(500)
]


class Served:
    """A file that notes what is read of it."""

    def __init__(self, content: bytes) -> None:
        self.content, self.bytes_read = content, 0

    def __call__(self, first: int, last: int | None) -> bytes:
        found = self.content[first:] if last is None else self.content[first : last + 1]
        self.bytes_read += len(found)
        return found


def file(name: str, content: bytes) -> DataFile:
    return DataFile(name, len(content), Served(content))


def lines(found: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def parquet(found: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found), buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", parquet(ROWS)),
        ("a.parquet", parquet(ROWS, row_group_size=100, compression="zstd")),
        ("a.jsonl", lines(ROWS)),
        ("a.jsonl", lines(ROWS).rstrip(b"\n")),
        ("a.ndjson", b"\n\n".join(lines(ROWS).splitlines())),
        ("a.json", b"\xef\xbb\xbf" + lines(ROWS)),
        ("a.jsonl.gz", gzip.compress(lines(ROWS))),
        ("a.json.gz", gzip.compress(lines(ROWS[:250])) + gzip.compress(lines(ROWS[250:]))),
        ("a.jsonl.bz2", bz2.compress(lines(ROWS))),
        ("a.jsonl.xz", lzma.compress(lines(ROWS))),
    ],
)
def test_all_rows_of_a_small_file(name: str, content: bytes) -> None:
    found = rows.sample([file(name, content)], ["messages"])
    assert [row["messages"] for row in found.rows] == [row["messages"] for row in ROWS]
    assert (found.total, found.complete) == (500, True)


def test_rows_of_csv() -> None:
    found = rows.sample(
        [file("a.csv", b'question,answer\r\n"a, b",c\r\n"x\ny",\r\n')], ["question", "answer"]
    )
    assert found.rows == [{"question": "a, b", "answer": "c"}, {"question": "x\ny", "answer": None}]
    assert found.total == 2


def test_several_files_count_together() -> None:
    files = [file("a.jsonl", lines(ROWS[:200])), file("b.parquet", parquet(ROWS[200:]))]
    found = rows.sample(files, ["messages"])
    assert (len(found.rows), found.total, found.complete) == (500, 500, True)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_large_file_is_read_in_part(name: str) -> None:
    content = lines([{**row, "noise": f"{index * 7919:x}" * 40} for index, row in enumerate(ROWS * 40)])
    given = file(name, gzip.compress(content, 1) if name.endswith(".gz") else content)
    found = rows.sample([given], ["messages"], budget=given.size // 4)
    assert given.read.bytes_read <= given.size // 4 + rows.CHUNK  # type: ignore[attr-defined]
    assert not found.complete
    assert 0 < len(found.rows) < 20_000
    assert found.total == pytest.approx(20_000, rel=0.1)


def test_a_large_parquet_file_is_counted_by_its_footer() -> None:
    many = [
        {"messages": row["messages"], "noise": f"{index * 7919:x}" * 40}
        for index, row in enumerate(ROWS * 40)
    ]
    given = file("a.parquet", parquet(many, row_group_size=1000))
    found = rows.sample([given], ["messages"], limit=1500)
    assert (found.total, found.complete) == (20_000, False)
    assert 1500 <= len(found.rows) < 3000
    assert given.read.bytes_read < given.size // 2  # type: ignore[attr-defined]


def test_files_that_are_not_reached_count_by_their_size() -> None:
    files = [file(f"{index}.jsonl", lines(ROWS)) for index in range(10)]
    found = rows.sample(files, ["messages"], budget=files[0].size)
    assert (len(found.rows), found.complete) == (500, False)
    assert found.total == pytest.approx(5000, rel=0.01)
    parquets = [file(f"{index}.parquet", parquet(ROWS)) for index in range(30)]
    counted = rows.sample(parquets, ["messages"], limit=500)
    assert (counted.total, counted.complete) == (15_000, False)
    assert sum(each.read.bytes_read > 0 for each in parquets) <= rows.FOOTERS + 1  # type: ignore[attr-defined]


def test_without_pyarrow_a_parquet_file_has_a_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    found = rows.sample([file("a.parquet", parquet(ROWS))], ["messages"])
    assert (found.rows, found.total, found.complete) == ([], 500, False)


def test_what_cannot_be_read_tells_nothing() -> None:
    assert rows.sample([file("a.parquet", b"no parquet")], ["messages"]).total is None
    assert rows.sample([], ["messages"]).total is None


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"messages": 1}\n{"messages": \n', "a.jsonl: line 2 is not JSON"),
        ("a.jsonl", b'{"messages": 1}\n[1]\n', "a.jsonl: line 2 is a list, not an object"),
        ("a.json", b' [\n{"messages": 1}]', "a.json: is one JSON array, of which MaxText cannot read"),
        ("a.jsonl", b'{"messages": "\xff"}', "a.jsonl: line 1 is not UTF-8"),
        ("a.jsonl.gz", b"not gzip", "a.jsonl.gz: cannot be unpacked"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, said: str) -> None:
    with pytest.raises(HubError) as error:
        rows.sample([file(name, content)], ["messages"])
    assert said in str(error.value)


def test_an_array_is_read_where_maxtext_knows_the_columns_itself() -> None:
    given = [{"question": "q", "answer": "a"}] * 3
    found = rows.sample([file("a.json", json.dumps(given, indent=1).encode())], ["question", "answer"])
    assert (found.rows, found.total, found.complete) == (given, 3, True)
    part = rows.sample([file("a.json", json.dumps(given).encode())], ["question", "answer"], budget=50)
    assert (part.rows, part.total, part.complete) == ([], None, False)


def test_large_lists_are_no_conversations_for_maxtext() -> None:
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    table = pa.Table.from_pylist(ROWS, pa.schema([("messages", pa.large_list(message))]))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    with pytest.raises(HubError, match=r"a\.parquet: messages is a large list"):
        rows.sample([file("a.parquet", buffer.getvalue())], ["messages"])


def test_an_empty_file() -> None:
    found = rows.sample([file("a.jsonl", b"")], ["messages"])
    assert (found.rows, found.total, found.complete) == ([], 0, True)


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        (["2", "4"], True),
        (["007", ""], True),  # the library makes 7.0 of it
        (["1e3", "-.5", " 3 "], True),
        (["True", "false"], True),
        (["2", "4", "many"], False),
        (["It is 2.", "It is 4."], False),
        (["1_000", "2_000"], False),
    ],
)
def test_numbers_in_csv_are_no_text(values: list[str], refused: bool) -> None:
    content = "question,answer\n" + "".join(f"What?,{value}\n" for value in values)
    given = file("train.csv", content.encode())
    if not refused:
        assert [row["answer"] for row in rows.sample([given], ["question", "answer"]).rows] == values
        return
    with pytest.raises(HubError, match=r"dataset: train\.csv: answer has only numbers in rows 0 to "):
        rows.sample([given], ["question", "answer"])


def test_numbers_in_one_part_of_a_csv_file_that_the_library_reads_at_once() -> None:
    content = "question,answer\n" + "q,text\n" * rows.TABLE_ROWS + "q,5\n" * 3
    with pytest.raises(HubError, match=f"in rows {rows.TABLE_ROWS} to {rows.TABLE_ROWS + 2}"):
        rows.sample([file("train.csv", content.encode())], ["question", "answer"])


def test_a_packing_that_the_training_environment_lacks() -> None:
    with pytest.raises(HubError, match=r"dataset: train\.jsonl\.zst: .* Pack it with gzip"):
        rows.sample([file("train.jsonl.zst", b"x")], ["messages"])
