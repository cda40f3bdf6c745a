# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads and downloads by Xet: tokens from the hub, then chunks from its storage.

Up: xorbs with the chunks that the storage lacks, then a shard that says what files they make. Down: a
reconstruction, which says in which byte ranges of which xorbs a file lies. Clients try a second version of
some routes first, and take the first where they get 404.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import HubError, bad_request, forbidden, unauthorized
from ..paths import API
from ..requests import hub, readable_repository, writable_repository
from ..store import HubStore
from ..xet import Grant, ShardError
from ..xet.shards import Term
from ..xet.store import XetFile
from ..xet.tokens import Scope
from ..xet.xorbs import XorbError
from .files import BlobResponse
from .lfs import checked_oid, receive

STORAGE = "/xet/{storage:segment}"
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def read_token(request: Request) -> JSONResponse:
    repository = readable_repository(request)
    commit = repository.resolve(request.path_params["revision"])
    return _token(request, Grant("read", repository.id, commit.sha))


def write_token(request: Request) -> JSONResponse:
    return _token(request, Grant("write", writable_repository(request).id))


def _token(request: Request, grant: Grant) -> JSONResponse:
    tokens = hub(request).xet_tokens
    token, expires = tokens.issue(grant)
    address = _storage(request)
    headers = {
        "X-Xet-Cas-Url": address,
        "X-Xet-Access-Token": token,
        "X-Xet-Token-Expiration": str(expires),
    }
    return JSONResponse({"casUrl": address, "accessToken": token, "exp": expires}, headers=headers)


def _storage(request: Request) -> str:
    return f"{request.base_url}xet/{hub(request).xet_tokens.storage}"


def _granted(request: Request, scope: Scope) -> Grant:
    """What the token of a request to the storage allows, which must be `scope`; a writer may read."""
    _check_storage(request)
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    grant = hub(request).xet_tokens.check(token)
    if not grant:
        raise unauthorized()
    if scope == "write" and grant.scope != "write":
        raise forbidden("This token may only read")
    return grant


def _check_storage(request: Request) -> None:
    if request.path_params["storage"] != hub(request).xet_tokens.storage:
        raise HubError(404, "There is no such storage")


async def put_xorb(request: Request) -> JSONResponse:
    _granted(request, "write")
    xorb = checked_oid(request.path_params["hash"])
    store = hub(request).store
    with store.blobs.writer() as writer:
        await receive(request, writer)
        try:
            inserted = await run_in_threadpool(store.xet.keep_xorb, writer, xorb)
        except XorbError as error:
            raise bad_request(f"Not a xorb: {error}") from None
    return JSONResponse({"was_inserted": inserted})


async def put_shard(request: Request) -> JSONResponse:
    _granted(request, "write")
    try:
        await run_in_threadpool(hub(request).store.xet.register, await request.body())
    except ShardError as error:
        raise bad_request(f"The shard cannot be taken: {error}") from None
    return JSONResponse({"result": 1})


def find_chunk(request: Request) -> Response:
    """A shard that holds a chunk, so that a client sends neither it nor what came with it."""
    _granted(request, "write")
    shard = hub(request).store.xet.shard_with(checked_oid(request.path_params["hash"]))
    if shard is None:
        raise HubError(404, "No such chunk")
    return Response(shard, media_type="application/octet-stream")


def reconstruction(request: Request) -> JSONResponse:
    """Where the bytes of a file, or of a range of it, are."""
    grant = _granted(request, "read")
    store = hub(request).store
    file = store.xet.file(checked_oid(request.path_params["hash"]))
    if not file or not _may_read(store, grant, file):
        raise HubError(404, "No such file")
    skipped, terms = file.part(*_range(request, file.size))
    fetches: dict[str, list[dict[str, Any]]] = {}
    for term in dict.fromkeys(terms):
        fetches.setdefault(term.xorb, []).append(_fetch(request, term))
    views = [{"hash": term.xorb, "unpacked_length": term.size, "range": _chunk_range(term)} for term in terms]
    return JSONResponse({"offset_into_first_range": skipped, "terms": views, "fetch_info": fetches})


def _fetch(request: Request, term: Term) -> dict[str, Any]:
    """From where a client gets the chunks of a term."""
    chunks = hub(request).store.xet.chunks(term.xorb)
    query = urlencode(hub(request).xet_tokens.sign(term.xorb))
    return {
        "range": _chunk_range(term),
        "url": f"{_storage(request)}/xorbs/{term.xorb}?{query}",
        "url_range": {"start": chunks[term.first].start, "end": chunks[term.end - 1].end - 1},
    }


def _chunk_range(term: Term) -> dict[str, int]:
    return {"start": term.first, "end": term.end}


def _may_read(store: HubStore, grant: Grant, file: XetFile) -> bool:
    """A writer knows the content that it names; a reader sees what its commit holds."""
    if grant.scope == "write":
        return True
    repository = store.get(grant.repository)
    if repository is None or grant.commit not in repository.commits:
        return False
    entries = store.tree(repository.commits[grant.commit]).values()
    return any(entry.sha256 == file.sha256 for entry in entries)


def _range(request: Request, size: int) -> tuple[int, int]:
    """First byte, and the one after the last, of those asked for."""
    header = request.headers.get("range")
    if header is None:
        return 0, size
    match = _RANGE.fullmatch(header)
    if not match:
        raise bad_request(f"Not a range: {header!r}")
    start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
    if start >= end:
        raise HubError(416, f"The file has {size} bytes", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def get_xorb(request: Request) -> BlobResponse:
    """Bytes of a xorb, for a client that has an address that `reconstruction` signed."""
    _check_storage(request)
    xorb, query = checked_oid(request.path_params["hash"]), request.query_params
    if not hub(request).xet_tokens.signed(xorb, query.get("expires", ""), query.get("signature", "")):
        raise forbidden("This address is not signed, or no longer holds")
    return BlobResponse(hub(request).store.xet.xorb_path(xorb), media_type="application/octet-stream")


ROUTES = [
    Route(API + "/xet-read-token/{revision:segment}", read_token),
    Route(API + "/xet-write-token/{revision:segment}", write_token),
    Route(STORAGE + "/v1/xorbs/default/{hash}", put_xorb, methods=["POST"]),
    Route(STORAGE + "/v1/shards", put_shard, methods=["POST"]),
    Route(STORAGE + "/v1/chunks/{prefix:segment}/{hash}", find_chunk),
    Route(STORAGE + "/v1/reconstructions/{hash}", reconstruction),
    Route(STORAGE + "/xorbs/{hash}", get_xorb),
]
