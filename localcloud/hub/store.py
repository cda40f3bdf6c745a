# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories on disk.

    lock                                    held (flock) while a repository changes, also between processes
    repositories/<type>/<ns>/<name>.json    settings, branches, tags and commits of one repository
    trees/<sha256>.json                     the files of a commit: path -> size, git oid, sha256
    blobs/, incoming/                       contents, see blobs.py
    xet/                                    the same in chunks, see xet/store.py

Every file is replaced as a whole: a reader never waits, and a kill leaves the state before or after a change.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from .attributes import DEFAULT_ATTRIBUTES
from .blobs import BlobStore
from .changes import Change, Put, apply
from .errors import HubError, repository_not_found, revision_not_found
from .names import RepoId, RepoType, check_repo_name
from .records import MAIN, Commit, Entry, Repository, Tree, regular_entry, timestamp
from .xet import XetStore


class HubStore:
    """All of one hub's repositories, in `directory`, which is made when it is not there."""

    def __init__(self, directory: Path) -> None:
        self._repositories = directory / "repositories"
        self._trees = directory / "trees"
        self._trees.mkdir(parents=True, exist_ok=True)
        self._lock = directory / "lock"
        self.blobs = BlobStore(directory)
        self.xet = XetStore(directory / "xet", self.blobs)
        self._parsed: dict[Path, tuple[tuple[int, int], Repository]] = {}
        self._read_tree = lru_cache(maxsize=64)(self._load_tree)

    def get(self, repo_id: RepoId) -> Repository | None:
        """A snapshot of the repository; not to be changed."""
        path = self._path(repo_id)
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        version = status.st_ino, status.st_mtime_ns
        known = self._parsed.get(path)
        if not known or known[0] != version:
            known = self._parsed[path] = version, Repository.from_json(json.loads(path.read_bytes()))
        return known[1]

    def list(self, repo_type: RepoType) -> list[Repository]:
        paths = sorted((self._repositories / repo_type).glob("*/*.json"))
        found = (
            self.get(RepoId(repo_type, path.parent.name, path.name.removesuffix(".json"))) for path in paths
        )
        return [repository for repository in found if repository]

    def create(self, repo_id: RepoId, *, private: bool, author: str) -> Repository:
        """A repository whose first commit holds .gitattributes. FileExistsError where the name is taken."""
        check_repo_name(repo_id.namespace)
        check_repo_name(repo_id.name)
        with self._locked():
            if self.get(repo_id):
                raise FileExistsError(str(repo_id))
            repository = Repository(repo_id, private, timestamp())
            attributes = Put(
                ".gitattributes", regular_entry(DEFAULT_ATTRIBUTES, self.blobs.put(DEFAULT_ATTRIBUTES))
            )
            tree = self._write_tree(apply({}, [attributes]))
            self._append(repository, MAIN, Commit.make(tree, None, "initial commit", "", author))
            self._save(repository)
        return repository

    def delete(self, repo_id: RepoId) -> None:
        with self._locked():
            self._path(repo_id).unlink(missing_ok=True)

    @contextmanager
    def changing(self, repo_id: RepoId) -> Iterator[Repository]:
        """The repository, for a change that is saved when the block ends well. Others wait meanwhile."""
        with self._locked():
            path = self._path(repo_id)
            if not path.exists():
                raise repository_not_found()
            repository = Repository.from_json(json.loads(path.read_bytes()))
            yield repository
            self._save(repository)

    def commit(
        self,
        repo_id: RepoId,
        branch: str,
        changes: Sequence[Change],
        *,
        title: str,
        author: str,
        message: str = "",
        parent_commit: str | None = None,
    ) -> Commit:
        """Apply `changes` to `branch`. What changes nothing makes no commit: the branch's own is returned.

        parent_commit, at least its first seven digits, must be where the branch stands; else 412.
        """
        with self.changing(repo_id) as repository:
            if branch not in repository.branches:
                raise revision_not_found(branch)
            head = repository.resolve(branch)
            if parent_commit and not (len(parent_commit) >= 7 and head.sha.startswith(parent_commit)):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            tree = self._write_tree(apply(self.tree(head), changes))
            if tree == head.tree:
                return head
            commit = Commit.make(tree, head.sha, title, message, author)
            self._append(repository, branch, commit)
        return commit

    def tree(self, commit: Commit) -> Tree:
        return self._read_tree(commit.tree)

    def last_commits(self, repository: Repository, commit: Commit, paths: Sequence[str]) -> dict[str, Commit]:
        """Which commit, looking back from `commit`, last touched each of `paths` (files or folders)."""
        wanted = set(paths)
        found: dict[str, Commit] = {}
        for current in repository.history(commit):
            if not wanted:
                break
            touched = wanted & self._touched(repository, current)
            found |= dict.fromkeys(touched, current)
            wanted -= touched
        return found

    def _touched(self, repository: Repository, commit: Commit) -> set[str]:
        new = self.tree(commit)
        old = self.tree(repository.commits[commit.parent]) if commit.parent else {}
        touched: set[str] = set()
        for path in new.keys() | old.keys():
            if new.get(path) != old.get(path):
                while path:
                    touched.add(path)
                    path = path.rpartition("/")[0]
        return touched

    @staticmethod
    def _append(repository: Repository, branch: str, commit: Commit) -> None:
        repository.commits[commit.sha] = commit
        repository.branches[branch] = commit.sha

    def _path(self, repo_id: RepoId) -> Path:
        return self._repositories / repo_id.type / repo_id.namespace / f"{repo_id.name}.json"

    def _save(self, repository: Repository) -> None:
        _write_json(self._path(repository.id), repository.to_json())

    def _write_tree(self, tree: Tree) -> str:
        document = {path: asdict(entry) for path, entry in sorted(tree.items())}
        name = hashlib.sha256(json.dumps(document).encode()).hexdigest()
        path = self._trees / f"{name}.json"
        if not path.exists():
            _write_json(path, document)
        return name

    def _load_tree(self, name: str) -> Tree:
        document = json.loads((self._trees / f"{name}.json").read_bytes())
        return {path: Entry(**entry) for path, entry in document.items()}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
