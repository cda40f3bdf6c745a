# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from tests.json_types import Json

from .conftest import Api, Run, assert_foretold

SERVICES = "serviceusage/v1/projects/my-project/services"
GET, ENABLE = f"GET {SERVICES}:batchGet", f"POST {SERVICES}:batchEnable"
PROBES = {
    "tpu.googleapis.com": ("GET tpu/v2/projects/my-project/locations", {"pageSize": "1"}),
    "compute.googleapis.com": ("GET compute/compute/v1/projects/my-project/zones", {"maxResults": "1"}),
    "oslogin.googleapis.com": ("GET oslogin/v1/users/nobody@my-project.invalid/loginProfile", {}),
}
NAMES = ["compute.googleapis.com", "tpu.googleapis.com"]


def names(services: list[str]) -> Json:
    paths = [f"projects/my-project/services/{service}" for service in services]
    return {"names": paths if len(paths) > 1 else paths[0]}


def states(**services: str) -> Json:
    """The answer to batchGet, which has the project's number in its names."""
    items = [
        {"name": f"projects/123/services/{name}.googleapis.com", "state": state}
        for name, state in services.items()
    ]
    return {"services": items}


def answers(api: Api, *services: str) -> Api:
    """What was enabled is asked until it answers."""
    for service in services:
        call, query = PROBES[service]
        api.on(call, query=query)
    return api


def test_all_that_is_missing_is_enabled_in_one_call(api: Api, run: Run) -> None:
    api.on(GET, states(compute="DISABLED", tpu="DISABLED"), query=names(NAMES))
    api.on(ENABLE, {"name": "operations/acf.1"}, body={"serviceIds": NAMES})
    api.on("GET serviceusage/v1/operations/acf.1", {"name": "operations/acf.1", "done": False})
    api.on("GET serviceusage/v1/operations/acf.1", {"name": "operations/acf.1", "done": True, "response": {}})
    answers(api, *NAMES)
    result = run("gcp_services", services=NAMES)
    assert (result["changed"], result["services"]) == (True, dict.fromkeys(NAMES, "ENABLED"))
    assert result["diff"]["before"] == dict.fromkeys(NAMES, "DISABLED")


def test_only_what_is_missing_is_enabled(api: Api, run: Run) -> None:
    api.on(GET, states(compute="ENABLED"), query=names(NAMES))
    api.on(ENABLE, {"name": "operations/noop", "done": True}, body={"serviceIds": ["tpu.googleapis.com"]})
    answers(api, "tpu.googleapis.com")
    assert run("gcp_services", services=NAMES)["changed"] is True


def disabled(api: Api, service: str) -> None:
    call, query = PROBES[service]
    details = [{"reason": "SERVICE_DISABLED"}]
    api.error(call, 403, "PERMISSION_DENIED", "off", details=details, query=query)


@pytest.mark.parametrize("status", [200, 403])
@pytest.mark.parametrize("name", ["tpu", "oslogin"])
def test_an_api_is_waited_for_until_it_answers_whatever_it_answers(
    api: Api, run: Run, name: str, status: int, pauses: list[float]
) -> None:
    service = f"{name}.googleapis.com"
    api.on(GET, states(**{name: "DISABLED"}), query=names([service]))
    api.on(ENABLE, {"name": "operations/x", "done": True}, body={"serviceIds": [service]})
    for _poll in range(3):
        disabled(api, service)
    call, query = PROBES[service]
    _ = answers(api, service) if status == 200 else api.error(call, status, "PERMISSION_DENIED", query=query)
    assert run("gcp_services", services=[service])["changed"] is True
    assert len(pauses) == 3


def test_an_api_that_never_answers_ends_the_wait(api: Api, run: Run, pauses: list[float]) -> None:
    service = "compute.googleapis.com"
    api.on(GET, states(compute="DISABLED"), query=names([service]))
    api.on(ENABLE, {"name": "operations/x", "done": True}, body={"serviceIds": [service]})
    for _poll in range(50):
        disabled(api, service)
    result = run("gcp_services", services=[service], wait_timeout=60)
    api.script.clear()
    assert (result["failure"]["kind"], result["failure"]["operation"]) == ("timeout", "operations/x")
    assert sum(pauses) == pytest.approx(60)


def test_no_change(api: Api, run: Run) -> None:
    api.on(GET, states(compute="ENABLED", tpu="ENABLED"), query=names(NAMES))
    result = run("gcp_services", services=[*NAMES, NAMES[0]])
    assert (result["changed"], api.writes) == (False, [])


def test_check_mode_predicts_and_writes_nothing(api: Api, run: Run) -> None:
    api.on(GET, states(compute="ENABLED", tpu="DISABLED"), query=names(NAMES))
    predicted = run("gcp_services", check=True, services=NAMES)
    assert (predicted["changed"], api.writes) == (True, [])
    api.on(GET, states(compute="ENABLED", tpu="DISABLED"), query=names(NAMES))
    api.on(ENABLE, {"name": "operations/x", "done": True}, body={"serviceIds": ["tpu.googleapis.com"]})
    answers(api, "tpu.googleapis.com")
    assert_foretold(predicted, run("gcp_services", services=NAMES), "services")


def test_more_than_google_takes_at_once(api: Api, run: Run) -> None:
    many = [f"s{number}.googleapis.com" for number in range(25)]
    api.on(GET, {}, query=names(many[:20])).on(GET, {}, query=names(many[20:]))
    for part in (many[:20], many[20:]):
        api.on(ENABLE, {"name": "operations/x", "done": True}, body={"serviceIds": part})
    assert run("gcp_services", services=many)["changed"] is True


@pytest.mark.parametrize(
    ("finished", "kind"),
    [
        ({"error": {"code": 7, "message": "Not allowed"}}, "permission"),
        ({"response": {"failures": [{"serviceId": "x", "errorMessage": "terms"}]}}, "precondition"),
    ],
)
def test_what_google_does_not_enable_is_an_error(api: Api, run: Run, finished: Json, kind: str) -> None:
    api.on(GET, {}, query=names(["tpu.googleapis.com"]))
    done = {"name": "operations/x", "done": True, **finished}
    api.on(ENABLE, done, body={"serviceIds": ["tpu.googleapis.com"]})
    result = run("gcp_services", services=["tpu.googleapis.com"])
    assert (result["failed"], result["failure"]["kind"]) == (True, kind)


@pytest.mark.parametrize("services", [[], ["tpu"]])
def test_short_names_are_refused_before_anything_is_sent(api: Api, run: Run, services: list[str]) -> None:
    assert "Give full names such as tpu.googleapis.com" in run("gcp_services", services=services)["msg"]
    assert api.calls == []


def test_a_project_that_is_not_there(api: Api, run: Run) -> None:
    message = "Permission denied to list services for consumer container [projects/my-project]"
    api.error(GET, 403, "PERMISSION_DENIED", message, query=names(NAMES))
    result = run("gcp_services", services=NAMES)
    assert result["failure"]["kind"] == "permission"
    assert "Check the project's id" in result["msg"]
