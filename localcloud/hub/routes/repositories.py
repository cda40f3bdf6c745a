# SPDX-License-Identifier: GPL-3.0-or-later
"""Making, listing, changing and deleting repositories, their branches and tags."""

from __future__ import annotations

from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import HubError, bad_request, forbidden, repository_not_found, revision_not_found
from ..names import RepoType, check_revision_name, parse_repo_type
from ..paths import API
from ..records import MAIN, Repository
from ..requests import (
    hub,
    json_body,
    known_sender,
    member,
    named_repo_id,
    readable_repository,
    repo_url,
    sender,
    writable_repository,
)
from .views import repository_view


async def create(request: Request) -> JSONResponse:
    account = known_sender(request)
    body = await json_body(request)
    wanted = named_repo_id(body, account, parse_repo_type(body.get("type")))
    if not account.may_write(wanted.namespace):
        raise forbidden(
            f'You don\'t have the rights to create a {wanted.type} under the namespace "{wanted.namespace}"'
        )
    private, url = _is_private(body, default=False), repo_url(request, wanted)
    try:
        await run_in_threadpool(hub(request).store.create, wanted, private=private, author=account.name)
    except FileExistsError:
        raise HubError(
            409, f"You already created this {wanted.type} repo: {wanted}", details={"url": url}
        ) from None
    return JSONResponse({"url": url, "name": str(wanted), "id": str(wanted)})


async def delete(request: Request) -> JSONResponse:
    account = known_sender(request)
    body = await json_body(request)
    wanted = named_repo_id(body, account, parse_repo_type(body.get("type")))
    repository = writable_repository(request, wanted)
    await run_in_threadpool(hub(request).store.delete, repository.id)
    return JSONResponse({})


async def change_settings(request: Request) -> JSONResponse:
    """Only the visibility can be changed; whatever else a client sends is refused rather than lost."""
    repository = writable_repository(request)
    body = await json_body(request)
    if unknown := sorted(body.keys() - {"private", "visibility"}):
        raise bad_request(f"Settings that this hub does not have: {', '.join(unknown)}")

    def save() -> None:
        with hub(request).store.changing(repository.id) as current:
            current.private = _is_private(body, default=current.private)

    await run_in_threadpool(save)
    return JSONResponse({})


def listing(request: Request) -> JSONResponse:
    """All that the sender may see; `author`, `search` and `limit` as in the Hub's own listing."""
    account = sender(request)
    store, query = hub(request).store, request.query_params
    repo_type: RepoType = request.path_params["kind"]
    author, search, limit = query.get("author"), query.get("search", "").lower(), query.get("limit", "")
    found = [
        repository
        for repository in store.list(repo_type)
        if (not repository.private or (account and account.name == repository.id.namespace))
        and author in (None, repository.id.namespace)
        and search in str(repository.id).lower()
    ]
    return JSONResponse(
        [repository_view(store, r, r.resolve(MAIN)) for r in found[: int(limit) if limit.isdigit() else None]]
    )


def legacy_name(request: Request) -> Response:
    """Names without a namespace, such as `gpt2`, exist on the Hub; here none does."""
    raise repository_not_found()


def refs(request: Request) -> JSONResponse:
    repository = readable_repository(request)

    def view(names: dict[str, str], prefix: str) -> list[dict[str, str]]:
        return [
            {"name": n, "ref": f"refs/{prefix}/{n}", "targetCommit": sha} for n, sha in sorted(names.items())
        ]

    answer: dict[str, Any] = {
        "branches": view(repository.branches, "heads"),
        "tags": view(repository.tags, "tags"),
    }
    return JSONResponse(answer | {"converts": [], "pullRequests": []})


async def create_branch(request: Request) -> JSONResponse:
    """From `startingPoint` (a branch, a tag or a commit), by default from main."""
    branch, body = request.path_params["branch"], await json_body(request)
    return await _point(request, branch, member(body, "startingPoint", str, MAIN), tag=False)


async def create_tag(request: Request) -> JSONResponse:
    body = await json_body(request)
    return await _point(request, member(body, "tag", str), request.path_params["revision"], tag=True)


async def delete_branch(request: Request) -> JSONResponse:
    if request.path_params["branch"] == MAIN:
        raise forbidden("The branch main cannot be deleted")
    return await _forget(request, request.path_params["branch"], tag=False)


async def delete_tag(request: Request) -> JSONResponse:
    return await _forget(request, request.path_params["revision"], tag=True)


async def _point(request: Request, name: str, target: str, *, tag: bool) -> JSONResponse:
    repository = writable_repository(request)
    check_revision_name(name)

    def save() -> None:
        with hub(request).store.changing(repository.id) as current:
            names = _names(current, tag)
            if name in names:
                raise HubError(409, f"Reference already exists: {name}")
            names[name] = current.resolve(target).sha

    await run_in_threadpool(save)
    return JSONResponse({"success": True})


async def _forget(request: Request, name: str, *, tag: bool) -> JSONResponse:
    repository = writable_repository(request)

    def save() -> None:
        with hub(request).store.changing(repository.id) as current:
            if _names(current, tag).pop(name, None) is None:
                raise revision_not_found(name)

    await run_in_threadpool(save)
    return JSONResponse({"success": True})


def _names(repository: Repository, tag: bool) -> dict[str, str]:
    return repository.tags if tag else repository.branches


def _is_private(body: dict[str, Any], *, default: bool) -> bool:
    """Clients say `visibility` or, the older ones, `private`."""
    visibility = body.get("visibility")
    if visibility in ("public", "private"):
        return bool(visibility == "private")
    if visibility is not None:
        raise bad_request(f'"visibility" must be public or private, not {visibility!r}')
    return member(body, "private", bool, default)


ROUTES = [
    Route("/api/repos/create", create, methods=["POST"]),
    Route("/api/repos/delete", delete, methods=["DELETE"]),
    Route("/api/{kind:kind}", listing),
    Route("/api/{kind:kind}/{name:segment}", legacy_name),
    Route(API + "/settings", change_settings, methods=["PUT"]),
    Route(API + "/refs", refs),
    Route(API + "/branch/{branch:segment}", create_branch, methods=["POST"]),
    Route(API + "/branch/{branch:segment}", delete_branch, methods=["DELETE"]),
    Route(API + "/tag/{revision:segment}", create_tag, methods=["POST"]),
    Route(API + "/tag/{revision:segment}", delete_tag, methods=["DELETE"]),
]
