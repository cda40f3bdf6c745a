# SPDX-License-Identifier: GPL-3.0-or-later
"""Shards: which chunks of which xorbs make up a file, and which chunks a xorb holds.

A shard is a header and rows of 48 bytes each: the files, a row of ones, the xorbs, a row of ones. Clients
read back the same with three lookup tables and a footer. Numbers are little endian, a hash is four of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

ROW = 48
HASH = 32
BOOKEND = b"\xff" * HASH
TAG = b"HFRepoMetaData\0" + bytes(
    (85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169)
)
HEADER_VERSION = 2
FOOTER_VERSION = 1
NEVER = 2**64 - 1

WITH_VERIFICATION = 1 << 31  # flags of a file
WITH_SHA256 = 1 << 30
ASKED_FOR = 1 << 31  # flag of a chunk: clients ask whether it is there
ASKED_FOR_MODULUS = 1024  # they also ask for chunks whose hash it divides

_HEADER = struct.Struct("<32sQQ")
_FOOTER = struct.Struct("<9Q32s2Q48s4Q")


class ShardError(ValueError):
    """A shard that cannot be read, or that does not fit what is there."""


@dataclass(frozen=True)
class Term:
    """Part of a file: the chunks from `first` up to but not with `end` of a xorb, `size` bytes unpacked."""

    xorb: str
    size: int
    first: int
    end: int


@dataclass(frozen=True)
class FileInfo:
    """A file by its Xet hash. sha256: "" where the client has not said it."""

    hash: str
    terms: tuple[Term, ...]
    sha256: str


@dataclass(frozen=True)
class XorbInfo:
    """rows: as they stand in the shard, the xorb's own and one for each of its chunks."""

    hash: str
    rows: bytes

    def chunk(self, place: int) -> str:
        """Hash of a chunk."""
        return hash_text(self.rows[ROW * (1 + place) :])

    def chunks_asked_for(self) -> Iterator[str]:
        """Hashes of the chunks for which clients ask, wherever in a file they are."""
        for row in _rows(self.rows[ROW:]):
            (flags,) = struct.unpack_from("<I", row, HASH + 8)
            (last,) = struct.unpack_from("<Q", row, HASH - 8)
            if flags & ASKED_FOR or last % ASKED_FOR_MODULUS == 0:
                yield hash_text(row)


@dataclass(frozen=True)
class Shard:
    files: tuple[FileInfo, ...]
    xorbs: tuple[XorbInfo, ...]

    def chunks_asked_for(self) -> Iterator[str]:
        """Hashes of the chunks for which clients ask: the first of each file, and some others."""
        xorbs = {xorb.hash: xorb for xorb in self.xorbs}
        for file in self.files:
            if file.terms and file.terms[0].xorb in xorbs:
                yield xorbs[file.terms[0].xorb].chunk(file.terms[0].first)
        for xorb in self.xorbs:
            yield from xorb.chunks_asked_for()


def hash_text(row: bytes) -> str:
    """The hash at the beginning of a row, as paths and JSON have it."""
    return "".join(f"{number:016x}" for number in struct.unpack_from("<4Q", row))


def parse(data: bytes) -> Shard:
    """Read a shard as clients send it. ShardError where it is none."""
    if data[:HASH] != TAG:
        raise ShardError("it does not begin as a shard does")
    rows = _rows(data[_HEADER.size :])
    return Shard(tuple(_files(rows)), tuple(_xorbs(rows)))


def parse_xorbs(rows: bytes) -> tuple[XorbInfo, ...]:
    """Read the xorbs' rows alone, with or without a row of ones at their end."""
    return tuple(_xorbs(_rows(rows + BOOKEND.ljust(ROW, b"\0"))))


def _rows(data: bytes) -> Iterator[bytes]:
    return (data[start : start + ROW] for start in range(0, len(data) - ROW + 1, ROW))


def _take(rows: Iterator[bytes], count: int) -> list[bytes]:
    found = list(islice(rows, count))
    if len(found) < count:
        raise ShardError("it ends too early")
    return found


def _heads(rows: Iterator[bytes]) -> Iterator[bytes]:
    """The rows at which a file or a xorb begins, up to the row of ones."""
    while True:
        (head,) = _take(rows, 1)
        if head[:HASH] == BOOKEND:
            return
        yield head


def _files(rows: Iterator[bytes]) -> Iterator[FileInfo]:
    for head in _heads(rows):
        flags, count = struct.unpack_from("<II", head, HASH)
        terms = tuple(_term(row) for row in _take(rows, count))
        if flags & WITH_VERIFICATION:
            _take(rows, count)
        sha256 = hash_text(_take(rows, 1)[0]) if flags & WITH_SHA256 else ""
        yield FileInfo(hash_text(head), terms, sha256)


def _term(row: bytes) -> Term:
    _, size, first, end = struct.unpack_from("<4I", row, HASH)
    return Term(hash_text(row), size, first, end)


def _xorbs(rows: Iterator[bytes]) -> Iterator[XorbInfo]:
    for head in _heads(rows):
        (count,) = struct.unpack_from("<I", head, HASH + 4)
        yield XorbInfo(hash_text(head), b"".join([head, *_take(rows, count)]))


def serialize(xorbs: Sequence[XorbInfo]) -> bytes:
    """A shard of these xorbs as clients read it: with tables by a hash's first 64 bits, and a footer."""
    bookend = BOOKEND.ljust(ROW, b"\0")
    xorb_table, chunk_table = _tables(xorbs)
    xorb_info = _HEADER.size + ROW
    parts = [
        _HEADER.pack(TAG, HEADER_VERSION, _FOOTER.size),
        bookend,
        *(xorb.rows for xorb in xorbs),
        bookend,
        *(struct.pack("<QI", *entry) for entry in xorb_table),
        *(struct.pack("<QII", *entry) for entry in chunk_table),
    ]
    tables = sum(map(len, parts[: len(xorbs) + 3]))
    chunks = tables + struct.calcsize("<QI") * len(xorb_table)
    footer = sum(map(len, parts))
    places = (
        *(FOOTER_VERSION, _HEADER.size, xorb_info, tables, 0, tables, len(xorb_table)),
        *(chunks, len(chunk_table)),
    )
    return b"".join(parts) + _FOOTER.pack(*places, b"", 0, NEVER, b"", 0, 0, 0, footer)


def _tables(xorbs: Sequence[XorbInfo]) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """(hash, row of the xorb) and (hash, row of its xorb, place in it), each in order of the hashes."""
    by_xorb, by_chunk = [], []
    row = 0
    for xorb in xorbs:
        head, *chunks = _rows(xorb.rows)
        by_xorb.append((_first_number(head), row))
        by_chunk += [(_first_number(chunk), row, place) for place, chunk in enumerate(chunks)]
        row += 1 + len(chunks)
    return sorted(by_xorb), sorted(by_chunk)


def _first_number(row: bytes) -> int:
    return int.from_bytes(row[:8], "little")
