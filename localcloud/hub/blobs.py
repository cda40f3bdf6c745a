# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of files, each kept once under its sha256. A blob appears whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 1 << 20
STALE_AFTER = 3600  # seconds without a write after which an unfinished upload counts as abandoned


class DigestMismatch(Exception):
    """What came in is not what was announced."""


class BlobWriter:
    """One content on its way in: hashed while it is written, gone again unless it is finished.

    Use as a context manager; `finish`, `finish_part` or `move_to` ends it well.
    """

    def __init__(self, store: BlobStore) -> None:
        self._store = store
        descriptor, name = tempfile.mkstemp(dir=store.incoming)
        self.path = Path(name)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        self._sha256.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def finish(self, expected: str | None = None) -> str:
        """Keep the content as a blob and return its sha256, which must be `expected` where that is given."""
        sha256 = self._sha256.hexdigest()
        if expected not in (None, sha256):
            raise DigestMismatch(f"announced sha256 {expected}, received {sha256}")
        self.move_to(self._store.path(sha256))
        return sha256

    def finish_part(self, oid: str, number: int) -> None:
        """Keep the content as part `number` of the blob `oid`. Sent again, it replaces the earlier one."""
        self.move_to(self._store.part_path(oid, number))

    def move_to(self, target: Path) -> None:
        """Keep the content as the file `target`."""
        self._file.close()
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.replace(target)


class BlobStore:
    """Directory of blobs. Nothing is ever deleted from it: it goes with the local cloud."""

    def __init__(self, directory: Path) -> None:
        self._blobs = directory / "blobs"
        self.incoming = directory / "incoming"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.incoming.mkdir(exist_ok=True)
        self._drop_abandoned()

    def path(self, sha256: str) -> Path:
        return self._blobs / sha256[:2] / sha256

    def part_path(self, oid: str, number: int) -> Path:
        return self.incoming / f"{oid}.{number}"

    def size(self, sha256: str) -> int | None:
        """Bytes of a blob, None where it is not there."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def writer(self) -> BlobWriter:
        return BlobWriter(self)

    def put(self, data: bytes) -> str:
        with self.writer() as writer:
            writer.write(data)
            return writer.finish()

    def assemble(self, oid: str, numbers: Sequence[int]) -> None:
        """Join the parts of an upload into the blob `oid`. FileNotFoundError names a part that never came."""
        parts = [self.part_path(oid, number) for number in numbers]
        with self.writer() as writer:
            for part in parts:
                with part.open("rb") as file:
                    while chunk := file.read(CHUNK):
                        writer.write(chunk)
            writer.finish(oid)
        for part in parts:
            part.unlink(missing_ok=True)

    def _drop_abandoned(self) -> None:
        """Clear what a killed server left; other processes may be writing, so only what is old."""
        deadline = time.time() - STALE_AFTER
        for path in self.incoming.iterdir():
            try:
                if path.stat().st_mtime < deadline:
                    path.unlink()
            except FileNotFoundError:
                continue  # its writer has just finished
