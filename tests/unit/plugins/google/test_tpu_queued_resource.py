# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any
from unittest.mock import ANY

import pytest
import requests

from tests.json_types import Json

from .conftest import Api, Run, assert_foretold
from .test_tpu_vm import BIG, DONE, NAMED, OFFERS, OP, OP_NAME, OPTIONS, TYPES, ZONE, node, op

PARENT = "projects/my-project/locations/us-west1-c"
PATH = f"{PARENT}/queuedResources/tpu"
QUEUE = f"{ZONE}/queuedResources"
QUEUED = f"{QUEUE}/tpu"
NEW = {"queuedResourceId": "tpu", "requestId": ANY}
GONE = {"requestId": ANY}
FORCED = {"force": "true", "requestId": ANY}
NODE = {
    "acceleratorType": "v5litepod-8",
    "runtimeVersion": "v2-alpha-tpuv5-lite",
    "networkConfig": {"enableExternalIps": True},
}
SPEC = {"parent": PARENT, "nodeId": "tpu", "node": NODE}
BODY: Json = {"tpu": {"nodeSpec": [SPEC]}}
VALIDITY = ("valid_until_duration", "valid_until_time", "valid_after_duration", "valid_after_time")


def queued(state: str = "ACTIVE", **more: Any) -> Json:
    """As the API answers."""
    return {"name": PATH, **BODY, **more, "state": {"state": state}}


def failed(code: int, message: str, **more: Any) -> Json:
    error = {"code": code, "message": message, **more}
    return {**queued(), "state": {"state": "FAILED", "failedData": {"error": error}}}


def absent(api: Api) -> Api:
    return api.error(f"GET {QUEUED}", 404, "NOT_FOUND")


def present(api: Api, *found: Json) -> Api:
    for answer in found or (queued(),):
        api.on(f"GET {QUEUED}", answer)
    return api


def creating(api: Api, body: Json = BODY, operation: Json = DONE) -> Api:
    return api.on(TYPES, OFFERS, query=BIG).on(f"POST {QUEUE}", operation, query=NEW, body=body)


def nodes(api: Api, *names: str) -> Api:
    for name in names or ("tpu",):
        api.on(f"GET {ZONE}/nodes/{name}", node())
    return api


def test_create_and_wait_for_the_nodes(api: Api, run: Run) -> None:
    creating(absent(api), operation=op())
    api.on(OP, DONE)
    present(api, queued("CREATING"), queued("WAITING_FOR_RESOURCES"), queued("PROVISIONING"), queued())
    nodes(api)
    result = run("tpu_queued_resource", **OPTIONS)
    assert (result["changed"], result["recreated"], result["queued_resource"]) == (True, False, queued())
    assert result["nodes"] == [node()]
    assert result["diff"] == {"before": {}, "after": queued()}


@pytest.mark.parametrize(
    ("options", "more", "specs"),
    [
        ({"spot": True}, {"spot": {}}, {}),
        ({"guaranteed": True}, {"guaranteed": {}}, {}),
        ({"guaranteed_min_duration": "60s"}, {"guaranteed": {"minDuration": "60s"}}, {}),
        ({"reservation": "mine"}, {"reservationName": f"{PARENT}/reservations/mine"}, {}),
        ({"reservation": "folders/1/x/-"}, {"reservationName": "folders/1/x/-"}, {}),
        ({"valid_until_duration": "60s"}, {"queueingPolicy": {"validUntilDuration": "60s"}}, {}),
        (
            {"valid_until_time": "2026-12-24T00:00:00Z"},
            {"queueingPolicy": {"validUntilTime": "2026-12-24T00:00:00Z"}},
            {},
        ),
        ({"valid_after_duration": "9s"}, {"queueingPolicy": {"validAfterDuration": "9s"}}, {}),
        (
            {"valid_after_time": "2026-12-24T00:00:00Z"},
            {"queueingPolicy": {"validAfterTime": "2026-12-24T00:00:00Z"}},
            {},
        ),
        (
            {"valid_after_time": "2026-12-24T00:00:00Z", "valid_until_time": "2026-12-25T00:00:00Z"},
            {
                "queueingPolicy": {
                    "validInterval": {"startTime": "2026-12-24T00:00:00Z", "endTime": "2026-12-25T00:00:00Z"}
                }
            },
            {},
        ),
        ({"node_id": "a"}, {}, {"nodeId": "a"}),
        ({"node_count": 3}, {}, {"nodeId": None, "multisliceParams": {"nodeCount": 3}}),
        (
            {"node_count": 2, "node_id_prefix": "s"},
            {},
            {"nodeId": None, "multisliceParams": {"nodeCount": 2, "nodeIdPrefix": "s"}},
        ),
        (
            {"labels": {"team": 1}, "startup_script": "true", "data_disks": [{"source": "d"}]},
            {},
            {
                "node": {
                    **NODE,
                    "labels": {"team": "1"},
                    "metadata": {"startup-script": "true"},
                    "dataDisks": [
                        {"sourceDisk": "projects/my-project/zones/us-west1-c/disks/d", "mode": "READ_WRITE"}
                    ],
                }
            },
        ),
    ],
)
def test_what_is_asked_for_and_is_there_the_second_time(
    api: Api, run: Run, options: Json, more: Json, specs: Json
) -> None:
    spec = {key: value for key, value in {**SPEC, **specs}.items() if value is not None}
    body = {"tpu": {"nodeSpec": [spec]}, **more}
    creating(absent(api), body)
    present(api, queued("WAITING_FOR_RESOURCES", **body))
    assert run("tpu_queued_resource", **OPTIONS, **options, wait=False)["changed"] is True
    present(api, queued("WAITING_FOR_RESOURCES", **body))
    assert run("tpu_queued_resource", **OPTIONS, **options, wait=False)["changed"] is False


