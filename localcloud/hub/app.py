# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub as an ASGI application."""

from __future__ import annotations

from uuid import uuid4

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..config import CloudConfig
from ..faults import Faults
from .accounts import Accounts, read_or_make
from .errors import HubError
from .faults import HubFaults
from .paths import RawPaths
from .requests import Hub
from .routes import accounts, commits, files, lfs, repositories, trees, xet
from .store import HubStore
from .xet import XetTokens

PART_SIZE = 64 * 1024 * 1024  # bytes from which an upload goes in parts of that size


def create_app(
    config: CloudConfig, store: HubStore, *, part_size: int = PART_SIZE, faults: Faults | None = None
) -> Starlette:
    """A hub of the accounts in `config.state_dir` (their tokens are made there when missing) over `store`.

    faults: those that a user arms; none strikes where it is not given.
    """
    routes = [
        *accounts.ROUTES,
        *repositories.ROUTES,
        *commits.ROUTES,
        *trees.ROUTES,
        *lfs.ROUTES,
        *xet.ROUTES,
        *files.ROUTES,
    ]
    strikes = [Middleware(HubFaults, faults=faults, routes=routes)] if faults else []
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestIds), Middleware(RawPaths), *strikes],
        exception_handlers={
            HubError: _hub_error,
            HTTPException: _http_error,
            ClientDisconnect: _client_gone,
            Exception: _internal_error,
        },
    )
    app.router.redirect_slashes = False
    xet_tokens = XetTokens(read_or_make(config.state_dir / "hub-key"))
    app.state.hub = Hub(store, Accounts.open(config.state_dir), part_size, xet_tokens)
    return app


class RequestIds:
    """Middleware: every answer carries the id by which a report can name it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = f"Root=1-{uuid4().hex}"
            await send(message)

        await self._app(scope, receive, send_with_id)


async def _hub_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HubError)
    return error.response()


async def _http_error(request: Request, error: Exception) -> Response:
    """No such route, no such method."""
    assert isinstance(error, HTTPException)
    message = (
        "Sorry, we can't find the page you are looking for." if error.status_code == 404 else error.detail
    )
    return JSONResponse({"error": message}, error.status_code, error.headers)


async def _client_gone(request: Request, error: Exception) -> Response:
    """An upload that broke off. Nobody reads this answer, but the log would show a fault of the server."""
    return Response(status_code=400)


async def _internal_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "Internal Error"}, 500)
