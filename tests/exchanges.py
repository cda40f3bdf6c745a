# SPDX-License-Identifier: GPL-3.0-or-later
"""Two judges of what went over the wire: Google's discovery documents, and Google's protocol buffers.

The local cloud checks against the former itself; here both see the bytes, after all is done.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from google.cloud import tpu_v2
from google.cloud.location import locations_pb2
from google.longrunning import operations_pb2  # type: ignore[import-untyped]
from google.protobuf import empty_pb2, json_format  # type: ignore[import-untyped]
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]

from localcloud import discovery
from localcloud.discovery import Document, Method
from localcloud.exchanges import Exchange
from localcloud.google.errors import CODES
from localcloud.server import APIS

#: Where the messages of the TPU API's schemas are, which have no other names in its discovery document.
_PACKAGES = (locations_pb2, operations_pb2, empty_pb2)
#: What google-cloud-tpu 1.28's Node lacks; Google's discovery document has it, and is its only judge.
NEWER = ("bootDiskConfig",)
#: Imported so that details of errors are known by their names.
DETAILS = error_details_pb2.DESCRIPTOR


def method_of(exchange: Exchange) -> str | None:
    """Id of the method in Google's discovery documents; None for what is not one of Google's APIs."""
    found = _found(exchange)
    return found[1].id if found else None


def _found(exchange: Exchange) -> tuple[Document, Method] | None:
    for verb, path, found in _methods():
        if verb == exchange.verb and path.fullmatch(exchange.path):
            return found
    return None


@functools.cache
def _methods() -> list[tuple[str, re.Pattern[str], tuple[Document, Method]]]:
    """Verb, form of the path, and method, of all that the local cloud offers."""
    found = []
    for api in APIS:
        document = discovery.load(api.document)
        for name in api.handlers:
            method = document.methods[name]
            path = re.compile(re.sub(r"\\{\w+\\}", "[^/:]+", re.escape(method.path)))
            found.append((method.http_method, path, (document, method)))
    return found


def wrong(exchange: Exchange) -> Iterator[str]:
    """What is wrong with an exchange; nothing for the local cloud's own paths and its token endpoint.

    A request that was refused may be as wrong as it likes: its refusal is what counts.
    """
    found = _found(exchange)
    if found is None:
        return
    document, method = found
    if 200 <= exchange.status < 300 or not exchange.status:
        _, violations = document.parse_query(method, exchange.query)
        body = json.loads(exchange.request or "{}")
        violations += document.request_violations(method, document.accept(method, body))
        yield from (f"request: {violation}" for violation in violations)
        yield from _unlike_message(method, method.request, body)
    if 200 <= exchange.status < 300:
        answer = json.loads(exchange.answer)
        yield from (f"answer: {violation}" for violation in document.response_violations(method, answer))
        yield from _unlike_message(method, method.response, answer)
    elif exchange.status:
        yield from _no_error(exchange)


def judge(exchanges: Iterable[Exchange]) -> None:
    """AssertionError that names every exchange with which something is wrong."""
    found = [f"{exchange}: {problem}" for exchange in exchanges for problem in wrong(exchange)]
    assert not found, "\n".join(found)


def known(value: Any) -> Any:
    """A message without the fields that google-cloud-tpu does not know yet."""
    if isinstance(value, list):
        return [known(item) for item in value]
    if isinstance(value, dict):
        return {key: known(item) for key, item in value.items() if key not in NEWER}
    return value


def _unlike_message(method: Method, schema: str | None, body: Any) -> Iterator[str]:
    """Why a message of the TPU API is not the protocol buffer that it should be."""
    if schema is None or not method.id.startswith("tpu."):
        return
    packages = (package for package in _PACKAGES if hasattr(package, schema))
    kind = getattr(tpu_v2, schema).pb() if hasattr(tpu_v2, schema) else getattr(next(packages), schema)
    try:
        json_format.ParseDict(known(body), kind(), ignore_unknown_fields=False)
    except json_format.ParseError as error:
        yield f"{schema} by its protocol buffer: {error}"


def _no_error(exchange: Exchange) -> Iterator[str]:
    """Why an answer is no error of Google's: a google.rpc.Status, its name, and the older list of causes."""
    try:
        error = json.loads(exchange.answer)["error"]
        status = CODES[error["status"]]
        if (error["code"], exchange.status) != (status[1], status[1]):
            yield f"error: {error['status']} with {error['code']} in an answer of {exchange.status}"
        if unknown := error.keys() - {"code", "message", "status", "errors", "details"}:
            yield f"error: unknown fields {unknown}"
        for cause in error["errors"]:
            if cause.keys() != {"message", "domain", "reason"}:
                yield f"error: a cause has {set(cause)}"
        rpc = {"code": status[0], "message": error["message"], "details": error.get("details", [])}
        json_format.ParseDict(rpc, status_pb2.Status(), ignore_unknown_fields=False)
    except (ValueError, KeyError, TypeError, json_format.ParseError) as problem:
        yield f"error: {problem!r}"
