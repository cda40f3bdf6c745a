# SPDX-License-Identifier: GPL-3.0-or-later
"""Path parameters of the routes.

A branch may hold a slash, which clients send as %2F: so paths are matched as they were sent.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from .names import RepoType


class _Segment(Convertor[str]):
    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return unquote(value)

    def to_string(self, value: str) -> str:
        return value


class _Rest(_Segment):
    regex = ".+"


class _GitName(_Segment):
    """A name as git remotes have it."""

    regex = r"[^/]+\.git"

    def convert(self, value: str) -> str:
        return unquote(value).removesuffix(".git")


class _Kind(Convertor[RepoType]):
    """The word for the type of repository in paths."""

    regex = "models|datasets"

    def convert(self, value: str) -> RepoType:
        return "model" if value == "models" else "dataset"

    def to_string(self, value: RepoType) -> str:
        return f"{value}s"


register_url_convertor("segment", _Segment())
register_url_convertor("rest", _Rest())
register_url_convertor("gitname", _GitName())
register_url_convertor("kind", _Kind())

API = "/api/{kind:kind}/{namespace:segment}/{name:segment}"
PAGES = ("/{kind:kind}/{namespace:segment}", "/{namespace:segment}")  # models stand without a kind


class RawPaths:
    """Middleware: routes see the path as it came, still quoted."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].partition(b"?")[0].decode("ascii", "replace")}
        await self._app(scope, receive, send)
