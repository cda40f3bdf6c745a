# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals, worded and coded as the Hub does: clients turn `X-Error-Code` into their own exceptions."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse


class HubError(Exception):
    """What a client is told: a status, a message, and for the cases that clients tell apart a code."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = dict(details or {})  # further members of the JSON body
        self.headers = {**(headers or {}), "X-Error-Message": _header_text(message)}
        if code:
            self.headers["X-Error-Code"] = code

    def response(self) -> JSONResponse:
        return JSONResponse({"error": self.message, **self.details}, self.status, self.headers)


def _header_text(message: str) -> str:
    """A header holds one line of ASCII, whatever a path or a name brought into the message."""
    return " ".join(message.split()).encode("ascii", "backslashreplace").decode()


def bad_request(message: str) -> HubError:
    return HubError(400, message)


def forbidden(message: str) -> HubError:
    return HubError(403, message)


def unauthorized(code: str | None = None) -> HubError:
    return HubError(401, "Invalid username or password.", code)


def repository_not_found() -> HubError:
    return HubError(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str, revision: str) -> HubError:
    return HubError(404, f'{path} does not exist on "{revision}"', "EntryNotFound")
