# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads, the part that makes a commit: what goes how, the check of the card, the commit."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

import pathspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..attributes import LFS_MINIMUM, LfsRule
from ..card import card_metadata
from ..changes import Change, DeleteFile, DeleteFolder, Put
from ..errors import bad_request
from ..paths import API
from ..records import Entry, Tree, lfs_entry, regular_entry
from ..requests import flag, hub, json_body, known_sender, member, repo_url, writable_repository
from ..store import HubStore
from .lfs import checked_oid


async def validate_yaml(request: Request) -> JSONResponse:
    known_sender(request)
    body = await json_body(request)
    try:
        card_metadata(member(body, "content", str))
    except ValueError as error:
        return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, status_code=400)
    return JSONResponse({"errors": [], "warnings": []})


async def preupload(request: Request) -> JSONResponse:
    """Of each file: does it go by LFS, is it ignored, what is there now (clients skip the same)."""
    repository = writable_repository(request)
    body = await json_body(request)
    commit = repository.resolve(request.path_params["revision"])
    store = hub(request).store
    tree = store.tree(commit)
    rule = LfsRule(member(body, "gitAttributes", str, _text(store, tree.get(".gitattributes"))))
    ignored = pathspec.GitIgnoreSpec.from_lines(member(body, "gitIgnore", str, "").splitlines())
    files = [_plan(each, tree, rule, ignored) for each in member(body, "files", list)]
    return JSONResponse({"files": files, "commitOid": commit.sha})


def _plan(file: Any, tree: Tree, rule: LfsRule, ignored: pathspec.GitIgnoreSpec) -> dict[str, Any]:
    if not isinstance(file, dict):
        raise bad_request('"files" must be a list of objects')
    path, size, sample = member(file, "path", str), member(file, "size", int), member(file, "sample", str, "")
    lfs = rule.applies(path, size, _decoded(sample, f'"sample" of {path}'))
    present = tree.get(path)
    return {
        "path": path,
        "uploadMode": "lfs" if lfs else "regular",
        "shouldIgnore": ignored.match_file(path),
        "oid": present.etag if present else None,
    }


async def commit(request: Request) -> JSONResponse:
    """Lines of JSON: a header, then the changes. Nothing of it is seen by anybody before all of it is in."""
    account, repository = known_sender(request), writable_repository(request)
    if flag(request, "create_pr"):
        raise bad_request("This hub has no pull requests: commit to a branch")
    store, header, changes = hub(request).store, None, []
    async for key, value in _lines(request):
        if key == "header":
            header = value
        else:
            changes.append(await run_in_threadpool(_change, store, key, value))
    if header is None:
        raise bad_request("The commit has no header")
    title, parent = member(header, "summary", str), member(header, "parentCommit", str, "")
    message = member(header, "description", str, "")

    made = await run_in_threadpool(
        lambda: store.commit(
            repository.id,
            request.path_params["revision"],
            changes,
            title=title,
            message=message,
            author=account.name,
            parent_commit=parent or None,
        )
    )
    url = f"{repo_url(request, repository.id)}/commit/{made.sha}"
    return JSONResponse({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


async def _lines(request: Request) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Key and value of each line of the body; never more than one line is held."""
    waiting = bytearray()
    async for chunk in request.stream():
        start = len(waiting)
        waiting += chunk
        while (end := waiting.find(b"\n", start)) >= 0:
            line = bytes(waiting[:end])
            del waiting[: end + 1]
            start = 0
            if line.strip():
                yield _parsed(line)
    if waiting.strip():
        yield _parsed(bytes(waiting))


def _parsed(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise bad_request(f"A line of the commit is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise bad_request("A line of the commit must be a JSON object")
    return member(document, "key", str), member(document, "value", dict)


def _change(store: HubStore, key: str, value: dict[str, Any]) -> Change:
    path = member(value, "path", str)
    match key:
        case "file":
            return Put(path, _regular(store, path, value))
        case "lfsFile":
            return Put(path, _lfs(store, path, value))
        case "deletedFile":
            return DeleteFile(path)
        case "deletedFolder":
            return DeleteFolder(path)
    raise bad_request(f"Unknown operation in a commit: {key!r}")


def _regular(store: HubStore, path: str, value: dict[str, Any]) -> Entry:
    content, encoding = member(value, "content", str), member(value, "encoding", str, "utf-8")
    data = _decoded(content, f'"content" of {path}') if encoding == "base64" else content.encode()
    if len(data) >= LFS_MINIMUM:
        raise bad_request(f'Your push was rejected because "{path}" is larger than 10 MiB: use git LFS')
    if path == "README.md":
        _check_card(data)
    return regular_entry(data, store.blobs.put(data))


def _check_card(data: bytes) -> None:
    try:
        card_metadata(data.decode("utf-8", "replace"))
    except ValueError as error:
        raise bad_request(f"Invalid metadata in README.md: {error}") from None


def _lfs(store: HubStore, path: str, value: dict[str, Any]) -> Entry:
    oid = checked_oid(member(value, "oid", str))
    size = store.blobs.size(oid)
    if size is None:
        raise bad_request(f'LFS pointer of "{path}" points to a file that does not exist: {oid}')
    if member(value, "size", int, size) != size:
        raise bad_request(f'LFS pointer of "{path}" has the wrong size: {oid} has {size} bytes')
    return lfs_entry(oid, size)


def _decoded(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise bad_request(f"{what} is not base64: {error}") from None


def _text(store: HubStore, entry: Entry | None) -> str:
    return store.blobs.path(entry.sha256).read_text("utf-8", "replace") if entry else ""


ROUTES = [
    Route("/api/validate-yaml", validate_yaml, methods=["POST"]),
    Route(API + "/preupload/{revision:segment}", preupload, methods=["POST"]),
    Route(API + "/commit/{revision:segment}", commit, methods=["POST"]),
]
