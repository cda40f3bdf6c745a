# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a xorb: chunks, one after the other, and after them what this hub has no use for.

A chunk starts with eight bytes: version (0), packed size (three bytes), packing, size (three bytes), all
little endian. The packings are none, an LZ4 frame, and an LZ4 frame over bytes that were dealt out to four
groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

HEADER = 8
VERSION = 0
NONE, LZ4, GROUPED_LZ4 = range(3)


class XorbError(ValueError):
    """These bytes are no xorb."""


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies in its xorb, from the first byte of its header, and how to unpack it."""

    start: int
    end: int
    packing: int
    size: int


def find_chunks(xorb: Path) -> Sequence[Chunk]:
    """All chunks of a xorb, in their order."""
    end = xorb.stat().st_size
    chunks = []
    position = 0
    with xorb.open("rb") as file:
        while position + HEADER <= end:
            file.seek(position)
            header = file.read(HEADER)
            if header[0] != VERSION:
                break  # the footer, which repeats what the headers say
            chunk = _chunk(position, header)
            if chunk.end > end or chunk.packing not in (NONE, LZ4, GROUPED_LZ4):
                raise XorbError(f"the chunk at byte {position} is broken")
            chunks.append(chunk)
            position = chunk.end
    if not chunks:
        raise XorbError("it holds no chunk")
    return chunks


def _chunk(position: int, header: bytes) -> Chunk:
    packed, size = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
    return Chunk(position, position + HEADER + packed, header[4], size)


def unpack(xorb: Path, chunks: Sequence[Chunk]) -> Iterator[bytes]:
    """The contents of some of a xorb's chunks."""
    with xorb.open("rb") as file:
        for chunk in chunks:
            file.seek(chunk.start + HEADER)
            yield _unpacked(file.read(chunk.end - chunk.start - HEADER), chunk)


def _unpacked(data: bytes, chunk: Chunk) -> bytes:
    if chunk.packing == NONE:
        return data
    try:
        plain = pa.decompress(data, chunk.size, codec="lz4", asbytes=True)
    except OSError as error:
        raise XorbError(f"the chunk at byte {chunk.start} cannot be unpacked: {error}") from None
    return _regrouped(plain) if chunk.packing == GROUPED_LZ4 else plain


def _regrouped(data: bytes) -> bytes:
    """Undo the grouping: first every fourth byte, then every fourth from the second on, and so on."""
    groups = np.frombuffer(data, np.uint8)
    result = np.empty_like(groups)
    start = 0
    for place in range(4):
        target = result[place::4]
        target[:] = groups[start : start + len(target)]
        start += len(target)
    return result.tobytes()
