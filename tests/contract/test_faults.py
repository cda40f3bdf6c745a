# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults as commands arm them in a server that runs, and as clients meet them there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account

from tests.contract.conftest import Description, localcloud

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


@pytest.fixture
def command(cloud: Description) -> Iterator[Callable[..., str]]:
    """Runs a command of the cloud; no fault is armed afterwards."""

    def run(*arguments: str) -> str:
        return localcloud(Path(cloud["state_dir"]), *arguments)

    yield run
    run("fault", "clear")


@pytest.fixture
def session(cloud: Description) -> AuthorizedSession:
    credentials = service_account.Credentials.from_service_account_file(
        cloud["service_account_file"], scopes=SCOPES, always_use_jwt_access=True
    )
    return AuthorizedSession(credentials)


@pytest.fixture
def services(cloud: Description) -> str:
    return f"{cloud['endpoints']['serviceusage']}/v1/projects/{cloud['project']}/services"


def test_faults_are_armed_listed_and_cleared(
    cloud: Description, command: Callable[..., str], session: AuthorizedSession, services: str
) -> None:
    line = command("fault", "error-503", "--api", "serviceusage", "--method", "*.list", "--count", "1")
    assert line.split() == [line.split()[0], "error-503", "api=serviceusage", "method=*.list", "left=1"]
    assert command("fault", "list") == line
    assert json.loads(command("status", "--json"))["faults"][0]["kind"] == "error-503"
    assert session.get(f"{services}/tpu.googleapis.com").status_code == 200
    assert [session.get(services).status_code for _ in range(2)] == [503, 200]
    assert command("fault", "list") == ""
    command("fault", "error-500")
    command("fault", "clear", "error-500")
    assert session.get(services).status_code == 200


def test_a_lost_answer_is_a_closed_connection_and_the_write_stays(
    command: Callable[..., str], session: AuthorizedSession, services: str
) -> None:
    service = f"{services}/storage.googleapis.com"
    for kind, state in (("drop-before", "DISABLED"), ("drop", "ENABLED")):
        command("fault", kind, "--method", "*.enable", "--count", "1")
        with pytest.raises(requests.ConnectionError):
            session.post(f"{service}:enable")
        assert session.get(service).json()["state"] == state
    assert session.post(f"{service}:disable", json={}).status_code == 200


def test_expired_tokens_are_refreshed(cloud: Description, command: Callable[..., str], services: str) -> None:
    file = Path(cloud["access_token_file"])
    static = {"Authorization": f"Bearer {file.read_text()}"}
    credentials = service_account.Credentials.from_service_account_file(
        cloud["service_account_file"], scopes=SCOPES
    )
    session = AuthorizedSession(credentials)
    assert session.get(services).status_code == 200
    old = credentials.token
    command("token", "expire")
    assert requests.get(services, headers=static, timeout=30).status_code == 401
    assert session.get(services).status_code == 200
    assert credentials.token != old
    renewed = {"Authorization": f"Bearer {file.read_text()}"}
    assert requests.get(services, headers=renewed, timeout=30).status_code == 200
