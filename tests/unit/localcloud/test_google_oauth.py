# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is let in: the token endpoint, and tokens on every Google route."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt

from localcloud import discovery, server
from localcloud.google import oauth
from tests.unit.localcloud.google_client import LOCATION, FakeMachines, Google


def account(google: Google) -> dict[str, str]:
    content: dict[str, str] = json.loads(google.cloud.credentials.service_account.read_text(encoding="utf-8"))
    return content


def assertion(google: Google, key: str | None = None, **changes: Any) -> str:
    content = account(google)
    now = int(time.time())
    claims = {
        "iss": content["client_email"],
        "aud": oauth.AUDIENCE,
        "iat": now,
        "exp": now + 3600,
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        **changes,
    }
    signer = crypt.RSASigner.from_string(key or content["private_key"], content["private_key_id"])
    return str(jwt.encode(signer, claims).decode())


def request_token(google: Google, status: int = 200, **form: str) -> dict[str, Any]:
    response = google.client.post("/token", data=form)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def use(google: Google, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return int(google.client.get(f"/v2/{LOCATION}/nodes", headers=headers).status_code)


def test_a_service_account_gets_a_token(enabled: Google) -> None:
    answer = request_token(enabled, grant_type=oauth.JWT_BEARER, assertion=assertion(enabled))
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert use(enabled, answer["access_token"]) == 200


def test_the_token_uri_is_an_audience_too(enabled: Google) -> None:
    signed = assertion(enabled, aud=account(enabled)["token_uri"])
    assert "access_token" in request_token(enabled, grant_type=oauth.JWT_BEARER, assertion=signed)


@pytest.mark.parametrize(
    "changes",
    [{"iss": "stranger@example.com"}, {"aud": "https://example.com"}, {"iat": 1, "exp": 2}],
    ids=["issuer", "audience", "expired"],
)
def test_wrong_claims_are_refused(enabled: Google, changes: dict[str, Any]) -> None:
    signed = assertion(enabled, **changes)
    error = request_token(enabled, 400, grant_type=oauth.JWT_BEARER, assertion=signed)
    assert error["error"] == "invalid_grant"


def test_another_key_is_refused(enabled: Google) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signed = assertion(enabled, key.decode())
    error = request_token(enabled, 400, grant_type=oauth.JWT_BEARER, assertion=signed)
    assert error["error"] == "invalid_grant"


@pytest.mark.parametrize("text", ["", "a.b.c", "nonsense"])
def test_what_is_no_assertion_is_refused(enabled: Google, text: str) -> None:
    error = request_token(enabled, 400, grant_type=oauth.JWT_BEARER, assertion=text)
    assert error["error"] == "invalid_grant"


def test_a_user_gets_a_token_for_a_refresh_token(enabled: Google) -> None:
    refresh = enabled.cloud.credentials.refresh_token()
    answer = request_token(enabled, grant_type="refresh_token", refresh_token=refresh, scope="s")
    assert answer["scope"] == "s"
    assert use(enabled, answer["access_token"]) == 200
    error = request_token(enabled, 400, grant_type="refresh_token", refresh_token="other")
    assert error["error"] == "invalid_grant"


def test_other_grants_are_not_offered(google: Google) -> None:
    assert request_token(google, 400, grant_type="password")["error"] == "unsupported_grant_type"
    assert request_token(google, 400)["error"] == "unsupported_grant_type"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"aud": "https://tpu.googleapis.com/", "scope": ""}, 200),
        ({"aud": "", "scope": "https://www.googleapis.com/auth/cloud-platform"}, 200),
        ({"aud": "https://example.com/", "scope": ""}, 401),
        ({"sub": "stranger@example.com"}, 401),
        ({"iat": 1, "exp": 2}, 401),
    ],
    ids=["service", "scope", "elsewhere", "stranger", "expired"],
)
def test_a_service_account_may_sign_for_itself(enabled: Google, changes: dict[str, Any], status: int) -> None:
    """As Google's generated clients do (AIP-4111)."""
    claims = {"sub": account(enabled)["client_email"], **changes}
    assert use(enabled, assertion(enabled, **claims)) == status


def test_tokens_expire(enabled: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    token = enabled.cloud.tokens.issue("someone@example.com", lifetime=60)
    assert use(enabled, token) == 200
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 61)
    assert use(enabled, token) == 401
    assert use(enabled, enabled.cloud.credentials.access_token.read_text(encoding="utf-8")) == 200
    enabled.cloud.tokens.forget_expired()
    assert len(enabled.cloud.store.items("token")) == 1


def test_tokens_outlive_the_server(enabled: Google, open_google: Callable[[FakeMachines], Google]) -> None:
    token = enabled.cloud.tokens.issue("someone@example.com")
    assert use(open_google(enabled.machines), token) == 200


def test_tokens_are_not_stored(enabled: Google) -> None:
    token = enabled.cloud.tokens.issue("someone@example.com")
    files = [path for path in enabled.cloud.config.state_dir.iterdir() if path.name.startswith("state.db")]
    assert files
    assert all(token.encode() not in path.read_bytes() for path in files)


def routes() -> list[tuple[str, str]]:
    """Every Google route: (method, path with made-up variables)."""
    found = []
    for api in server.APIS:
        document = discovery.load(api.document)
        for method_id in api.handlers:
            method = document.methods[method_id]
            path = method.path.replace("{v1Id}", "projects")
            found.append((method.http_method, path.replace("{", "").replace("}", "")))
    return found


@pytest.mark.parametrize(("method", "path"), routes())
def test_every_route_needs_a_token(google: Google, method: str, path: str) -> None:
    for authorization, reason in (
        ({"Authorization": ""}, "CREDENTIALS_MISSING"),
        ({"Authorization": "Basic abc"}, "CREDENTIALS_MISSING"),
        ({"Authorization": "Bearer unknown"}, "ACCESS_TOKEN_EXPIRED"),
    ):
        response = google.client.request(method, path, headers=authorization)
        assert response.status_code == 401, path
        error = response.json()["error"]
        assert (error["status"], error["errors"][0]["reason"]) == ("UNAUTHENTICATED", "authError")
        assert error["details"][0]["reason"] == reason
        assert response.headers["WWW-Authenticate"].startswith("Bearer ")
