# SPDX-License-Identifier: GPL-3.0-or-later
"""From an HTTP request to a handler and back: the one place that every call of a Google API passes.

A module of this package makes an `Api` for its discovery document and registers handlers by method id. Path,
query parameters and messages follow from the document; authentication and all checks happen here.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import time
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud import catalog, discovery
from localcloud.discovery import Method
from localcloud.google import oauth
from localcloud.google.errors import ApiError, invalid, invalid_field, service_disabled, unauthenticated
from localcloud.google.faults import Dropped, DroppedError, refusal
from localcloud.json_types import Json

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

log = logging.getLogger(__name__)

#: The name under which faults know an API whose methods start otherwise.
APIS = {"cloudresourcemanager": "resourcemanager"}


class _Segment(Convertor[str]):
    """A path variable that ends before a custom verb (`nodes/NAME:stop`)."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("segment", _Segment())


@dataclass(frozen=True)
class Call:
    """A checked request. path and query: variables by name; principal: email address of the caller."""

    cloud: Cloud
    method: Method
    path: dict[str, str]
    query: dict[str, Any]
    body: Json
    principal: str

    @property
    def project_key(self) -> str:
        """Id or number of the project in the path, under any of the names that the documents use for it."""
        names = ("projectsId", "projectId", "project", "v1Id1")
        return next((self.path[name] for name in names if name in self.path), "")

    @property
    def traits(self) -> dict[str, str]:
        """What faults are limited by."""
        api, _, _ = self.method.id.partition(".")
        zone = self.path.get("locationsId") or self.path.get("zone", "")
        return {"api": APIS.get(api, api), "method": self.method.id, "zone": zone}

    @property
    def project(self) -> catalog.Project:
        """The project in the path."""
        key = self.project_key
        project = catalog.find_project(key)
        if project is None:
            raise ApiError(
                "PERMISSION_DENIED",
                f"Permission denied on resource project {key} (or it may not exist).",
            )
        return project

    def begin(self, api: str, verb: str, parent: str, target: str, **arguments: object) -> Json:
        """Begin the operation that the caller asks for (`Operations.begin`); its record."""
        return self.cloud.operations.begin(
            api, verb, parent, target, user=self.principal, method=self.method.id, **arguments
        )


Handler = Callable[[Call], Json]


@dataclass
class Api:
    """The offered methods of one API.

    document: name of the discovery document; service: the API that a project must have enabled, empty where
    none is needed.
    """

    document: str
    service: str = ""
    handlers: dict[str, Handler] = field(default_factory=dict)

    def method(self, method_id: str) -> Callable[[Handler], Handler]:
        """Register the decorated function as the handler of a method."""

        def register(handler: Handler) -> Handler:
            self.handlers[method_id] = handler
            return handler

        return register

    def routes(self, cloud: Cloud) -> list[Route]:
        document = discovery.load(self.document)
        return [
            Route(
                document.methods[method_id].path.replace("}", ":segment}"),
                self._endpoint(cloud, document.methods[method_id], handler),
                methods=[document.methods[method_id].http_method],
            )
            for method_id, handler in self.handlers.items()
        ]

    def _endpoint(self, cloud: Cloud, method: Method, handler: Handler) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            body = await request.body()
            return await run_in_threadpool(answer, self._run, cloud, method, handler, request, body)

        return endpoint

    def _run(self, cloud: Cloud, method: Method, handler: Handler, request: Request, raw: bytes) -> Json:
        principal = authenticate(cloud, request)
        document = discovery.load(self.document)
        query, violations = document.parse_query(method, request.query_params.multi_items())
        if violations:
            raise invalid(violations)
        body = document.accept(method, _parse_json(raw))
        if violations := document.request_violations(method, body):
            raise invalid(violations)
        call = Call(cloud, method, dict(request.path_params), query, body, principal)
        self._strike(call, request.url.path)
        self._require_service(call)
        response = handler(call)
        if violations := document.response_violations(method, response):
            log.error("%s gave a wrong answer: %s", method.id, violations)
            raise ApiError("INTERNAL", f"The local cloud gave a wrong answer to {method.id}: {violations[0]}")
        if fault := cloud.faults.meet("answer", **call.traits):
            raise DroppedError(fault.name)
        return response

    def _strike(self, call: Call, path: str) -> None:
        """Let armed faults strike a call before it has any effect."""
        if fault := call.cloud.faults.meet("delay", **call.traits):
            time.sleep(fault.seconds or 0.0)
        lost = call.cloud.faults.meet("zone", **call.traits) if call.traits["zone"] not in ("", "-") else None
        if fault := lost or call.cloud.faults.meet("call", **call.traits):
            raise refusal(
                fault,
                service=f"{self.document.partition('.')[0]}.googleapis.com",
                method=call.method.id,
                zone=call.traits["zone"],
                project=call.project if call.project_key else catalog.DEFAULT_PROJECT,
                resource=path.strip("/"),
            )

    def _require_service(self, call: Call) -> None:
        if not self.service:
            return
        project = call.project
        if not call.cloud.service_enabled(project, self.service):
            raise service_disabled(self.service, catalog.SERVICES[self.service], project.number)


def answer(run: Callable[..., Json], *arguments: Any) -> Response:
    """The response to what `run` returns or raises."""
    try:
        return JSONResponse(run(*arguments))
    except DroppedError:
        return Dropped()
    except ApiError as error:
        return JSONResponse(error.body(), error.http_status, headers=error.headers)
    except Exception:
        incident = uuid.uuid4().hex[:8]
        log.exception("incident %s", incident)
        fault = ApiError(
            "INTERNAL", f"Internal error encountered. See `localcloud logs`, incident {incident}."
        )
        return JSONResponse(fault.body(), fault.http_status)


def authenticate(cloud: Cloud, request: Request) -> str:
    """The principal whose token a request carries."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthenticated("is missing required authentication credential", "CREDENTIALS_MISSING")
    principal = cloud.tokens.principal(token) or oauth.self_signed_principal(cloud, token)
    if principal is None:
        raise unauthenticated("had invalid authentication credentials", "ACCESS_TOKEN_EXPIRED")
    return principal


def _parse_json(raw: bytes) -> Any:
    if not raw.strip():
        return {}
    try:
        return json.loads(raw)
    except ValueError as error:
        raise invalid_field("", f"Invalid JSON payload received. {error}") from None


def page(
    call: Call, items: Sequence[tuple[str, Json]], key: str, *, size: str = "pageSize", default: int = 500
) -> Json:
    """One page of a list. items: (name, resource), ordered by name; size: the parameter that limits the page.

    A token is the name after which the next page starts, so that a list that changes meanwhile neither
    repeats nor skips what stays.
    """
    limit = call.query.get(size) or default
    if limit < 0:
        raise invalid_field(size, f"{size} must not be negative: {limit}")
    after = _decode_token(call.query.get("pageToken", ""))
    first = bisect_right(items, after, key=lambda item: item[0])
    chosen = items[first : first + min(limit, 1000)]
    answer: Json = {key: [resource for _, resource in chosen]} if chosen else {}
    if first + len(chosen) < len(items):
        answer["nextPageToken"] = base64.urlsafe_b64encode(chosen[-1][0].encode()).decode()
    return answer


def _decode_token(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid_field("page_token", f"Invalid page token: {token!r}") from None
