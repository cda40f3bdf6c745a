# SPDX-License-Identifier: GPL-3.0-or-later
"""Who am I."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ..requests import known_sender


def whoami(request: Request) -> JSONResponse:
    account = known_sender(request)
    token = {"displayName": f"{account.name} of the local cloud", "role": account.role}
    return JSONResponse(
        {
            "type": "user",
            "id": account.name,
            "name": account.name,
            "fullname": account.name,
            "email": f"{account.name}@localhost",
            "emailVerified": True,
            "isPro": False,
            "canPay": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


ROUTES = [Route("/api/whoami-v2", whoami)]
