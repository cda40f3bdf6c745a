# SPDX-License-Identifier: GPL-3.0-or-later
"""What came in by Xet, beside the blobs.

    xorbs/<hash>        chunks, as they were sent
    files/<hash>.json   a file's sha256, size and terms
    names/<sha256>      the Xet hash of a blob
    shards/<sha256>     rows of the xorbs that one upload brought, for clients that ask what need not be sent
    chunks/<hash>       the shard of a chunk that they ask for

A file is put together, and its sha256 compared, when its shard comes: a blob that is there is whole, and can
be read in every other way too.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from ..blobs import BlobStore, BlobWriter, DigestMismatch
from . import shards, xorbs
from .shards import FileInfo, ShardError, Term
from .xorbs import Chunk, XorbError


@dataclass(frozen=True)
class XetFile:
    """A file that can be read by Xet."""

    sha256: str
    size: int
    terms: tuple[Term, ...]

    def part(self, start: int, end: int) -> tuple[int, list[Term]]:
        """The terms that hold the bytes from `start` up to but not with `end`, and how many come before."""
        found: list[Term] = []
        position, skipped = 0, 0
        for term in self.terms:
            if position < end and position + term.size > start:
                skipped = skipped if found else start - position
                found.append(term)
            position += term.size
        return skipped, found

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> XetFile:
        fields = json.loads(text)
        return cls(**fields | {"terms": tuple(Term(**term) for term in fields["terms"])})


class XetStore:
    """Xorbs and files in `directory`, which is made when it is not there."""

    def __init__(self, directory: Path, blobs: BlobStore) -> None:
        self._directory = directory
        self._blobs = blobs
        for name in ("xorbs", "files", "names", "shards", "chunks"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        self.chunks = lru_cache(maxsize=1024)(self._find_chunks)

    def xorb_path(self, xorb: str) -> Path:
        return self._directory / "xorbs" / xorb

    def hash_of(self, sha256: str) -> str | None:
        """The Xet hash of a blob; None where it came in another way."""
        return _read(self._directory / "names" / sha256)

    def file(self, file: str) -> XetFile | None:
        """A file by its Xet hash."""
        text = _read(self._directory / "files" / f"{file}.json")
        return XetFile.from_json(text) if text else None

    def keep_xorb(self, writer: BlobWriter, xorb: str) -> bool:
        """Keep what was written as this xorb; False where it is there already. XorbError if it is none."""
        known = self.xorb_path(xorb).exists()
        xorbs.find_chunks(writer.path)
        writer.move_to(self.xorb_path(xorb))
        return not known

    def register(self, data: bytes) -> None:
        """Take in a shard: put its files together. ShardError leaves all as it was but for finished files."""
        shard = shards.parse(data)
        for info in shard.files:
            if self.file(info.hash) is None:
                self._register_file(info)
        if shard.xorbs:
            self._remember_chunks(shard)

    def shard_with(self, chunk: str) -> bytes | None:
        """A shard with this chunk and what was sent with it; None where no client needs to know."""
        name = _read(self._directory / "chunks" / chunk)
        if name is None:
            return None
        return shards.serialize(shards.parse_xorbs((self._directory / "shards" / name).read_bytes()))

    def _register_file(self, info: FileInfo) -> None:
        try:
            with self._blobs.writer() as writer:
                for term in info.terms:
                    for data in self._contents(term):
                        writer.write(data)
                sha256 = writer.finish(info.sha256 or None)
        except (DigestMismatch, XorbError) as error:
            raise ShardError(f"file {info.hash}: {error}") from None
        file = XetFile(sha256, sum(term.size for term in info.terms), info.terms)
        _write(self._directory / "files" / f"{info.hash}.json", file.to_json().encode())
        _write(self._directory / "names" / sha256, info.hash.encode())

    def _contents(self, term: Term) -> Iterator[bytes]:
        try:
            chunks = self.chunks(term.xorb)[term.first : term.end]
        except FileNotFoundError:
            raise ShardError(f"the xorb {term.xorb} was never sent") from None
        if len(chunks) != term.end - term.first or sum(chunk.size for chunk in chunks) != term.size:
            raise ShardError(
                f"the xorb {term.xorb} has no chunks {term.first} to {term.end} of {term.size} bytes"
            )
        return xorbs.unpack(self.xorb_path(term.xorb), chunks)

    def _find_chunks(self, xorb: str) -> Sequence[Chunk]:
        return xorbs.find_chunks(self.xorb_path(xorb))

    def _remember_chunks(self, shard: shards.Shard) -> None:
        rows = b"".join(xorb.rows for xorb in shard.xorbs)
        name = hashlib.sha256(rows).hexdigest()
        _write(self._directory / "shards" / name, rows)
        for chunk in shard.chunks_asked_for():
            _write(self._directory / "chunks" / chunk, name.encode())


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Replace a file as a whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.write_bytes(data)
    draft.replace(path)
