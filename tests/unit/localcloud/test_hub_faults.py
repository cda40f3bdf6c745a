# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hub answers while an armed fault strikes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.localcloud.hub_client import API, REPO, HubClient


@pytest.fixture
def hub(tmp_path: Path) -> HubClient:
    client = HubClient(tmp_path)
    client.create()
    client.add({"a.txt": b"a"})
    return client


@pytest.mark.parametrize(
    ("kind", "status"), [("hub-error-500", 500), ("hub-error-503", 503), ("hub-unauthorized", 401)]
)
def test_a_refusal_strikes_as_often_as_asked(hub: HubClient, kind: str, status: int) -> None:
    hub.faults.arm(kind, {}, count=2)
    assert [hub.get(API).status_code for _ in range(3)] == [status, status, 200]


def test_a_rate_limit_says_when_to_come_again(hub: HubClient) -> None:
    hub.faults.arm("hub-rate-limit", {}, count=1, seconds=7)
    headers = hub.get(API).headers
    assert headers["Retry-After"] == "7"
    assert headers["RateLimit"] == '"api";r=0;t=7'


def test_a_fault_is_limited_by_route_and_repository(hub: HubClient) -> None:
    hub.create("local/other")
    hub.faults.arm("hub-error-503", {"route": "commits.*", "repository": REPO})
    assert hub.get(API).status_code == 200
    assert hub.commit().status_code == 503
    assert hub.commit(api="/api/models/local/other").status_code == 200


def test_a_refused_request_has_no_effect(hub: HubClient) -> None:
    before = hub.get(API).json()["sha"]
    hub.faults.arm("hub-error-500", {"route": "commits.commit"}, count=1)
    assert hub.commit({"key": "deletedFile", "value": {"path": "a.txt"}}).status_code == 500
    assert hub.get(API).json()["sha"] == before


def test_a_gated_repository_shows_itself_but_not_its_files(hub: HubClient) -> None:
    assert hub.get(API).json()["gated"] is False
    hub.faults.arm("hub-gated", {"repository": REPO})
    assert hub.get(API).json()["gated"] == "manual"
    for path in (f"/{REPO}/resolve/main/a.txt", f"{API}/auth-check"):
        response = hub.get(path)
        assert (response.status_code, response.headers["X-Error-Code"]) == (403, "GatedRepo")
    hub.faults.clear()
    assert hub.get(f"/{REPO}/resolve/main/a.txt").content == b"a"


def test_auth_check_asks_for_read_or_write(hub: HubClient) -> None:
    assert hub.get(f"{API}/auth-check/write").status_code == 200
    assert hub.get(f"{API}/auth-check", headers=hub.reader).status_code == 200
    assert hub.get(f"{API}/auth-check/write", headers=hub.reader).status_code == 403
