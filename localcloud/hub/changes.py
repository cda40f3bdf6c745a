# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of a commit, applied to a tree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import HubError, bad_request
from .names import check_file_path
from .records import Entry, Tree


@dataclass(frozen=True)
class Put:
    path: str
    entry: Entry


@dataclass(frozen=True)
class DeleteFile:
    path: str


@dataclass(frozen=True)
class DeleteFolder:
    path: str


Change = Put | DeleteFile | DeleteFolder


def apply(tree: Tree, changes: Iterable[Change]) -> dict[str, Entry]:
    """The tree after `changes`, in their order. HubError for an impossible or, to delete, a missing path."""
    result = dict(tree)
    for change in changes:
        match change:
            case Put(path, entry):
                check_file_path(path)
                result[path] = entry
            case DeleteFile(path):
                if result.pop(path, None) is None:
                    raise HubError(404, f'A file with the name "{path}" does not exist', "EntryNotFound")
            case DeleteFolder(path):
                prefix = path.rstrip("/") + "/"
                result = {name: entry for name, entry in result.items() if not name.startswith(prefix)}
    _check_no_file_is_a_folder(result)
    return result


def _check_no_file_is_a_folder(tree: Tree) -> None:
    for path in tree:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in tree:
                raise bad_request(f'"{parent}" cannot be a file and a folder at once')
            parent = parent.rpartition("/")[0]