def test_several_nodes(api: Api, run: Run) -> None:
    body: Json = {"tpu": {"nodeSpec": [{**SPEC, "nodeId": "a"}, {**SPEC, "nodeId": "b"}]}}
    creating(absent(api), body)
    nodes(present(api, queued(**body)), "a", "b")
    result = run("tpu_queued_resource", **OPTIONS, node_ids=["a", "b"])
    assert (result["changed"], len(result["nodes"])) == (True, 2)


def test_slices_are_numbered(api: Api, run: Run) -> None:
    body: Json = {
        "tpu": {"nodeSpec": [{"parent": PARENT, "node": NODE, "multisliceParams": {"nodeCount": 2}}]}
    }
    nodes(present(api, queued(**body)), "tpu-0", "tpu-1")
    result = run("tpu_queued_resource", **OPTIONS, node_count=2)
    assert (result["changed"], len(result["nodes"])) == (False, 2)


def test_no_change(api: Api, run: Run) -> None:
    filled = {**NODE, "metadata": {"ssh-keys": "other:ssh-rsa B"}, "schedulingConfig": {"spot": True}}
    found = queued(tpu={"nodeSpec": [{**SPEC, "node": filled}]}, spot={})
    nodes(present(api, found))
    keys = [{"user": "tpu", "key": "ssh-ed25519 AAAA"}]
    result = run("tpu_queued_resource", **OPTIONS, ssh_keys=keys, spot=True, valid_until_duration="9s")
    assert (result["changed"], result["queued_resource"], api.writes) == (False, found, [])


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accelerator_type": "v5litepod-16"}, "accelerator_type (is 'v5litepod-8'"),
        ({"labels": {"a": "b"}}, "labels (is {}, wanted {'a': 'b'})"),
        ({"spot": True}, "spot (is False, wanted True)"),
        ({"guaranteed": True}, "guaranteed (is False, wanted True)"),
        ({"reservation": "mine"}, "reservation (is None"),
        ({"node_ids": ["a", "b"]}, "node_ids or node_count"),
    ],
)
def test_what_cannot_change_is_named(api: Api, run: Run, check: bool, options: Json, named: str) -> None:
    present(api)
    result = run("tpu_queued_resource", check=check, **{**OPTIONS, **options})
    assert (result["failed"], result["failure"]["reason"]) == (True, "immutable")
    assert "The queued resource tpu exists and cannot change in: " in result["msg"]
    assert named in result["msg"]
    assert api.writes == []


def test_recreate_with_the_nodes(api: Api, run: Run) -> None:
    present(api).on(TYPES, OFFERS, query=BIG)
    api.on(f"DELETE {QUEUED}", op(), query=FORCED).on(OP, DONE)
    api.on(f"POST {QUEUE}", DONE, query=NEW, body={**BODY, "spot": {}})
    nodes(present(api, queued(spot={})))
    result = run("tpu_queued_resource", **OPTIONS, spot=True, recreate=True, force=True)
    assert (result["changed"], result["recreated"]) == (True, True)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("options", [{"state": "absent"}, {"spot": True, "recreate": True}])
