# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories, files and commits as the API shows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from ..card import card_metadata
from ..records import Commit, Entry, Repository, Tree
from ..store import HubStore


def repository_view(store: HubStore, repository: Repository, commit: Commit) -> dict[str, Any]:
    metadata = _metadata(store, store.tree(commit))
    view = {
        "_id": hashlib.md5(repository.id.web_path.encode(), usedforsecurity=False).hexdigest()[:24],
        "id": str(repository.id),
        "author": repository.id.namespace,
        "sha": commit.sha,
        "createdAt": repository.created,
        "lastModified": commit.date,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": metadata.get("tags") or [],
        "cardData": metadata,
    }
    return view | ({"modelId": str(repository.id)} if repository.id.type == "model" else {})


def siblings_view(tree: Tree, *, blobs: bool) -> list[dict[str, Any]]:
    """The files in brief; with `blobs` also their sizes and ids."""
    return [
        {"rfilename": path} | (_sibling_details(entry) if blobs else {})
        for path, entry in sorted(tree.items())
    ]


def file_view(store: HubStore, path: str, entry: Entry) -> dict[str, Any]:
    view: dict[str, Any] = {"type": "file", "path": path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        view["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        if xet_hash := store.xet.hash_of(entry.sha256):
            view["xetHash"] = xet_hash
    return view


def folder_view(path: str, tree: Tree) -> dict[str, Any]:
    """The oid changes with what is below the folder."""
    below = sorted((name, entry.oid) for name, entry in tree.items() if name.startswith(f"{path}/"))
    oid = hashlib.sha1(repr(below).encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "path": path, "size": 0, "oid": oid}


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that `paths` go through."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def last_commit_view(commit: Commit) -> dict[str, str]:
    return {"id": commit.sha, "title": commit.title, "date": commit.date}


def commit_view(commit: Commit) -> dict[str, Any]:
    authors = [{"user": commit.author}]
    return last_commit_view(commit) | {"message": commit.message, "authors": authors}


def _sibling_details(entry: Entry) -> dict[str, Any]:
    details: dict[str, Any] = {"size": entry.size, "blobId": entry.oid}
    if entry.lfs:
        details["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return details


def _metadata(store: HubStore, tree: Tree) -> dict[str, Any]:
    readme = tree.get("README.md")
    if not readme:
        return {}
    try:
        return card_metadata(store.blobs.path(readme.sha256).read_text("utf-8", "replace"))
    except ValueError:
        return {}  # shown to the user who uploads it, by validate-yaml
