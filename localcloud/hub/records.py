# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hub remembers of a repository, and its form on disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from .errors import revision_not_found
from .names import RepoId

MAIN = "main"


@dataclass(frozen=True)
class Entry:
    """A file of a tree. `oid` is git's id of what git would hold: the file, or of an LFS file the pointer."""

    size: int
    oid: str
    sha256: str
    lfs: bool

    @property
    def etag(self) -> str:
        """What the Hub calls a file's ETag, and what clients compare and name their cache files by."""
        return self.sha256 if self.lfs else self.oid

    @property
    def pointer_size(self) -> int:
        return len(lfs_pointer(self.sha256, self.size))


Tree = Mapping[str, Entry]  # by path


def regular_entry(data: bytes, sha256: str) -> Entry:
    return Entry(len(data), git_blob_oid(data), sha256, lfs=False)


def lfs_entry(sha256: str, size: int) -> Entry:
    return Entry(size, git_blob_oid(lfs_pointer(sha256, size)), sha256, lfs=True)


def git_blob_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


@dataclass(frozen=True)
class Commit:
    sha: str
    tree: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str

    @classmethod
    def make(cls, tree: str, parent: str | None, title: str, message: str, author: str) -> Commit:
        facts = (tree, parent, title, message, author, timestamp())
        sha = hashlib.sha1(json.dumps(facts).encode(), usedforsecurity=False).hexdigest()
        return cls(sha, *facts)


@dataclass
class Repository:
    id: RepoId
    private: bool
    created: str
    branches: dict[str, str] = field(default_factory=dict)  # name -> commit
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, a tag or a full commit id names."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        try:
            return self.commits[sha]
        except KeyError:
            raise revision_not_found(revision) from None

    def history(self, commit: Commit) -> Iterator[Commit]:
        """`commit` and all before it, newest first."""
        current: Commit | None = commit
        while current:
            yield current
            current = self.commits[current.parent] if current.parent else None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Repository:
        commits = {sha: Commit(**commit) for sha, commit in document["commits"].items()}
        return cls(**document | {"id": RepoId(**document["id"]), "commits": commits})


def timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