def test_nodes_are_not_deleted_without_force(api: Api, run: Run, check: bool, options: Json) -> None:
    nodes(present(api))
    result = run("tpu_queued_resource", check=check, **{**OPTIONS, **options})
    assert result["failure"]["kind"] == "precondition"
    assert "The queued resource tpu has the nodes tpu. Delete them first, or allow it" in result["msg"]
    assert api.writes == []


# Delete


@pytest.mark.parametrize(
    ("state", "force", "query", "reads"),
    [
        ("ACTIVE", True, FORCED, False),
        ("ACTIVE", False, GONE, True),
        ("WAITING_FOR_RESOURCES", False, GONE, False),
        ("FAILED", False, FORCED, False),
    ],
)
def test_delete(api: Api, run: Run, state: str, force: bool, query: Json, reads: bool) -> None:
    present(api, queued(state))
    if reads:
        api.error(f"GET {ZONE}/nodes/tpu", 404, "NOT_FOUND")
    api.on(f"DELETE {QUEUED}", op(), query=query).on(OP, DONE)
    result = run("tpu_queued_resource", **NAMED, state="absent", force=force)
    assert (result["changed"], result["queued_resource"], result["nodes"]) == (True, {}, [])


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("state", ["CREATING", "PROVISIONING", "SUSPENDING"])
def test_what_hangs_in_a_transition_is_deleted_at_once(api: Api, run: Run, state: str, wait: bool) -> None:
    options = {**NAMED, "state": "absent", "force": True, "wait": wait}
    present(api, queued(state))
    predicted = run("tpu_queued_resource", check=True, **options)
    assert api.writes == []
    present(api, queued(state)).on(f"DELETE {QUEUED}", op(), query=FORCED)
    if wait:
        api.on(OP, DONE)
    result = run("tpu_queued_resource", **options)
    assert (predicted["changed"], result["changed"]) == (True, True)
    assert predicted["diff"] == result["diff"] == {"before": queued(state), "after": {}}


def test_one_that_is_being_deleted_is_not_waited_for_without_wait(api: Api, run: Run) -> None:
    present(api, queued("DELETING"))
    assert run("tpu_queued_resource", **NAMED, state="absent", wait=False)["changed"] is False
    present(api, queued("DELETING"))
    assert run("tpu_queued_resource", **OPTIONS, wait=False)["failure"]["kind"] == "conflict"


def test_delete_what_is_not_there(api: Api, run: Run) -> None:
    absent(api)
    assert run("tpu_queued_resource", **NAMED, state="absent")["changed"] is False


# Dead ones


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_a_dead_one_is_purged_and_made_anew(api: Api, run: Run, state: str) -> None:
    present(api, queued(state)).on(TYPES, OFFERS, query=BIG)
    api.on(f"DELETE {QUEUED}", op(), query=FORCED).on(OP, DONE)
    api.on(f"POST {QUEUE}", DONE, query=NEW, body=BODY)
    nodes(present(api))
    result = run("tpu_queued_resource", **OPTIONS)
    assert (result["changed"], result["recreated"]) == (True, True)
    assert result["diff"]["before"]["state"]["state"] == state


def test_one_that_is_being_suspended_is_waited_for_first(api: Api, run: Run) -> None:
    present(api, queued("SUSPENDING"))
    api.on(f"GET {ZONE}/operations", {})
    present(api, queued("SUSPENDED")).on(TYPES, OFFERS, query=BIG)
    api.on(f"DELETE {QUEUED}", DONE, query=FORCED)
    api.on(f"POST {QUEUE}", DONE, query=NEW, body=BODY)
    nodes(present(api))
    assert run("tpu_queued_resource", **OPTIONS)["recreated"] is True


@pytest.mark.parametrize(
    ("found", "kind", "said"),
    [
        (failed(8, "There is no more capacity in the zone"), "stockout", "Try again later"),
        (
            failed(8, "Quota limit", details=[{"@type": "type.googleapis.com/google.rpc.QuotaFailure"}]),
            "quota",
            "Ask for more quota",
        ),
        (failed(4, "The request has expired"), "unavailable", "The request has expired"),
        (failed(7, "No"), "permission", "roles/tpu.admin"),
        (queued("SUSPENDED"), "preempted", "The queued resource tpu was suspended"),
    ],
)
def test_one_that_dies_while_it_is_waited_for_is_purged_and_its_reason_told(
    api: Api, run: Run, found: Json, kind: str, said: str
) -> None:
    creating(absent(api))
    present(api, queued("WAITING_FOR_RESOURCES"), found, found)
    api.on(f"DELETE {QUEUED}", DONE, query=FORCED)
    result = run("tpu_queued_resource", **OPTIONS)
    assert (result["failed"], result["failure"]["kind"]) == (True, kind)
    assert said in result["msg"]


