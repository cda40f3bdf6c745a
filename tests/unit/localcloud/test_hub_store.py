# SPDX-License-Identifier: GPL-3.0-or-later
"""The store on disk: what survives, what is shared, what an interrupted writer leaves."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localcloud.hub.blobs import STALE_AFTER, BlobStore, DigestMismatch
from localcloud.hub.changes import Put
from localcloud.hub.errors import HubError
from localcloud.hub.names import RepoId
from localcloud.hub.records import Repository, regular_entry
from localcloud.hub.store import HubStore

ID = RepoId("model", "local", "model")


def put(store: HubStore, path: str, data: bytes) -> Put:
    return Put(path, regular_entry(data, store.blobs.put(data)))


def contents(store: HubStore) -> dict[str, bytes]:
    repository = store.get(ID)
    assert repository
    tree = store.tree(repository.resolve("main"))
    return {path: store.blobs.path(entry.sha256).read_bytes() for path, entry in tree.items()}


def test_a_repository_reads_as_it_was_written(tmp_path: Path) -> None:
    store = HubStore(tmp_path)
    created = store.create(ID, private=True, author="local")
    assert Repository.from_json(created.to_json()) == created
    assert HubStore(tmp_path).get(ID) == created


def test_a_second_store_on_the_directory_sees_every_change(tmp_path: Path) -> None:
    one, two = HubStore(tmp_path), HubStore(tmp_path)
    one.create(ID, private=False, author="local")
    assert two.get(ID)
    two.commit(ID, "main", [put(two, "a", b"1")], title="t", author="local")
    assert contents(one)["a"] == b"1"
    one.delete(ID)
    assert two.get(ID) is None


def test_two_stores_commit_side_by_side(tmp_path: Path) -> None:
    stores = [HubStore(tmp_path), HubStore(tmp_path)]
    stores[0].create(ID, private=False, author="local")

    def commit(number: int) -> None:
        store = stores[number % 2]
        store.commit(ID, "main", [put(store, f"{number}", b"%d" % number)], title="t", author="local")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(commit, range(30)))
    assert contents(stores[0]).keys() == {".gitattributes", *(str(number) for number in range(30))}


def test_a_change_that_fails_is_not_saved(tmp_path: Path) -> None:
    store = HubStore(tmp_path)
    store.create(ID, private=False, author="local")
    with pytest.raises(KeyError), store.changing(ID) as repository:
        repository.private = True
        raise KeyError
    kept = store.get(ID)
    assert kept and not kept.private
    with pytest.raises(HubError), store.changing(RepoId("model", "local", "none")):
        pytest.fail("there is no such repository")


def test_creating_what_is_there(tmp_path: Path) -> None:
    store = HubStore(tmp_path)
    store.create(ID, private=False, author="local")
    with pytest.raises(FileExistsError):
        store.create(ID, private=False, author="local")


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    assert blobs.put(b"same") == blobs.put(b"same")
    assert len([path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]) == 1


def test_a_writer_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    with pytest.raises(OSError, match="cut"), blobs.writer() as writer:
        writer.write(b"half")
        raise OSError("cut")
    with pytest.raises(DigestMismatch), blobs.writer() as writer:
        writer.finish("0" * 64)
    assert list(blobs.incoming.iterdir()) == []


def test_only_old_leftovers_are_cleared(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    for name in ("old", "new"):
        (blobs.incoming / name).write_bytes(b"x")
    os.utime(blobs.incoming / "old", (1, blobs.incoming.stat().st_mtime - STALE_AFTER - 1))
    BlobStore(tmp_path)
    assert [path.name for path in blobs.incoming.iterdir()] == ["new"]
