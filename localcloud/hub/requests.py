# SPDX-License-Identifier: GPL-3.0-or-later
"""What the routes ask of a request: who sends it, which repository it means, what its body says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request

from .accounts import Account, Accounts
from .errors import bad_request, forbidden, repository_not_found, unauthorized
from .names import RepoId, RepoType
from .records import Repository
from .store import HubStore
from .xet import XetTokens


@dataclass(frozen=True)
class Hub:
    """What the application's state holds."""

    store: HubStore
    accounts: Accounts
    part_size: int
    xet_tokens: XetTokens


def hub(request: Request) -> Hub:
    return cast(Hub, request.app.state.hub)


def sender(request: Request) -> Account | None:
    """The account of the request's token, None without one. A token that nobody has is refused."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    account = hub(request).accounts.authenticate(token.strip()) if scheme.lower() == "bearer" else None
    if not account:
        raise unauthorized()
    return account


def known_sender(request: Request) -> Account:
    account = sender(request)
    if not account:
        raise unauthorized()
    return account


def repo_id(request: Request) -> RepoId:
    parameters = request.path_params
    return RepoId(parameters.get("kind", "model"), parameters["namespace"], parameters["name"])


def readable_repository(request: Request) -> Repository:
    """The repository of the path. A private one is, to all but its owner, not there."""
    account = sender(request)
    return visible_repository(request, repo_id(request), account)


def visible_repository(request: Request, wanted: RepoId, account: Account | None) -> Repository:
    repository = hub(request).store.get(wanted)
    if repository and (not repository.private or (account and account.name == wanted.namespace)):
        return repository
    raise repository_not_found() if account else unauthorized("RepoNotFound")


def writable_repository(request: Request, wanted: RepoId | None = None) -> Repository:
    """The repository of the path, or `wanted`, for a sender who may change it."""
    account = known_sender(request)
    repository = visible_repository(request, wanted or repo_id(request), account)
    if not account.may_write(repository.id.namespace):
        raise forbidden(f"You don't have the rights to write to the {repository.id.type} {repository.id}")
    return repository


async def json_body(request: Request) -> dict[str, Any]:
    """The body, an object; an empty body counts as an empty object."""
    try:
        document = json.loads(await request.body() or b"{}")
    except ValueError as error:
        raise bad_request(f"The body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise bad_request("The body must be a JSON object")
    return document


def member[T: (str, int, bool, list[Any], dict[str, Any])](
    document: dict[str, Any], name: str, kind: type[T], default: T | None = None
) -> T:
    """`document[name]`, which must be of `kind`; `default` where it is absent or null."""
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise bad_request(f'"{name}" must be of type {kind.__name__}, not {value!r}')
    return value


def flag(request: Request, name: str) -> bool:
    """A query parameter that clients send as `true`, `True` or `1`."""
    return request.query_params.get(name, "").lower() in ("true", "1")


def repo_url(request: Request, wanted: RepoId) -> str:
    return f"{request.base_url}{wanted.web_path}"


def named_repo_id(body: dict[str, Any], account: Account, repo_type: RepoType) -> RepoId:
    """The repository that a body names by `name` and `organization` (default: the sender's own namespace)."""
    return RepoId(repo_type, member(body, "organization", str, account.name), member(body, "name", str))
