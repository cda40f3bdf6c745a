# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that a user armed for the hub, at one place in front of all routes.

A request is known by its route, `module.function` of what handles it, and by the repository in its path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..faults import Fault, Faults
from .errors import HubError, unauthorized

DROP = "localcloud.drop"  # in place of a response: the server closes the connection
INFO = "trees.info"


class HubFaults:
    """Middleware: lets armed faults strike."""

    def __init__(self, app: ASGIApp, *, faults: Faults, routes: Sequence[Route]) -> None:
        self._app = app
        self._faults = faults
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        traits = self._traits(scope)
        if fault := self._faults.meet("hub-delay", **traits):
            await asyncio.sleep(fault.seconds or 0.0)
        if fault := self._faults.meet("hub", **traits):
            if fault.kind == "hub-gated" and traits["route"] == INFO:
                scope.setdefault("state", {})["gated"] = True  # which anyone may know
            else:
                await _read_all(receive)  # a client that still sends would not see the answer
                await refusal(fault, scope).response()(scope, receive, send)
                return
        if fault := self._faults.meet("hub-upload", _announced_size(scope), **traits):
            receive = _breaking_off(receive, send, fault.size or 0)
        if self._faults.meet("hub-answer", **traits):
            send = _losing_the_answer(send)
        await self._app(scope, receive, send)

    def _traits(self, scope: Scope) -> dict[str, str]:
        """What describes a request; nothing of it for one that no route takes."""
        for route in self._routes:
            match, found = route.matches(scope)
            if match == Match.FULL:
                name = f"{route.endpoint.__module__.rpartition('.')[2]}.{route.endpoint.__name__}"
                path = found["path_params"]
                repository = f"{path['namespace']}/{path['name']}" if "namespace" in path else ""
                return {"method": name, "route": name, "repository": repository}
        return {"method": "", "route": "", "repository": ""}


def refusal(fault: Fault, scope: Scope) -> HubError:
    """What a request ends with, worded as the Hub does."""
    match fault.kind:
        case "hub-error-503":
            return HubError(503, "Service Temporarily Unavailable")
        case "hub-rate-limit":
            return _rate_limit(max(1, round(fault.seconds or 0)))
        case "hub-unauthorized":
            return unauthorized()
        case "hub-gated":
            known = "authorization" in Headers(scope=scope)
            message = "Access to this repository is restricted and you are not in the authorized list."
            return HubError(403 if known else 401, message, "GatedRepo")
        case _:
            return HubError(500, "Internal Error - We're working hard to fix this as soon as possible!")


def _rate_limit(seconds: int) -> HubError:
    headers = {
        "Retry-After": str(seconds),
        "RateLimit": f'"api";r=0;t={seconds}',
        "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
    }
    return HubError(429, "We had to rate limit you, you hit the quota of 1000 api requests", headers=headers)


def _announced_size(scope: Scope) -> int:
    """Bytes of the body that a request announces; 0 where it does not."""
    return int(Headers(scope=scope).get("content-length", 0))


async def _read_all(receive: Receive) -> None:
    while (await receive()).get("more_body"):
        pass


def _breaking_off(receive: Receive, send: Send, size: int) -> Receive:
    """Lets `size` bytes of the body through, then closes the connection."""
    left = size

    async def read() -> Message:
        nonlocal left
        message = await receive()
        body = message.get("body", b"")
        if len(body) <= left:
            left -= len(body)
            return message
        await send({"type": DROP})
        return {"type": "http.disconnect"}

    return read


def _losing_the_answer(send: Send) -> Send:
    """Closes the connection where the answer would begin."""

    async def drop(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send({"type": DROP})

    return drop
