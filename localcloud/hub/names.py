# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of repositories, branches and files, and which of them the Hub takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import bad_request

RepoType = Literal["model", "dataset"]
REPO_TYPES: tuple[RepoType, ...] = ("model", "dataset")
MAX_NAME_LENGTH = 96
_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[\w.][\w./-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, order=True)
class RepoId:
    """`namespace/name` of a model or a data set."""

    type: RepoType
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def web_path(self) -> str:
        """Path of its page, without a leading slash: data sets stand under `datasets/`."""
        return str(self) if self.type == "model" else f"{self.type}s/{self}"


def parse_repo_type(value: object) -> RepoType:
    """`value` of a request; absent means a model."""
    if value is None:
        return "model"
    if value in REPO_TYPES:
        return value
    raise bad_request(f'"type" must be one of {", ".join(REPO_TYPES)}, not {value!r}')


def check_repo_name(name: str) -> None:
    """HubError unless it is a name that the Hub takes; the message says which those are."""
    taken = _NAME.fullmatch(name) and len(name) <= MAX_NAME_LENGTH
    if not taken or "--" in name or ".." in name or name.endswith((".git", ".ipynb")):
        raise bad_request(
            f"Invalid repo name: {name!r}. Use at most {MAX_NAME_LENGTH} letters, digits, '-', '_' and '.', "
            "without '--' or '..', without '-' or '.' at an end, and not ending with '.git' or '.ipynb'."
        )


def check_revision_name(name: str) -> None:
    """Name of a new branch or tag: as git takes it, and never one that reads as a commit."""
    bad_parts = any(not part or part.startswith(".") or part.endswith(".lock") for part in name.split("/"))
    if not _REVISION.fullmatch(name) or ".." in name or bad_parts or _COMMIT.fullmatch(name):
        raise bad_request(f"Invalid branch or tag name: {name!r}")


def check_file_path(path: str) -> None:
    """A relative path with `/`, without empty, `.`, `..` or `.git` parts."""
    bad_parts = any(part in ("", ".", "..", ".git") for part in path.split("/"))
    if bad_parts or "\\" in path or any(ord(character) < 32 for character in path):
        raise bad_request(f"Invalid path in repo: {path!r}")
