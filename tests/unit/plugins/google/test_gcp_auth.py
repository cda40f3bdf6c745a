# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import requests
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.doc_fragments.gcp import ModuleDocFragment
from ansible_collections.tpuops.maxtext.plugins.module_utils import arguments
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.auth import AuthSettings
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    InvalidArgument,
    TransportError,
    Unauthenticated,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth.crypt.rsa import RSASigner

from .conftest import Api

GET = "GET tpu/v2/x"
JSON = {"Content-Type": "application/json"}
JWT = {"assertion": ANY, "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}


@pytest.fixture(scope="module")
def key_file() -> str:
    """What Google gives for a service account, with a key made here."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "client_email": "robot@my-project.iam.gserviceaccount.com",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


def token(value: str) -> dict[str, Any]:
    return {"access_token": value, "expires_in": 3600, "token_type": "Bearer"}


def used(api: Api) -> list[str]:
    """The tokens that the API has seen."""
    return [request.headers["Authorization"] for request in api.sent if "Authorization" in request.headers]


def test_a_service_accounts_file_gives_one_token_for_all_calls(
    api: Api, key_file: str, tmp_path: Path
) -> None:
    path = tmp_path / "key.json"
    path.write_text(key_file)
    api.on("POST oauth2/token", token("first"), body=JWT).on(GET).on(GET)
    client = Client(AuthSettings(kind="serviceaccount", service_account_file=str(path)))
    client.get("tpu", "v2/x")
    client.get("tpu", "v2/x")
    assert used(api) == ["Bearer first"] * 2


@pytest.mark.parametrize("parsed", [False, True])
def test_its_contents_and_another_token_server(api: Api, key_file: str, parsed: bool) -> None:
    contents = json.loads(key_file) if parsed else key_file
    api.on("POST local/token", token("first"), body=JWT).on(GET)
    settings = AuthSettings(
        kind="serviceaccount", service_account_contents=contents, token_uri="http://local.test/token"
    )
    Client(settings).get("tpu", "v2/x")
    assert used(api) == ["Bearer first"]


def test_a_key_is_checked_once_in_a_process_and_its_forks(
    api: Api, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That takes more of a core than what is asked of Google. Tokens and scopes are each client's."""
    read: list[str] = []
    original = RSASigner.from_string

    def counted(key: str, key_id: str) -> Any:
        read.append(key_id)
        return original(key, key_id)

    monkeypatch.setattr(RSASigner, "from_string", counted)
    text = json.dumps({**json.loads(key_file), "client_email": "often@x"})
    for number, scopes in enumerate([("a",), ("b",)]):
        settings = AuthSettings(kind="serviceaccount", service_account_contents=text, scopes=scopes)
        api.on("POST oauth2/token", token(f"token-{number}"), body=JWT).on(GET)
        client = Client(settings)
        client.get("tpu", "v2/x")
        assert (client.email, client._auth._credentials.scopes) == ("often@x", scopes)
    assert used(api) == ["Bearer token-0", "Bearer token-1"]
    assert read == ["1"]


def test_a_refused_token_is_renewed_once(api: Api, key_file: str) -> None:
    client = Client(AuthSettings(kind="serviceaccount", service_account_contents=key_file))
    api.on("POST oauth2/token", token("first"), body=JWT).error(GET, 401, "UNAUTHENTICATED")
    api.on("POST oauth2/token", token("second"), body=JWT).on(GET, {"ok": True})
    assert client.get("tpu", "v2/x") == {"ok": True}
    assert used(api) == ["Bearer first", "Bearer second"]

    api.error(GET, 401, "UNAUTHENTICATED", "still no")
    api.on("POST oauth2/token", token("third"), body=JWT).error(GET, 401, "UNAUTHENTICATED", "still no")
    with pytest.raises(Unauthenticated, match="still no"):
        client.get("tpu", "v2/x")


@pytest.mark.parametrize("status", [429, 503])
def test_a_token_endpoint_that_is_busy_is_asked_again(api: Api, key_file: str, status: int) -> None:
    client = Client(AuthSettings(kind="serviceaccount", service_account_contents=key_file))
    for _ in range(3):  # as often as google-auth itself asks
        api.error("POST oauth2/token", status, "UNAVAILABLE", body=JWT)
    api.on("POST oauth2/token", token("first"), body=JWT).on(GET, {"ok": True})
    assert client.get("tpu", "v2/x") == {"ok": True}


def test_refused_credentials_are_not_tried_again(api: Api, key_file: str) -> None:
    client = Client(AuthSettings(kind="serviceaccount", service_account_contents=key_file))
    api.on("POST oauth2/token", {"error": "invalid_grant"}, status=400, body=JWT)
    with pytest.raises(Unauthenticated, match=r"credentials do not work: .*invalid_grant"):
        client.get("tpu", "v2/x")


def test_the_machines_account_asks_the_metadata_server(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from google.auth.compute_engine import _metadata

    # google-auth reads GCE_METADATA_HOST once, when it is imported.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", "meta.test")
    account = "/computeMetadata/v1/instance/service-accounts"
    api.on(
        f"GET meta{account}/default/", {"email": "x", "scopes": []}, query={"recursive": "true"}, headers=JSON
    )
    api.on(f"GET meta{account}/default/token", token("first"), query={"scopes": ANY}, headers=JSON).on(GET)
    Client(AuthSettings(kind="machineaccount")).get("tpu", "v2/x")
    assert used(api) == ["Bearer first"]


def test_application_default_of_a_user_with_another_token_server(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "adc.json"
    user = {"type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": "r"}
    path.write_text(json.dumps(user))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    asked = {"client_id": "id", "client_secret": "s", "refresh_token": "r", "grant_type": "refresh_token"}
    api.on("POST local/token", token("first"), body={**asked, "scope": ANY}).on(GET)
    Client(AuthSettings(token_uri="http://local.test/token")).get("tpu", "v2/x")
    assert used(api) == ["Bearer first"]


def test_application_default_of_a_service_account(
    api: Api, key_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "adc.json"
    path.write_text(key_file)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    api.on("POST local/token", token("first"), body=JWT).on(GET)
    Client(AuthSettings(token_uri="http://local.test/token")).get("tpu", "v2/x")
    api.on("POST oauth2/token", token("second"), body=JWT).on(GET)
    Client(AuthSettings()).get("tpu", "v2/x")
    assert used(api) == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("overridden", [False, True])
def test_application_default_of_an_external_account(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overridden: bool
) -> None:
    """Workload identity federation: another party's token is exchanged for one of Google's."""
    (tmp_path / "subject").write_text("their-token")
    path = tmp_path / "adc.json"
    account = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://theirs.test/v1/token" if overridden else "https://sts.test/v1/token",
        "credential_source": {"file": str(tmp_path / "subject")},
    }
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    exchange = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": account["audience"],
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": "their-token",
        "subject_token_type": account["subject_token_type"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
    }
    api.on("POST sts/v1/token", token("first"), body=exchange).error(GET, 401, "UNAUTHENTICATED")
    api.on("POST sts/v1/token", token("second"), body=exchange).on(GET)
    Client(AuthSettings(token_uri="https://sts.test/v1/token" if overridden else None)).get("tpu", "v2/x")
    assert used(api) == ["Bearer first", "Bearer second"]


def test_no_credentials_at_all(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    for _attempt in range(3):
        api.on("GET 169/", requests.ConnectionError("no such machine"))
    with pytest.raises(Unauthenticated, match=r"Log in again"):
        Client(AuthSettings())


def test_a_token_server_that_refuses_or_is_not_there(api: Api, key_file: str) -> None:
    client = Client(AuthSettings(kind="serviceaccount", service_account_contents=key_file))
    api.on("POST oauth2/token", {"error": "invalid_grant"}, status=400, body=JWT)
    with pytest.raises(Unauthenticated, match="invalid_grant"):
        client.get("tpu", "v2/x")
    for _attempt in range(50):
        api.on("POST oauth2/token", requests.ConnectionError("refused"), body=JWT)
    with pytest.raises(TransportError, match="hands out access tokens"):
        client.get("tpu", "v2/x")
    api.script.clear()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "accesstoken"}, "access_token is empty"),
        ({"kind": "accesstoken", "access_token": "very secret\n"}, "access_token is not a token"),
        ({"kind": "accesstoken", "access_token": "very\nsecret: x"}, "access_token is not a token"),
        ({"kind": "accesstoken", "access_token": "very-secr\u00e9t"}, "access_token is not a token"),
        ({"kind": "serviceaccount"}, "there is no key"),
        (
            {"kind": "serviceaccount", "service_account_file": "/nowhere/key.json"},
            "/nowhere/key.json cannot be read",
        ),
        ({"kind": "serviceaccount", "service_account_contents": "{}"}, "is not the key file"),
        ({"kind": "serviceaccount", "service_account_contents": "[1]"}, "is not the key file"),
        ({"kind": "serviceaccount", "service_account_contents": "very secret"}, "is not the key file"),
        ({"kind": "password"}, "auth_kind is 'password'"),
    ],
)
def test_settings_that_cannot_work(api: Api, settings: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as refusal:
        Client(AuthSettings(**settings))  # type: ignore[arg-type]
    assert "very" not in str(refusal.value)


def test_a_key_file_that_is_no_text_is_named(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(InvalidArgument, match=f"service_account_file {file} is not the key file"):
        Client(AuthSettings(kind="serviceaccount", service_account_file=str(file)))


def test_settings_do_not_print_their_secrets() -> None:
    settings = AuthSettings(kind="accesstoken", access_token="very secret")
    assert "very secret" not in f"{settings} {settings!r}"


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(GcpError, match=f"{sys.executable} -m pip install requests"):
        Client(AuthSettings(kind="accesstoken", access_token="t"))


# Where modules and inventory find the settings


@pytest.mark.parametrize(
    ("variable", "text", "option", "value"),
    [
        ("GCP_AUTH_KIND", "machineaccount", "auth_kind", "machineaccount"),
        ("GCP_SERVICE_ACCOUNT_FILE", "/keys/mine.json", "service_account_file", "/keys/mine.json"),
        ("GCP_SERVICE_ACCOUNT_CONTENTS", '{"a": 1}', "service_account_contents", '{"a": 1}'),
        ("GCP_SERVICE_ACCOUNT_EMAIL", "robot@x", "service_account_email", "robot@x"),
        ("GCP_ACCESS_TOKEN", "t", "access_token", "t"),
        ("GCP_SCOPES", "a,b", "scopes", ("a", "b")),
        ("GCP_PROJECT", "my-project", "project", "my-project"),
    ],
)
def test_the_environment_variables_of_google_cloud_serve(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    text: str,
    option: str,
    value: Any,
) -> None:
    settings: list[AuthSettings] = []
    monkeypatch.setenv(variable, text)
    monkeypatch.setattr(arguments, "Client", lambda auth, *_more: settings.append(auth))
    with patch_module_args({}), pytest.raises(SystemExit):
        run_module(arguments.google({}, lambda module, _client: {"project": module.params["project"]}))
    read = {**vars(settings[0]), **json.loads(capsys.readouterr().out)}
    assert read[option.replace("auth_kind", "kind")] == value
    assert f"E({variable})" in str(yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"][option])
    sources = yaml.safe_load(ModuleDocFragment.INVENTORY)["options"]
    assert sources[option]["env"] == [{"name": variable}]


# Whose the credentials are


def test_the_key_of_a_service_account_tells_its_address(key_file: str) -> None:
    settings = AuthSettings(kind="serviceaccount", service_account_contents=key_file)
    assert Client(settings).email == "robot@my-project.iam.gserviceaccount.com"


def test_an_access_token_does_not_tell_whose_it_is() -> None:
    assert Client(AuthSettings(kind="accesstoken", access_token="x")).email == ""


def test_the_metadata_server_tells_the_address_of_the_machines_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refresh(credentials: Any, _request: Any) -> None:
        credentials._service_account_email = "sa@my-project.iam.gserviceaccount.com"

    monkeypatch.setattr("google.auth.compute_engine.Credentials.refresh", refresh)
    assert Client(AuthSettings(kind="machineaccount")).email == "sa@my-project.iam.gserviceaccount.com"
    named = AuthSettings(kind="machineaccount", service_account_email="other@example.com")
    assert Client(named).email == "other@example.com"


@pytest.mark.parametrize("token_uri", [None, "http://local.test/token"])
@pytest.mark.parametrize("account", ["", "me@example.com"])
def test_a_persons_file_may_tell_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, account: str, token_uri: str | None
) -> None:
    path = tmp_path / "adc.json"
    user = {"type": "authorized_user", "client_id": "id", "client_secret": "s", "refresh_token": "r"}
    path.write_text(json.dumps({**user, "account": account}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    assert Client(AuthSettings(token_uri=token_uri)).email == account
