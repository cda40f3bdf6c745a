# SPDX-License-Identifier: GPL-3.0-or-later
"""What a revision holds: information, files and folders, commits."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..errors import bad_request, entry_not_found
from ..paths import API
from ..records import MAIN, Commit, Repository, Tree
from ..requests import flag, hub, json_body, readable_repository, writable_repository
from ..store import HubStore
from .views import (
    commit_view,
    file_view,
    folder_view,
    folders_of,
    last_commit_view,
    repository_view,
    siblings_view,
)

PAGE = 1000  # entries of a tree in one answer


def info(request: Request) -> JSONResponse:
    repository, commit = _revision(request)
    store = hub(request).store
    siblings = siblings_view(store.tree(commit), blobs=flag(request, "blobs"))
    gated = "manual" if getattr(request.state, "gated", False) else False
    return JSONResponse(repository_view(store, repository, commit) | {"gated": gated, "siblings": siblings})


def auth_check(request: Request) -> JSONResponse:
    """Whether the sender may read the repository."""
    readable_repository(request)
    return JSONResponse({})


def write_check(request: Request) -> JSONResponse:
    writable_repository(request)
    return JSONResponse({})


def tree(request: Request) -> JSONResponse:
    """Files and folders of a folder, by default of the root, in order of their paths.

    recursive: also what is below; expand: with each entry's last commit; limit: entries a page.
    The `Link` header leads on, by a cursor that is the last path of this page.
    """
    repository, commit = _revision(request)
    folder = request.path_params.get("path", "").strip("/")
    files = hub(request).store.tree(commit)
    paths = _paths_in(files, folder, recursive=flag(request, "recursive"))
    if folder and not paths:
        raise entry_not_found(folder, request.path_params["revision"])
    limit, cursor = _limit(request), request.query_params.get("cursor", "")
    rest = [path for path in paths if path > cursor]
    shown = _entries(hub(request).store, repository, commit, rest[:limit], expand=flag(request, "expand"))
    return JSONResponse(shown, headers=_link(request, rest[limit - 1]) if len(rest) > limit else None)


async def paths_info(request: Request) -> JSONResponse:
    """Those of the asked paths that are there. The body is JSON or, from older clients, a form."""
    repository, commit = _revision(request)
    wanted, expand = await _asked_paths(request)
    store = hub(request).store
    files = store.tree(commit)
    folders = folders_of(files)
    present = [path for path in wanted if path in files or path in folders]
    return JSONResponse(_entries(store, repository, commit, present, expand=expand))


async def _asked_paths(request: Request) -> tuple[list[str], bool]:
    if request.headers.get("content-type", "").startswith("application/json"):
        body = await json_body(request)
        paths, expand = body.get("paths", []), body.get("expand") is True
    else:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        paths, expand = form.get("paths", []), form.get("expand", [""])[-1].lower() == "true"
    wanted = [paths] if isinstance(paths, str) else paths
    if not isinstance(wanted, list) or not all(isinstance(path, str) for path in wanted):
        raise bad_request('"paths" must be a list of strings')
    return wanted, expand


def commits(request: Request) -> JSONResponse:
    repository, commit = _revision(request)
    return JSONResponse([commit_view(each) for each in repository.history(commit)])


def _revision(request: Request) -> tuple[Repository, Commit]:
    repository = readable_repository(request)
    return repository, repository.resolve(request.path_params.get("revision", MAIN))


def _paths_in(files: Tree, folder: str, *, recursive: bool) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    below = [path for path in (*files, *folders_of(files)) if path.startswith(prefix)]
    return sorted(path for path in below if recursive or "/" not in path[len(prefix) :])


def _entries(
    store: HubStore, repository: Repository, commit: Commit, paths: list[str], *, expand: bool
) -> list[dict[str, Any]]:
    files = store.tree(commit)
    views = [
        file_view(store, path, files[path]) if path in files else folder_view(path, files) for path in paths
    ]
    if expand:
        last = store.last_commits(repository, commit, paths)
        for view in views:
            view["lastCommit"] = last_commit_view(last[view["path"]])
    return views


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(PAGE))
    if not text.isdecimal() or not 0 < int(text) <= PAGE:
        raise bad_request(f'"limit" must be a number from 1 to {PAGE}, not {text!r}')
    return int(text)


def _link(request: Request, cursor: str) -> dict[str, str]:
    query = dict(request.query_params) | {"cursor": cursor}
    return {"Link": f'<{request.url.replace(query=urlencode(query))}>; rel="next"'}


ROUTES = [
    Route(API, info),
    Route(API + "/revision/{revision:segment}", info),
    Route(API + "/auth-check", auth_check),
    Route(API + "/auth-check/write", write_check),
    Route(API + "/tree/{revision:segment}", tree),
    Route(API + "/tree/{revision:segment}/", tree),
    Route(API + "/tree/{revision:segment}/{path:rest}", tree),
    Route(API + "/paths-info/{revision:segment}", paths_info, methods=["POST"]),
    Route(API + "/commits/{revision:segment}", commits),
]