def test_one_that_an_earlier_run_left_waiting_is_taken_up(api: Api, run: Run) -> None:
    nodes(present(api, queued("WAITING_FOR_RESOURCES"), queued("PROVISIONING"), queued()))
    result = run("tpu_queued_resource", **OPTIONS)
    assert (result["changed"], result["queued_resource"], api.writes) == (False, queued(), [])


def test_a_wait_that_ends_names_the_queued_resource_and_deletes_nothing(
    api: Api, run: Run, pauses: list[float]
) -> None:
    creating(absent(api))
    present(api, *[queued("WAITING_FOR_RESOURCES")] * 100)
    result = run("tpu_queued_resource", **OPTIONS, wait_timeout=60)
    api.script.clear()
    assert (result["failure"]["kind"], result["failure"]["operation"]) == ("timeout", PATH)
    assert "The queued resource tpu (WAITING_FOR_RESOURCES) has not finished within 60 s" in result["msg"]
    assert sum(pauses) == pytest.approx(60)
    assert len(api.writes) == 1


def test_one_that_somebody_deletes_while_it_waits(api: Api, run: Run) -> None:
    absent(present(api, queued("WAITING_FOR_RESOURCES"), queued("DELETING")))
    assert run("tpu_queued_resource", **OPTIONS)["failure"]["kind"] == "not_found"


def test_one_that_is_being_deleted_is_waited_for_and_made_again(api: Api, run: Run) -> None:
    present(api, queued("DELETING"))
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": PATH})]}).on(OP, DONE)
    absent(api)
    nodes(present(creating(api)))
    assert run("tpu_queued_resource", **OPTIONS)["changed"] is True


def test_a_lost_answer_to_a_create_ends_in_adoption(api: Api, run: Run) -> None:
    absent(api).on(TYPES, OFFERS, query=BIG)
    api.on(f"POST {QUEUE}", requests.ConnectionError("cut"), query=NEW, body=BODY)
    api.error(f"POST {QUEUE}", 409, "ALREADY_EXISTS", query=NEW, body=BODY)
    nodes(present(api, queued("WAITING_FOR_RESOURCES"), queued()))
    result = run("tpu_queued_resource", **OPTIONS)
    assert (result["changed"], result["queued_resource"]) == (True, queued())
    first, second = (request.url for request in api.sent if request.method == "POST")
    assert first == second  # the same requestId: Google knows the second for a repetition


def test_a_creation_that_google_ends_with_an_error(api: Api, run: Run) -> None:
    creating(absent(api), operation=op(done=True, error={"code": 13, "message": "internal"}))
    absent(api)
    assert run("tpu_queued_resource", **OPTIONS)["failure"]["kind"] == "unavailable"


