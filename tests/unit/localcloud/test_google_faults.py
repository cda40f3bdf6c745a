# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients meet while faults are armed, and how commands reach the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from localcloud import discovery
from localcloud.faults import WRITES
from localcloud.google import serviceusage
from localcloud.google.oauth import self_signed_principal
from localcloud.server import APIS, DROP, google_application
from tests.unit.localcloud.google_client import LOCATION, PROJECT, ZONE, ZONE_PATH, FakeMachines, Google

NODES = f"/v2/{LOCATION}/nodes"
NAME = f"{LOCATION}/nodes/tpu-v5e-8"
BODY = {"acceleratorType": "v5litepod-8", "runtimeVersion": "v2-alpha-tpuv5-lite"}


@pytest.mark.parametrize(
    ("kind", "http", "status", "reason"),
    [
        ("error-500", 500, "INTERNAL", None),
        ("error-503", 503, "UNAVAILABLE", None),
        ("rate-limit", 429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"),
        ("permission", 403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED"),
        ("service-disabled", 403, "PERMISSION_DENIED", "SERVICE_DISABLED"),
        ("unauthorized", 401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED"),
        ("quota", 429, "RESOURCE_EXHAUSTED", None),
        ("location", 403, "PERMISSION_DENIED", None),
        ("not-found", 404, "NOT_FOUND", None),
        ("conflict", 409, "ALREADY_EXISTS", None),
        ("precondition", 400, "FAILED_PRECONDITION", None),
    ],
)
def test_a_call_is_refused_once_and_has_no_effect(
    enabled: Google, kind: str, http: int, status: str, reason: str | None
) -> None:
    enabled.cloud.faults.arm(kind, {}, count=1)
    error = enabled.error("POST", NODES, BODY, http, nodeId="tpu-v5e-8")
    assert error["status"] == status
    reasons = [detail["reason"] for detail in error.get("details", []) if "reason" in detail]
    assert reasons == ([reason] if reason else [])
    assert enabled.call("GET", NODES) == {}
    enabled.create_node()


def test_a_rate_limit_says_when_to_come_again(enabled: Google) -> None:
    enabled.cloud.faults.arm("rate-limit", {}, seconds=3.0)
    assert enabled.client.get(NODES).headers["Retry-After"] == "3"


def test_a_missing_permission_is_named(enabled: Google) -> None:
    enabled.cloud.faults.arm("permission", {"method": "*.nodes.create"})
    assert enabled.call("GET", NODES) == {}
    message = enabled.error("POST", NODES, BODY, 403, nodeId="a")["message"]
    assert message.startswith(
        f"Permission 'tpu.nodes.create' denied on resource '//tpu.googleapis.com/v2/{LOCATION}"
    )


def test_what_is_missing_is_named(enabled: Google) -> None:
    enabled.cloud.faults.arm("location", {}, count=1)
    message = enabled.error("GET", NODES, status=403)["message"]
    assert message == f"Location {ZONE} is not found or access is unauthorized."
    enabled.cloud.faults.arm("not-found", {}, count=2)
    assert enabled.error("GET", f"/v2/{NAME}", status=404)["message"] == f"Resource '{NAME}' was not found"
    disk = f"{ZONE_PATH}/disks/data"
    message = enabled.error("GET", f"/compute/v1/{disk}", status=404)["message"]
    assert message == f"The resource '{disk}' was not found"


def test_what_is_under_way_is_in_the_way_of_a_change_and_of_no_read(enabled: Google) -> None:
    enabled.create_node()
    enabled.cloud.faults.arm("conflict", {})
    enabled.call("GET", f"/v2/{NAME}")
    error = enabled.error("POST", f"/v2/{NAME}:stop", {}, 409)
    assert (error["status"], error["errors"][0]["reason"]) == ("ABORTED", "aborted")
    enabled.cloud.faults.clear()
    enabled.cloud.faults.arm("precondition", {})
    enabled.call("GET", f"/v2/{NAME}")
    error = enabled.error("DELETE", f"/v2/{NAME}")
    assert error["errors"][0]["reason"] == "failedPrecondition"


def test_every_method_that_changes_something_is_known_as_one() -> None:
    """But for what only asks, and for operations, which are not what modules change."""
    changing = {
        method
        for api in APIS
        for method in api.handlers
        if discovery.load(api.document).methods[method].http_method != "GET"
        and not method.endswith((".getGuestAttributes", ".zoneOperations.wait"))
        and ".operations." not in method
    }
    known = {method for method in changing if any(fnmatchcase(method, form) for form in WRITES)}
    assert changing == known


@pytest.mark.parametrize("api", ["tpu", "compute", "serviceusage", "resourcemanager", "oslogin"])
def test_a_fault_can_be_limited_to_an_api(enabled: Google, api: str) -> None:
    paths = {
        "tpu": NODES,
        "compute": f"/compute/v1/projects/local-tpu-project/zones/{ZONE}/disks",
        "serviceusage": "/v1/projects/local-tpu-project/services",
        "resourcemanager": "/v3/projects/local-tpu-project",
        "oslogin": "/v1/users/user@localcloud.example/loginProfile",
    }
    enabled.cloud.faults.arm("error-503", {"api": api})
    for name, path in paths.items():
        assert enabled.client.get(path).status_code == (503 if name == api else 200)


def test_a_slow_call_is_answered(enabled: Google) -> None:
    enabled.cloud.faults.arm("slow", {}, seconds=0.2)
    start = time.monotonic()
    enabled.call("GET", NODES)
    assert time.monotonic() - start >= 0.2


class DroppedError(Exception):
    """What a test sees of a closed connection."""


def dropping(google: Google) -> TestClient:
    """A client whose connections a fault can close."""
    application = google_application(google.cloud, google.work)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == DROP:
                raise DroppedError
            await send(message)

        await application(scope, receive, watch)

    return TestClient(watched, headers=dict(google.client.headers))


@pytest.mark.parametrize(("kind", "made"), [("drop", True), ("drop-before", False)])
def test_a_lost_answer_differs_from_a_lost_call(enabled: Google, kind: str, made: bool) -> None:
    enabled.cloud.faults.arm(kind, {"method": "*.nodes.create"}, count=1)
    with pytest.raises(DroppedError):
        dropping(enabled).post(NODES, json=BODY, params={"nodeId": "a"})
    assert bool(enabled.call("GET", NODES)) is made


# ---- operations


def test_a_stuck_operation_ends_when_it_is_cleared(enabled: Google) -> None:
    enabled.cloud.faults.arm("stuck-operation", {}, count=1)
    operation = enabled.begin_node()
    assert enabled.cloud.operations.wait(operation["name"], 0.2) is not None
    assert enabled.call("GET", f"/v2/{operation['name']}")["done"] is False
    enabled.create_node("other")
    enabled.cloud.faults.clear()
    assert enabled.finish(operation)["response"]["state"] == "READY"


def test_a_stuck_operation_is_stuck_after_a_restart(
    enabled: Google, open_google: Callable[[FakeMachines], Google]
) -> None:
    enabled.cloud.faults.arm("stuck-operation", {}, count=1)
    operation = enabled.begin_node()
    enabled.cloud.operations.wait(operation["name"], 0.2)
    enabled.cloud.operations.close()
    successor = open_google(FakeMachines())
    successor.cloud.operations.resume()
    record = successor.cloud.operations.wait(operation["name"], 0.2)
    assert record is not None
    assert record["done"] is False
    successor.cloud.faults.clear()
    assert successor.finish(operation)["response"]["state"] == "READY"


def test_a_stuck_creation_can_be_deleted(enabled: Google) -> None:
    enabled.cloud.faults.arm("stuck-operation", {"method": "*.nodes.create"})
    operation = enabled.begin_node()
    enabled.finish(enabled.call("DELETE", f"/v2/{NAME}"))
    assert enabled.finish(operation)["error"]["code"] == 1
    assert enabled.call("GET", NODES) == {}


def test_a_failing_creation_leaves_nothing(enabled: Google) -> None:
    enabled.cloud.faults.arm("failing-operation", {}, count=1)
    assert enabled.finish(enabled.begin_node())["error"]["code"] == 13
    assert enabled.call("GET", NODES) == {}
    enabled.create_node()


@pytest.mark.parametrize(
    ("method", "path", "state"),
    [("DELETE", f"/v2/{NAME}", "READY"), ("POST", f"/v2/{NAME}:stop", "READY")],
)
def test_a_failing_operation_leaves_the_node_as_it_was(
    enabled: Google, method: str, path: str, state: str
) -> None:
    enabled.create_node()
    enabled.cloud.faults.arm("failing-operation", {}, count=1)
    request: Any = None if method == "DELETE" else {}
    assert enabled.finish(enabled.call(method, path, request))["error"]["code"] == 13
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == state
    assert "error" not in enabled.finish(enabled.call(method, path, request))


def test_a_failing_disk_operation_is_an_error(enabled: Google) -> None:
    enabled.cloud.faults.arm("failing-operation", {"api": "compute"}, count=1)
    zone = f"/compute/v1/projects/local-tpu-project/zones/{ZONE}"
    operation = enabled.call("POST", f"{zone}/disks", {"name": "data", "sizeGb": "10"})
    done = enabled.call("POST", f"{zone}/operations/{operation['name']}/wait")
    assert done["error"]["errors"]
    enabled.error("GET", f"{zone}/disks/data", status=404)
    enabled.create_disk()


def test_a_disk_has_a_quota_and_a_pool_of_its_own(enabled: Google) -> None:
    zone = f"/compute/v1/projects/local-tpu-project/zones/{ZONE}"
    body = {"name": "data", "sizeGb": "10"}
    for kind in ("disk-quota", "disk-stockout"):
        enabled.cloud.faults.arm(kind, {"zone": ZONE}, count=1)
    enabled.create_node()
    refused = enabled.error("POST", f"{zone}/disks", body, 403)
    assert refused["errors"][0]["reason"] == "quotaExceeded"
    operation = enabled.call("POST", f"{zone}/disks", body)
    done = enabled.call("POST", f"{zone}/operations/{operation['name']}/wait")
    assert [error["code"] for error in done["error"]["errors"]] == ["ZONE_RESOURCE_POOL_EXHAUSTED"]
    assert done["httpErrorStatusCode"] == 503
    enabled.error("GET", f"{zone}/disks/data", status=404)
    enabled.create_disk()


SERVICES = f"/v1/projects/{PROJECT.project_id}/services"


def test_a_failing_operation_enables_no_service(google: Google) -> None:
    google.cloud.faults.arm("failing-operation", {"api": "serviceusage"}, count=1)
    operation = google.call("POST", f"{SERVICES}/tpu.googleapis.com:enable", {})
    assert (operation["done"], operation["error"]["code"]) == (True, 13)
    assert google.call("GET", f"{SERVICES}/tpu.googleapis.com")["state"] == "DISABLED"
    assert "error" not in google.call("POST", f"{SERVICES}/tpu.googleapis.com:enable", {})
    assert google.call("GET", f"{SERVICES}/tpu.googleapis.com")["state"] == "ENABLED"


def test_a_stuck_operation_enables_a_service_once_it_is_cleared(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serviceusage, "PATIENCE", 0.05)
    google.cloud.faults.arm("stuck-operation", {"zone": "*"}, count=1)
    operation = google.call("POST", f"{SERVICES}:batchEnable", {"serviceIds": ["tpu.googleapis.com"]})
    path = f"/v1/{operation['name']}"
    assert operation["done"] is False
    assert google.call("GET", path)["done"] is False
    google.cloud.faults.clear()
    while not google.call("GET", path)["done"]:
        time.sleep(0.01)
    assert google.call("GET", path)["response"]["services"][0]["state"] == "ENABLED"


def test_a_node_preempted_while_it_is_made_stays_preempted(enabled: Google) -> None:
    enabled.cloud.faults.arm("preempted-while-creating", {"zone": ZONE}, count=1)
    error = enabled.finish(enabled.begin_node())["error"]
    assert error["code"] == 3
    assert "while in state PREEMPTED" in error["message"]
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == "PREEMPTED"
    enabled.finish(enabled.call("DELETE", f"/v2/{NAME}"))
    enabled.create_node()


def test_a_stockout_fails_creations_in_its_zone(enabled: Google) -> None:
    enabled.cloud.faults.arm("stockout", {"zone": ZONE}, count=1)
    assert enabled.finish(enabled.begin_node())["error"]["code"] == 8
    assert enabled.call("GET", NODES) == {}
    enabled.create_node()


# ---- tokens


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [("error-503", 503, "UNAVAILABLE"), ("rate-limit", 429, "Retry"), ("unauthorized", 400, "invalid_grant")],
)
def test_token_requests_are_struck_as_well(enabled: Google, kind: str, status: int, word: str) -> None:
    enabled.cloud.faults.arm(kind, {"api": "oauth"}, count=1)
    form = {"grant_type": "refresh_token", "refresh_token": enabled.cloud.credentials.refresh_token()}
    answer = enabled.client.post("/token", data=form)
    assert answer.status_code == status
    assert word in answer.text
    assert enabled.client.post("/token", data=form).status_code == 200


@pytest.mark.parametrize("kind", ["drop", "drop-before"])
def test_a_token_may_be_lost(enabled: Google, kind: str) -> None:
    enabled.cloud.faults.arm(kind, {"api": "oauth"}, count=1)
    with pytest.raises(DroppedError):
        dropping(enabled).post(
            "/token",
            data={"grant_type": "refresh_token"}
            | {"refresh_token": enabled.cloud.credentials.refresh_token()},
        )


def test_tokens_expire_at_once(enabled: Google) -> None:
    issued = enabled.cloud.tokens.issue("a@b")
    before = enabled.cloud.credentials.access_token.read_text()
    enabled.cloud.expire_tokens()
    after = enabled.cloud.credentials.access_token.read_text()
    assert enabled.cloud.tokens.principal(issued) is None
    assert enabled.cloud.tokens.principal(before) is None
    assert enabled.error("GET", NODES, status=401)["status"] == "UNAUTHENTICATED"
    assert enabled.client.get(NODES, headers={"Authorization": f"Bearer {after}"}).status_code == 200
    assert enabled.cloud.tokens.signed_too_early(time.time())
    assert not enabled.cloud.tokens.signed_too_early(time.time() + 1)
    assert self_signed_principal(enabled.cloud, "no.jwt.here") is None


# ---- commands


def test_commands_are_for_the_hosts_root(enabled: Google) -> None:
    token = enabled.cloud.credentials.access_token.read_text().strip()
    application = google_application(enabled.cloud, enabled.work)
    arguments = {"kind": "slow", "where": {}}
    for address, sent, expected in (
        ("127.0.0.1", "ya29.other", 403),
        ("10.128.0.1", token, 403),
        ("127.0.0.1", token, 200),
    ):
        client = TestClient(application, base_url=f"http://{address}:18470")
        answer = client.post(
            "/localcloud/fault-arm", json=arguments, headers={"Authorization": f"Bearer {sent}"}
        )
        assert answer.status_code == expected, answer.text
    assert [fault.kind for fault in enabled.cloud.faults.armed()] == ["slow"]


def test_a_command_that_makes_no_sense_says_why(enabled: Google) -> None:
    token = enabled.cloud.credentials.access_token.read_text().strip()
    client = TestClient(
        google_application(enabled.cloud, enabled.work),
        base_url="http://127.0.0.1:18470",
        headers={"Authorization": f"Bearer {token}"},
    )
    for command, arguments, words in (
        ("fault-arm", {"kind": "storm", "where": {}}, "there is no fault 'storm'"),
        ("limit", {"kind": "capacity", "zone": "mars", "chips": 1}, "there is no zone 'mars'"),
        ("preempt", {"node": "none"}, "no node none"),
    ):
        answer = client.post(f"/localcloud/{command}", json=arguments)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
