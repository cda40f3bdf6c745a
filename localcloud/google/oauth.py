# SPDX-License-Identifier: GPL-3.0-or-later
"""The OAuth token endpoint: service accounts (signed assertions) and users (refresh tokens)."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from google.auth import exceptions, jwt
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.catalog import DEFAULT_PROJECT
from localcloud.credentials import TOKEN_LIFETIME, USER
from localcloud.google.errors import ApiError
from localcloud.google.faults import Dropped, DroppedError, refusal

if TYPE_CHECKING:
    from localcloud.cloud import Cloud

#: What google-auth puts into an assertion, whatever the token URI of the key file.
AUDIENCE = "https://oauth2.googleapis.com/token"
#: The name under which faults know a token request; Google has no document of it.
METHOD = "oauth.token"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class OAuthError(Exception):
    """A refusal as RFC 6749, section 5.2 words it."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.body = {"error": error, "error_description": description}


def routes(cloud: Cloud) -> list[Route]:
    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            return JSONResponse(await run_in_threadpool(_faulty_grant, cloud, form))
        except OAuthError as error:
            return JSONResponse(error.body, 400)
        except ApiError as error:
            return JSONResponse(error.body(), error.http_status, headers=error.headers)
        except DroppedError:
            return Dropped()

    return [Route("/token", token, methods=["POST"])]


def _faulty_grant(cloud: Cloud, form: Mapping[str, str]) -> dict[str, Any]:
    """`grant`, with what armed faults do to it. What they refuse is refused as this endpoint does it."""
    traits = {"api": "oauth", "method": METHOD, "zone": ""}
    if fault := cloud.faults.meet("delay", **traits):
        time.sleep(fault.seconds or 0.0)
    if fault := cloud.faults.meet("call", **traits):
        if fault.kind in ("permission", "service-disabled", "unauthorized"):
            raise OAuthError("invalid_grant", "Account has been disabled or deleted.")
        raise refusal(
            fault,
            service="oauth2.googleapis.com",
            method=METHOD,
            zone="",
            project=DEFAULT_PROJECT,
            resource="token",
        )
    answer = grant(cloud, form)
    if fault := cloud.faults.meet("answer", **traits):
        raise DroppedError(fault.name)
    return answer


def grant(cloud: Cloud, form: Mapping[str, str]) -> dict[str, Any]:
    """The answer to a token request."""
    grants: dict[str, Callable[[Cloud, Mapping[str, str]], str]] = {
        JWT_BEARER: _service_account,
        "refresh_token": _user,
    }
    kind = form.get("grant_type", "")
    if kind not in grants:
        raise OAuthError("unsupported_grant_type", f"Invalid grant_type: {kind}")
    return token_answer(cloud, grants[kind](cloud, form), form.get("scope", ""))


def token_answer(cloud: Cloud, principal: str, scope: str = "") -> dict[str, Any]:
    """A new access token in the form of the token endpoint and of the metadata server."""
    answer = {
        "access_token": cloud.tokens.issue(principal),
        "expires_in": TOKEN_LIFETIME,
        "token_type": "Bearer",
    }
    return {**answer, "scope": scope} if scope else answer


def _service_account(cloud: Cloud, form: Mapping[str, str]) -> str:
    audiences = [AUDIENCE, cloud.credentials.token_uri]
    try:
        claims = jwt.decode(form.get("assertion", ""), certs=cloud.service_account_key, audience=audiences)
    except (ValueError, exceptions.GoogleAuthError) as error:
        raise OAuthError("invalid_grant", f"Invalid JWT: {error}") from None
    if claims.get("iss") != cloud.service_account:
        raise OAuthError("invalid_grant", "Invalid grant: account not found")
    return cloud.service_account


def self_signed_principal(cloud: Cloud, token: str) -> str | None:
    """Whose a JWT is that a service account signed itself instead of asking for a token; None for others.

    Google's generated clients send such ones (AIP-4111). Google takes them when they are meant for one of its
    services or name scopes.
    """
    try:
        claims = jwt.decode(token, certs=cloud.service_account_key)
    except (ValueError, exceptions.GoogleAuthError):
        return None
    audience = urlsplit(str(claims.get("aud", ""))).hostname or ""
    meant_for_google = audience.endswith(".googleapis.com") or bool(claims.get("scope"))
    known = claims.get("iss") == claims.get("sub") == cloud.service_account
    alive = not cloud.tokens.signed_too_early(float(claims["iat"]))
    return cloud.service_account if known and meant_for_google and alive else None


def _user(cloud: Cloud, form: Mapping[str, str]) -> str:
    if not hmac.compare_digest(form.get("refresh_token", ""), cloud.credentials.refresh_token()):
        raise OAuthError("invalid_grant", "Token has been expired or revoked.")
    return USER
