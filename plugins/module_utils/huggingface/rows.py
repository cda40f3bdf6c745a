# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of a split and their number, read from its files by ranges, up to a budget.

JSON lines and CSV, packed or not, need the standard library alone. Rows of Parquet need pyarrow; without it
the footers still tell their number. What cannot be told is None.
"""

from __future__ import annotations

import bz2
import csv
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import columns
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.columns import ReadRange
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

BUDGET = 32 << 20  # bytes of files that are read at most
LEAST = 4 << 20  # bytes that show what rows are like
LIMIT = 200_000  # rows
CHUNK = 1 << 20
FOOTERS = 16  # of Parquet files of which no rows are read; the others count as these on average
BATCH = 500  # rows of Parquet that are decoded at once
LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv")
TABLE_ROWS = 10_000  # of CSV that the datasets library reads at once; it tells their types from them
# What pandas takes for nothing, in CSV.
NOTHING = {
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
    *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
}
# What it takes for a number or a truth value.
NUMBER = re.compile(
    r"\s*([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?)\s*|true|false",
    re.IGNORECASE | re.ASCII,
)
# Of a JSON array that it streams the datasets library tells no columns. These MaxText knows itself.
ARRAY_COLUMNS = {"question", "answer"}


@dataclass
class DataFile:
    """A file of a split, its size in bytes and how to read a range of it."""

    path: str
    size: int
    read: ReadRange


@dataclass
class Sample:
    """rows: those that were read. total: rows of the split, about; None where not known.

    complete: whether these are all rows, so that total is exact.
    """

    rows: list[Json] = field(default_factory=list)
    total: int | None = None
    complete: bool = False


class Gzip:
    """A decompressor of several members, as bz2 and lzma have them."""

    def __init__(self) -> None:
        self.member = zlib.decompressobj(wbits=31)
        self.eof = False

    def decompress(self, data: bytes) -> bytes:
        parts = [self.member.decompress(data)]
        while self.member.eof and self.member.unused_data:
            rest, self.member = self.member.unused_data, zlib.decompressobj(wbits=31)
            parts.append(self.member.decompress(rest))
        return b"".join(parts)


UNPACKERS: dict[str, Callable[[], Any]] = {
    ".gz": Gzip,
    ".bz2": bz2.BZ2Decompressor,
    ".xz": lzma.LZMADecompressor,
}


class Reader:
    """Reads files one after the other until budget or limit are used up."""

    def __init__(self, names: list[str], budget: int, limit: int) -> None:
        self.names, self.budget, self.limit = names, budget, limit
        self.rows: list[Json] = []

    @property
    def exhausted(self) -> bool:
        return self.budget <= 0 or len(self.rows) >= self.limit

    def file(self, given: DataFile) -> tuple[float | None, bool]:
        """Read rows; the number of rows in the file, about, and whether all were read."""
        name, before = given.path.lower(), len(self.rows)
        if name.endswith(".parquet"):
            return self.parquet(given)
        if name.endswith(".zst"):
            raise HubError(
                f"dataset: {given.path}: the training environment cannot unpack it. Pack it with gzip (.gz)"
            )
        plain, packing = name, ""
        for suffix in UNPACKERS:
            if name.endswith(suffix):
                plain, packing = name[: -len(suffix)], suffix
        if not plain.endswith((*LINES, *TABLES)):
            return None, False
        text = Stream(given, packing, min(given.size, self.budget))
        found = (
            text.table(plain.endswith(".tsv"))
            if plain.endswith(TABLES)
            else text.objects(arrays=set(self.names) == ARRAY_COLUMNS)
        )
        for row in found:
            self.rows.append({key: value for key, value in row.items() if key in self.names})
            if len(self.rows) >= self.limit:
                break
        self.budget -= text.consumed
        count = len(self.rows) - before
        if plain.endswith(TABLES):
            check_text(given.path, self.rows[before:], text.ended)
        if text.ended:
            return count, True
        return (count * given.size / text.share if text.share else None), False

    def parquet(self, given: DataFile) -> tuple[float | None, bool]:
        total = columns.parquet_rows(given.read)
        if total is None:
            return None, False
        before = len(self.rows)
        source = Ranges(given)
        for row in parquet_rows(source, self.names):
            self.rows.append(row)
            if len(self.rows) >= self.limit or source.consumed >= self.budget:
                break
        self.budget -= source.consumed
        return total, len(self.rows) - before == total


def sample(files: list[DataFile], names: list[str], budget: int = BUDGET, limit: int = LIMIT) -> Sample:
    """Rows of the files with the columns that are named.

    Raises HubError for a file that the datasets library cannot read either.
    """
    reader = Reader(names, budget, limit)
    counted = counted_bytes = 0.0
    complete = bool(files)
    footers = 0
    for given in files:
        if reader.exhausted:
            complete = False
            if not given.path.lower().endswith(".parquet") or footers >= FOOTERS:
                continue
            footers += 1
            total: float | None = columns.parquet_rows(given.read)
        else:
            total, whole = reader.file(given)
            complete = complete and whole
        if total is not None:
            counted, counted_bytes = counted + total, counted_bytes + given.size
        else:
            complete = False
    if complete:
        return Sample(reader.rows, len(reader.rows), True)
    everything = sum(given.size for given in files)
    return Sample(reader.rows, round(counted * everything / counted_bytes) if counted_bytes else None, False)


def check_text(path: str, table: list[Json], ended: bool) -> None:
    """That a column of text stays one: of a part with numbers alone the datasets library makes numbers."""
    for start in range(0, len(table), TABLE_ROWS):
        part = table[start : start + TABLE_ROWS]
        if len(part) < TABLE_ROWS and not ended:
            return
        for name in part[0]:
            texts = [row[name] for row in part if row.get(name) is not None]
            if texts and all(NUMBER.fullmatch(text) for text in texts):
                raise HubError(
                    f"dataset: {path}: {name} has only numbers in rows {start} to {start + len(part) - 1}: "
                    "the datasets library reads numbers, and MaxText trains on an empty text. Write the data "
                    "set as JSON lines or Parquet, with strings"
                )


class Stream:
    """The text of a file, unpacked, up to a number of its bytes.

    consumed: bytes read. share: bytes of the file that the rows given so far came from, about.
    ended: whether that was all of it.
    """

    def __init__(self, given: DataFile, packing: str, budget: int) -> None:
        self.given, self.budget = given, budget
        self.unpacker = UNPACKERS[packing]() if packing else None
        self.consumed = 0
        self.ended = False
        self.unpacked = self.used = 0

    @property
    def share(self) -> float:
        return self.consumed * self.used / self.unpacked if self.unpacked else 0.0

    def chunks(self) -> Iterator[bytes]:
        while self.consumed < self.budget:
            last = min(self.consumed + CHUNK, self.budget) - 1
            data = self.given.read(self.consumed, last)
            if not data:
                break
            self.consumed += len(data)
            if self.unpacker:
                try:
                    data = self.unpacker.decompress(data)
                except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
                    raise HubError(f"dataset: {self.given.path}: cannot be unpacked: {error}") from error
            self.unpacked += len(data)
            yield data

    def lines(self) -> Iterator[bytes]:
        """Whole lines; the last one without an end only at the end of the file."""
        rest = b""
        for data in self.chunks():
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                self.used += len(line) + 1
                yield line
        if self.consumed >= self.given.size:
            self.used += len(rest)
            if rest:
                yield rest
            self.ended = True

    def objects(self, arrays: bool) -> Iterator[Json]:
        """The objects of JSON lines or, where arrays are taken, of a JSON array that is read whole."""
        path = self.given.path
        lines = self.lines()
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
                if line.lstrip().startswith(b"["):
                    yield from self.array([line, *lines] if arrays else None)
                    return
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except UnicodeDecodeError as error:
                raise HubError(f"dataset: {path}: line {number} is not UTF-8: {error}") from error
            except ValueError as error:
                raise HubError(f"dataset: {path}: line {number} is not JSON: {error}") from error
            if not isinstance(row, dict):
                what = "a list" if isinstance(row, list) else type(row).__name__
                raise HubError(f"dataset: {path}: line {number} is {what}, not an object")
            yield row

    def array(self, lines: list[bytes] | None) -> Iterator[Json]:
        """The objects of a JSON array; None: it is not taken."""
        path = self.given.path
        if lines is None:
            raise HubError(
                f"dataset: {path}: is one JSON array, of which MaxText cannot read the columns: "
                "write one object a line (JSON lines)"
            )
        if not self.ended:
            return
        try:
            yield from (row for row in json.loads(b"\n".join(lines)) if isinstance(row, dict))
        except ValueError as error:
            raise HubError(f"dataset: {path}: is not JSON: {error}") from error

    def table(self, tabs: bool) -> Iterator[Json]:
        """The rows of CSV; a field without text, or with a word for nothing, is None, as for the library."""
        text = (line.decode("utf-8-sig", "replace") + "\n" for line in self.lines())
        for row in csv.DictReader(text, delimiter="\t" if tabs else ","):
            yield {
                name: None if value in NOTHING else value for name, value in row.items() if name is not None
            }


class Ranges(io.RawIOBase):
    """A file that pyarrow can read, of which only the ranges that it asks for are fetched."""

    def __init__(self, given: DataFile) -> None:
        self.given, self.position, self.consumed = given, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.given.size}[whence]
        self.position = origin + offset
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = self.given.size if size < 0 else min(self.position + size, self.given.size)
        if end <= self.position:
            return b""
        data = self.given.read(self.position, end - 1)
        self.position += len(data)
        self.consumed += len(data)
        return data


def parquet_rows(source: Ranges, names: list[str]) -> Iterator[Json]:
    """The rows of a Parquet file with these columns; none without pyarrow or where it cannot read them."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    try:
        table = parquet.ParquetFile(source, buffer_size=CHUNK, pre_buffer=False)
        wanted = [name for name in names if name in table.schema_arrow.names]
        for name in wanted:
            if pyarrow.types.is_large_list(table.schema_arrow.field(name).type):
                raise HubError(
                    f"dataset: {source.given.path}: {name} is a large list, which MaxText does not take "
                    "for a conversation: write it as a list, as the datasets library's push_to_hub does"
                )
        for batch in table.iter_batches(batch_size=BATCH, columns=wanted, use_threads=False):
            yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        where = source.given.path
        raise HubError(f"dataset: {where}: cannot be read as Parquet: {error}") from error