# Bad options and check mode


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"node_count": 1}, "node_count is 1. A multislice job has 2 or more"),
        ({"node_id_prefix": "a"}, "missing parameter(s) required by 'node_id_prefix'"),
        ({"node_ids": ["a"], "node_count": 2}, "mutually exclusive: node_ids|node_count"),
        ({"node_ids": ["A"]}, "name: 'A' is not valid"),
        ({"spot": True, "reservation": "a"}, "mutually exclusive: spot|guaranteed|reservation"),
        *(
            ({one: "a", other: "b"}, "mutually exclusive: valid_until_duration|valid_after_duration|valid_")
            for one, other in combinations(VALIDITY, 2)
            if {one, other} != {"valid_after_time", "valid_until_time"}
        ),
        ({"networks": [], "can_ip_forward": True}, "mutually exclusive: networks|can_ip_forward"),
    ],
)
def test_bad_options_are_refused_before_anything_is_sent(
    api: Api, run: Run, options: Json, message: str
) -> None:
    assert message in run("tpu_queued_resource", **OPTIONS, **options)["msg"]
    assert api.calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator_type": "v6e-8"}, "accelerator_type: the zone us-west1-c does not offer v6e-8"),
        ({"accelerator_type": None}, "accelerator_type is not set. A new queued resource (tpu) needs it."),
        ({"runtime_version": None}, "runtime_version is not set"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_made(
    api: Api, run: Run, options: Json, message: str
) -> None:
    absent(api)
    if options.get("accelerator_type", "v5litepod-8"):
        api.on(TYPES, OFFERS, query=BIG)
    assert message in run("tpu_queued_resource", **{**OPTIONS, **options})["msg"]
    assert api.writes == []


@pytest.mark.parametrize(
    ("found", "options", "types", "there", "changed"),
    [
        (None, OPTIONS, True, False, True),
        (queued(), OPTIONS, False, True, False),
        (queued("WAITING_FOR_RESOURCES"), OPTIONS, False, False, False),
        (queued("FAILED"), OPTIONS, True, False, True),
        (queued(), {**NAMED, "state": "absent", "force": True}, False, False, True),
        (queued(), {**OPTIONS, "spot": True, "recreate": True, "force": True}, True, False, True),
        (queued("DELETING"), {**NAMED, "state": "absent"}, False, False, False),
        (queued("SUSPENDING"), OPTIONS, True, False, True),
        (queued("SUSPENDING"), {**OPTIONS, "wait": False}, False, False, False),
    ],
)
def test_check_mode_predicts_and_writes_nothing(
    api: Api, run: Run, found: Json | None, options: Json, types: bool, there: bool, changed: bool
) -> None:
    _ = present(api, found) if found else absent(api)
    if types:
        api.on(TYPES, OFFERS, query=BIG)
    if there:
        nodes(api)
    result = run("tpu_queued_resource", check=True, **options)
    assert (result["changed"], api.writes) == (changed, [])
    if found is None:
        assert result["queued_resource"] == BODY


def real_create(api: Api, body: Json) -> Api:
    return nodes(present(creating(api, body), queued(**body)))


def real_delete(api: Api) -> Api:
    return api.on(f"DELETE {QUEUED}", DONE, query=FORCED)


def real_replace(api: Api, body: Json) -> Api:
    real_delete(api.on(TYPES, OFFERS, query=BIG)).on(f"POST {QUEUE}", DONE, query=NEW, body=body)
    return nodes(present(api, queued(**body)))


def real_settle(api: Api) -> Api:
    return present(api.on(f"GET {ZONE}/operations", {}), queued("SUSPENDED"))


@pytest.mark.parametrize(
    ("found", "options", "types", "really"),
    [
        (None, OPTIONS, True, lambda api: real_create(api, BODY)),
        (
            None,
            {**OPTIONS, "spot": True, "valid_until_duration": "9s"},
            True,
            lambda api: real_create(
                api, {**BODY, "spot": {}, "queueingPolicy": {"validUntilDuration": "9s"}}
            ),
        ),
        (queued(), {**NAMED, "state": "absent", "force": True}, False, real_delete),
        (queued("FAILED"), {**NAMED, "state": "absent"}, False, real_delete),
        (queued("FAILED"), OPTIONS, True, lambda api: real_replace(api, BODY)),
        (queued("SUSPENDING"), OPTIONS, True, lambda api: real_replace(real_settle(api), BODY)),
        (
            queued(),
            {**OPTIONS, "spot": True, "recreate": True, "force": True},
            True,
            lambda api: real_replace(api, {**BODY, "spot": {}}),
        ),
    ],
)
def test_check_mode_foretells_what_is_done(
    api: Api, run: Run, found: Json | None, options: Json, types: bool, really: Callable[[Api], Api]
) -> None:
    _ = present(api, found) if found else absent(api)
    if types:
        api.on(TYPES, OFFERS, query=BIG)
    predicted = run("tpu_queued_resource", check=True, **options)
    assert api.writes == []
    _ = present(api, found) if found else absent(api)
    really(api)
    assert_foretold(predicted, run("tpu_queued_resource", **options), "queued_resource")


def test_the_name_of_an_operation_that_an_earlier_run_left(api: Api, run: Run) -> None:
    present(api, queued("SUSPENDING"))
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": PATH})]})
    for _poll in range(100):
        api.on(OP, op())
    result = run("tpu_queued_resource", **OPTIONS, wait_timeout=20)
    api.script.clear()
    assert result["failure"]["operation"] == OP_NAME
