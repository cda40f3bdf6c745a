# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads by git LFS: batch, then one PUT or numbered parts, then verify.

Contents are written and hashed as they arrive; what is announced and what comes must agree.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..blobs import CHUNK, BlobWriter, DigestMismatch
from ..errors import HubError, bad_request
from ..paths import PAGES
from ..requests import hub, json_body, member, writable_repository

OID = re.compile(r"[0-9a-f]{64}")
MEDIA_TYPE = "application/vnd.git-lfs+json"


async def batch(request: Request) -> JSONResponse:
    """Where to send the objects that are not here yet. A client that offers Xet uses that instead."""
    writable_repository(request)
    body = await json_body(request)
    if member(body, "operation", str) != "upload":
        raise bad_request('"operation" must be upload: downloads go by /resolve/')
    objects = [_object(request, each) for each in member(body, "objects", list)]
    offered = member(body, "transfers", list, [])
    transfer = next((each for each in ("xet", "multipart") if each in offered), "basic")
    answer = {"transfer": transfer, "objects": objects, "hash_algo": "sha256"}
    return JSONResponse(answer, media_type=MEDIA_TYPE)


def _object(request: Request, announced: Any) -> dict[str, Any]:
    if not isinstance(announced, dict):
        raise bad_request('"objects" must be a list of objects')
    oid, size = checked_oid(member(announced, "oid", str)), member(announced, "size", int)
    answer: dict[str, Any] = {"oid": oid, "size": size}
    if hub(request).store.blobs.size(oid) is None:
        base = f"{request.base_url}lfs"
        upload = _upload_action(base, oid, size, hub(request).part_size)
        answer["actions"] = {"upload": upload, "verify": {"href": f"{base}/verify/{oid}"}}
    return answer


def _upload_action(base: str, oid: str, size: int, part_size: int) -> dict[str, Any]:
    if size <= part_size:
        return {"href": f"{base}/objects/{oid}"}
    count = -(-size // part_size)
    parts = {str(number): f"{base}/objects/{oid}/parts/{number}" for number in range(1, count + 1)}
    return {"href": f"{base}/objects/{oid}/complete", "header": {"chunk_size": str(part_size), **parts}}


async def put(request: Request) -> Response:
    oid = checked_oid(request.path_params["oid"])
    with hub(request).store.blobs.writer() as writer:
        await receive(request, writer)
        try:
            await run_in_threadpool(writer.finish, oid)
        except DigestMismatch as error:
            raise bad_request(str(error)) from None
    return Response(headers={"ETag": f'"{oid}"'})


async def put_part(request: Request) -> Response:
    oid, number = checked_oid(request.path_params["oid"]), request.path_params["number"]
    with hub(request).store.blobs.writer() as writer:
        await receive(request, writer)
        await run_in_threadpool(writer.finish_part, oid, number)
    return Response(headers={"ETag": f'"{oid}.{number}"'})


async def complete(request: Request) -> JSONResponse:
    oid = checked_oid(request.path_params["oid"])
    body = await json_body(request)
    numbers = [
        member(part, "partNumber", int) for part in member(body, "parts", list) if isinstance(part, dict)
    ]
    try:
        await run_in_threadpool(hub(request).store.blobs.assemble, oid, numbers)
    except FileNotFoundError:
        raise bad_request(f"Not all of the parts of {oid} have been uploaded") from None
    except DigestMismatch as error:
        raise bad_request(str(error)) from None
    return JSONResponse({"success": True})


async def verify(request: Request) -> JSONResponse:
    oid = checked_oid(request.path_params["oid"])
    size = member(await json_body(request), "size", int)
    if hub(request).store.blobs.size(oid) != size:
        raise HubError(422, f"There is no object {oid} of {size} bytes")
    return JSONResponse({})


async def receive(request: Request, writer: BlobWriter) -> None:
    """Write the body as it arrives, in pieces big enough to be worth a hop to another thread."""
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= CHUNK:
            await run_in_threadpool(writer.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(writer.write, bytes(waiting))


def checked_oid(oid: str) -> str:
    if not OID.fullmatch(oid):
        raise bad_request(f'"oid" must be a sha256 in hexadecimal, not {oid!r}')
    return oid


ROUTES = [
    *(Route(page + "/{name:gitname}/info/lfs/objects/batch", batch, methods=["POST"]) for page in PAGES),
    Route("/lfs/objects/{oid}", put, methods=["PUT"]),
    Route("/lfs/objects/{oid}/parts/{number:int}", put_part, methods=["PUT"]),
    Route("/lfs/objects/{oid}/complete", complete, methods=["POST"]),
    Route("/lfs/verify/{oid}", verify, methods=["POST"]),
]
