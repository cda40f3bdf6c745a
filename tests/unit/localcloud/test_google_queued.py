# SPDX-License-Identifier: GPL-3.0-or-later
"""Queued resources, and the capacity and quota of zones."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localcloud.google.capacity import set_limit
from localcloud.google.nodes import NODE
from tests.unit.localcloud.google_client import LOCATION, PROJECT, ZONE, FakeMachines, Google

QUEUED = f"/v2/{LOCATION}/queuedResources"
NODE_BODY = {"acceleratorType": "v5litepod-8", "runtimeVersion": "v2-alpha-tpuv5-lite"}


def body(*specs: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A request for one node `a`, or for the given specs."""
    specs = specs or ({"nodeId": "a"},)
    given = [{"parent": LOCATION, "node": NODE_BODY, **spec} for spec in specs]
    return {"tpu": {"nodeSpec": given}, **settings}


def queue(google: Google, request: dict[str, Any] | None = None, name: str = "q", **query: Any) -> str:
    """Path of a new queued resource that is ACCEPTED."""
    operation = google.call("POST", QUEUED, request or body(), queuedResourceId=name, **query)
    answer = google.finish(operation)["response"]
    assert answer["@type"] == "type.googleapis.com/google.cloud.tpu.v2.QueuedResource"
    assert answer["state"] == {"state": "ACCEPTED", "stateInitiator": "SERVICE", "acceptedData": {}}
    return f"/v2/{answer['name']}"


def settle(google: Google) -> None:
    """Let the queue move until it has nothing more to do by itself."""
    for _ in range(5):
        google.queue.tick()
        for name, _ in google.cloud.store.items(NODE):
            for operation in google.cloud.operations.pending(name):
                google.finish(operation)


def state(google: Google, path: str) -> str:
    return str(google.call("GET", path)["state"]["state"])


def limit(google: Google, kind: str, chips: int | None, zone: str = ZONE, **matching: str) -> None:
    set_limit(google.cloud.store, kind, zone=zone, chips=chips, **matching)


# ---- the life of a queued resource


def test_it_becomes_active_with_its_node(enabled: Google) -> None:
    path = queue(enabled, body(spot={}))
    enabled.machines.hold.clear()
    enabled.queue.tick()
    assert enabled.call("GET", path)["state"] == {
        "state": "PROVISIONING",
        "stateInitiator": "SERVICE",
        "provisioningData": {},
    }
    enabled.machines.hold.set()
    settle(enabled)
    assert state(enabled, path) == "ACTIVE"
    node = enabled.call("GET", f"/v2/{LOCATION}/nodes/a")
    assert (node["state"], node["queuedResource"]) == ("READY", path.removeprefix("/v2/"))
    assert node["schedulingConfig"] == {"spot": True}
    assert len(enabled.machines.machines) == 1


def test_multislice_and_several_specs_make_all_their_nodes(enabled: Google) -> None:
    slices = {"nodeCount": 2, "nodeIdPrefix": "s"}
    path = queue(enabled, body({"multisliceParams": slices}, {"nodeId": "b"}, reservationName="r"))
    settle(enabled)
    assert state(enabled, path) == "ACTIVE"
    nodes = enabled.call("GET", f"/v2/{LOCATION}/nodes")["nodes"]
    assert [node["name"].rpartition("/")[2] for node in nodes] == ["b", "s-0", "s-1"]
    assert all(node["schedulingConfig"] == {"reserved": True} for node in nodes)


def test_multislice_is_named_after_the_queued_resource(enabled: Google) -> None:
    queue(enabled, body({"multisliceParams": {"nodeCount": 2}}), name="two")
    settle(enabled)
    nodes = enabled.call("GET", f"/v2/{LOCATION}/nodes")["nodes"]
    assert [node["name"].rpartition("/")[2] for node in nodes] == ["two-0", "two-1"]


def test_it_waits_for_capacity(enabled: Google) -> None:
    limit(enabled, "capacity", 0)
    path = queue(enabled)
    settle(enabled)
    assert enabled.call("GET", path)["state"] == {
        "state": "WAITING_FOR_RESOURCES",
        "stateInitiator": "SERVICE",
    }
    assert enabled.call("GET", f"/v2/{LOCATION}/nodes") == {}
    limit(enabled, "capacity", 8)
    settle(enabled)
    assert state(enabled, path) == "ACTIVE"


def test_it_waits_through_a_stockout(enabled: Google) -> None:
    enabled.cloud.faults.arm("stockout", {"zone": ZONE})
    path = queue(enabled)
    settle(enabled)
    assert state(enabled, path) == "WAITING_FOR_RESOURCES"
    enabled.cloud.faults.clear()
    settle(enabled)
    assert state(enabled, path) == "ACTIVE"


@pytest.mark.parametrize(
    "policy",
    [
        {"validUntilDuration": "0s"},
        {"validUntilTime": "2020-01-01T00:00:00Z"},
        {"validInterval": {"endTime": "2020-01-01T00:00:00Z"}},
    ],
)
def test_what_runs_out_of_time_fails(enabled: Google, policy: dict[str, Any]) -> None:
    path = queue(enabled, body(queueingPolicy=policy))
    settle(enabled)
    found = enabled.call("GET", path)["state"]
    assert found["state"] == "FAILED"
    assert found["failedData"]["error"]["code"] == 4
    assert "valid-until" in found["failedData"]["error"]["message"]


@pytest.mark.parametrize(
    "policy",
    [
        {"validAfterDuration": "3600s"},
        {"validAfterTime": "2100-01-01T00:00:00Z"},
        {"validInterval": {"startTime": "2100-01-01T00:00:00Z", "endTime": "2100-01-02T00:00:00Z"}},
    ],
)
def test_nothing_is_made_too_early(enabled: Google, policy: dict[str, Any]) -> None:
    path = queue(enabled, body(queueingPolicy=policy))
    settle(enabled)
    assert state(enabled, path) == "WAITING_FOR_RESOURCES"


def test_a_node_that_cannot_be_made_fails_it(enabled: Google) -> None:
    enabled.machines.failing = "-w-0"
    path = queue(enabled, body({"multisliceParams": {"nodeCount": 2}}))
    settle(enabled)
    found = enabled.call("GET", path)["state"]
    assert found["state"] == "FAILED"
    assert "does not answer on port 22" in found["failedData"]["error"]["message"]
    assert enabled.call("GET", f"/v2/{LOCATION}/nodes") == {}


def test_a_preempted_node_suspends_it_and_reset_queues_it_again(enabled: Google) -> None:
    path = queue(enabled, body(spot={}))
    settle(enabled)
    assert enabled.work.preempt("a") == f"{LOCATION}/nodes/a"
    enabled.queue.tick()
    assert state(enabled, path) == "SUSPENDING"
    settle(enabled)
    assert enabled.call("GET", path)["state"] == {
        "state": "SUSPENDED",
        "stateInitiator": "SERVICE",
        "suspendedData": {},
    }
    assert enabled.call("GET", f"/v2/{LOCATION}/nodes") == {}
    assert (
        enabled.finish(enabled.call("POST", f"{path}:reset", {}))["response"]["state"]["state"] == "ACCEPTED"
    )
    settle(enabled)
    assert state(enabled, path) == "ACTIVE"
    assert "only FAILED and SUSPENDED" in enabled.error("POST", f"{path}:reset", {})["message"]


def test_a_node_preempted_while_it_is_made_suspends_it(enabled: Google) -> None:
    enabled.cloud.faults.arm("preempted-while-creating", {}, count=1)
    path = queue(enabled, body(spot={}))
    settle(enabled)
    assert state(enabled, path) == "SUSPENDED"


def test_deleting_its_node_suspends_it_by_the_user(enabled: Google) -> None:
    path = queue(enabled)
    settle(enabled)
    enabled.finish(enabled.call("DELETE", f"/v2/{LOCATION}/nodes/a"))
    settle(enabled)
    assert enabled.call("GET", path)["state"]["stateInitiator"] == "USER"
    assert state(enabled, path) == "SUSPENDED"
    enabled.finish(enabled.call("DELETE", path))
    enabled.error("GET", path, status=404)


def test_only_force_deletes_what_has_nodes(enabled: Google) -> None:
    path = queue(enabled)
    settle(enabled)
    assert "ACTIVE and has nodes" in enabled.error("DELETE", path)["message"]
    operation = enabled.call("DELETE", path, force="true")
    assert enabled.finish(operation)["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    enabled.error("GET", path, status=404)
    assert enabled.machines.machines == {}


def test_force_overtakes_provisioning(enabled: Google) -> None:
    path = queue(enabled)
    enabled.machines.hold.clear()
    enabled.queue.tick()
    operation = enabled.call("DELETE", path, force=True)
    assert enabled.error("DELETE", path, status=409)["status"] == "ABORTED"
    enabled.machines.hold.set()
    assert "error" not in enabled.finish(operation)
    assert enabled.machines.machines == {}
    assert enabled.call("GET", QUEUED) == {}


def test_a_new_server_goes_on(enabled: Google, open_google: Callable[[FakeMachines], Google]) -> None:
    limit(enabled, "capacity", 0)
    path = queue(enabled)
    enabled.queue.tick()
    successor = open_google(FakeMachines())
    settle(successor)
    assert state(successor, path) == "WAITING_FOR_RESOURCES"
    limit(successor, "capacity", None)
    settle(successor)
    assert state(successor, path) == "ACTIVE"


# ---- requests


def test_a_request_id_makes_a_call_idempotent(enabled: Google) -> None:
    first, second = (
        enabled.call("POST", QUEUED, body(), queuedResourceId="q", requestId="one") for _ in range(2)
    )
    assert first["name"] == second["name"]
    enabled.finish(first)
    assert enabled.error("POST", QUEUED, body(), 409, queuedResourceId="q", requestId="two")
    gone, again = (enabled.call("DELETE", f"{QUEUED}/q", requestId="three") for _ in range(2))
    assert gone["name"] == again["name"]
    enabled.finish(gone)


def test_lists_have_pages_and_reach_all_locations(enabled: Google) -> None:
    for index in range(3):
        queue(enabled, body({"nodeId": f"n{index}"}), name=f"q{index}")
    everywhere = f"/v2/projects/{PROJECT.project_id}/locations/-/queuedResources"
    first = enabled.call("GET", everywhere, pageSize=2)
    rest = enabled.call("GET", everywhere, pageSize=2, pageToken=first["nextPageToken"])
    names = [
        found["name"].rpartition("/")[2] for found in (*first["queuedResources"], *rest["queuedResources"])
    ]
    assert names == ["q0", "q1", "q2"]
    assert (
        enabled.call("GET", f"/v2/projects/{PROJECT.project_id}/locations/us-west4-a/queuedResources") == {}
    )


@pytest.mark.parametrize(
    ("request_body", "name", "words"),
    [
        (body(), "a b", "Invalid queued resource id"),
        (body(spot={}, guaranteed={}), "q", "At most one tier"),
        ({}, "q", "At least one node spec"),
        (body({"nodeId": "a", "parent": "projects/x/locations/y"}), "q", "Invalid parent"),
        (body({}), "q", "Exactly one of node_id and multislice_params"),
        (body({"multisliceParams": {"nodeCount": 1}}), "q", "greater than 1, not 1"),
        (body({"nodeId": "a", "node": {"acceleratorType": "v4-8"}}), "q", "not offered in zone"),
        (body({"nodeId": "A_b"}), "q", "Invalid node id"),
        (body(queueingPolicy={"validUntilDuration": "soon"}), "q", "Invalid duration 'soon'"),
        (body(queueingPolicy={"validUntilTime": "soon"}), "q", "Invalid time 'soon'"),
        (
            body(queueingPolicy={"validUntilTime": "2100-01-01T00:00:00Z", "validAfterDuration": "9s"}),
            "q",
            "'start_timing_constraints' is already set. Cannot set 'validAfterDuration'",
        ),
        (
            body(queueingPolicy={"validInterval": {}, "validUntilTime": "2100-01-01T00:00:00Z"}),
            "q",
            "'start_timing_constraints' is already set. Cannot set 'validUntilTime'",
        ),
    ],
)
def test_a_wrong_request_is_refused(
    enabled: Google, request_body: dict[str, Any], name: str, words: str
) -> None:
    error = enabled.error("POST", QUEUED, request_body, queuedResourceId=name)
    assert error["status"] == "INVALID_ARGUMENT"
    assert words in error["message"]
    assert enabled.call("GET", QUEUED) == {}


def test_names_that_are_taken_are_refused(enabled: Google) -> None:
    enabled.create_node("a")
    assert "nodes/a' already exists" in enabled.error("POST", QUEUED, body(), 409)["message"]
    twice = body({"nodeId": "b"}, {"nodeId": "b"})
    assert "nodes/b' already exists" in enabled.error("POST", QUEUED, twice, 409)["message"]


# ---- capacity and quota


def test_a_node_beyond_capacity_fails_with_code_8_and_leaves_nothing(enabled: Google) -> None:
    limit(enabled, "capacity", 8)
    enabled.create_node("a")
    operation = enabled.finish(enabled.begin_node("b"))
    assert operation["error"]["code"] == 8
    assert f'There is no more capacity in the zone "{ZONE}"' in operation["error"]["message"]
    enabled.error("GET", f"/v2/{LOCATION}/nodes/b", status=404)
    enabled.work.preempt("a")
    enabled.create_node("c")


def test_a_stopped_node_holds_no_chips_and_may_find_none_when_it_starts(enabled: Google) -> None:
    limit(enabled, "capacity", 8)
    enabled.create_node("a")
    path = f"/v2/{LOCATION}/nodes/a"
    enabled.finish(enabled.call("POST", f"{path}:stop"))
    enabled.create_node("b")
    operation = enabled.finish(enabled.call("POST", f"{path}:start"))
    assert operation["error"]["code"] == 8
    assert enabled.call("GET", path)["state"] == "STOPPED"
    limit(enabled, "capacity", 16)
    assert enabled.finish(enabled.call("POST", f"{path}:start"))["response"]["state"] == "READY"


@pytest.mark.parametrize(
    ("matching", "room"),
    [
        ({}, False),
        ({"tier": "spot"}, True),
        ({"tier": "on-demand"}, False),
        ({"accelerator_type": "v5litepod-8"}, False),
        ({"accelerator_type": "v5litepod-4"}, True),
        ({"zone": "us-west4-a"}, True),
    ],
)
def test_a_limit_counts_only_what_it_names(enabled: Google, matching: dict[str, str], room: bool) -> None:
    limit(enabled, "capacity", 7, **matching)
    assert ("error" not in enabled.finish(enabled.begin_node())) is room


def test_a_request_beyond_quota_is_refused(enabled: Google) -> None:
    limit(enabled, "quota", 8, project=PROJECT.project_id)
    queue(enabled)
    settle(enabled)
    for path, query, request in (
        (QUEUED, {"queuedResourceId": "two"}, body({"nodeId": "b"})),
        (f"/v2/{LOCATION}/nodes", {"nodeId": "b"}, NODE_BODY),
    ):
        error = enabled.error("POST", path, request, 429, **query)
        assert "has been exceeded. Limit: 8 in zone us-west1-c" in error["message"]
        assert error["details"][0]["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
    enabled.work.preempt("a")
    settle(enabled)
    enabled.error("POST", f"/v2/{LOCATION}/nodes", NODE_BODY, 429, nodeId="b")
    enabled.finish(enabled.call("DELETE", f"{QUEUED}/q"))
    enabled.create_node("b")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"zone": "mars-1"}, "there is no zone 'mars-1'"),
        ({"zone": ZONE, "accelerator_type": "v4-8"}, "us-west1-c does not offer v4-8"),
        ({"zone": ZONE, "project": "none"}, "there is no project 'none'"),
    ],
)
def test_a_limit_of_what_is_not_there_is_refused(
    enabled: Google, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        set_limit(enabled.cloud.store, "capacity", chips=1, **arguments)


# ---- preemption


def test_preemption_takes_the_machine_and_leaves_node_and_disk(enabled: Google) -> None:
    disk = enabled.create_disk()
    enabled.create_node(dataDisks=[{"sourceDisk": disk}])
    enabled.work.preempt("tpu-v5e-8")
    node = enabled.call("GET", f"/v2/{LOCATION}/nodes/tpu-v5e-8")
    assert node["state"] == "PREEMPTED"
    assert enabled.machines.machines == {}
    assert len(enabled.machines.disks) == 1
    enabled.work.repair()
    assert enabled.work.unsettled() == []
    with pytest.raises(ValueError, match="is PREEMPTED; only a READY, idle node"):
        enabled.work.preempt("tpu-v5e-8")
    with pytest.raises(ValueError, match="no node none"):
        enabled.work.preempt("none")
    enabled.finish(enabled.call("DELETE", f"/v2/{LOCATION}/nodes/tpu-v5e-8"))
    enabled.create_node(dataDisks=[{"sourceDisk": disk}])


# ---- health


def test_a_diagnosis_changes_what_is_said_and_nothing_else(enabled: Google) -> None:
    enabled.create_node()
    path = f"/v2/{LOCATION}/nodes/tpu-v5e-8"
    before = enabled.call("GET", path)
    assert enabled.work.diagnose("tpu-v5e-8", "TIMEOUT") == f"{LOCATION}/nodes/tpu-v5e-8"
    assert enabled.call("GET", path) == {**before, "health": "TIMEOUT"}
    enabled.work.preempt("tpu-v5e-8")
    with pytest.raises(ValueError, match="is PREEMPTED; only a READY"):
        enabled.work.diagnose("tpu-v5e-8", "HEALTHY")


# ---- maintenance


def test_maintenance_ends_the_machine_and_boots_it_again(enabled: Google) -> None:
    enabled.create_node()
    path = f"/v2/{LOCATION}/nodes/tpu-v5e-8"
    before = enabled.call("GET", path)
    enabled.machines.hold.clear()
    with ThreadPoolExecutor() as threads:
        done = threads.submit(enabled.work.maintain, "tpu-v5e-8", 0)
        while not any(not machine.running for machine in enabled.machines.list()):
            assert not done.done()
        meanwhile = enabled.call("GET", path)
        enabled.work.repair()  # leaves it to those who maintain it
        enabled.machines.hold.set()
        assert done.result(30) == f"{LOCATION}/nodes/tpu-v5e-8"
    assert (meanwhile["state"], meanwhile["health"]) == ("REPAIRING", "UNHEALTHY_MAINTENANCE")
    assert enabled.call("GET", path) == before
    assert [record["verb"] for _, record in enabled.cloud.store.items("operation")].count("repair") == 0
    with pytest.raises(ValueError, match="no node none"):
        enabled.work.maintain("none", 0)


def test_maintenance_lasts_until_it_is_ended(enabled: Google) -> None:
    enabled.create_node()
    path = f"/v2/{LOCATION}/nodes/tpu-v5e-8"
    with pytest.raises(ValueError, match="is not under maintenance"):
        enabled.work.end_maintenance("tpu-v5e-8")
    assert enabled.work.begin_maintenance("tpu-v5e-8") == f"{LOCATION}/nodes/tpu-v5e-8"
    assert enabled.call("GET", path)["state"] == "REPAIRING"
    assert enabled.work.end_maintenance("tpu-v5e-8") == f"{LOCATION}/nodes/tpu-v5e-8"
    assert enabled.call("GET", path)["state"] == "READY"


# ---- zones that cannot be reached


def test_a_list_of_all_zones_names_those_that_cannot_be_reached(enabled: Google) -> None:
    enabled.create_node("here")
    everywhere = f"/v2/projects/{PROJECT.project_id}/locations/-"
    for kind in ("nodes", "queuedResources"):
        enabled.cloud.faults.arm("unreachable", {"zone": ZONE}, count=1)
        assert enabled.call("GET", f"{everywhere}/{kind}") == {"unreachable": [LOCATION]}
    assert [node["name"] for node in enabled.call("GET", f"{everywhere}/nodes")["nodes"]] == [
        f"{LOCATION}/nodes/here"
    ]


def test_calls_of_a_zone_that_cannot_be_reached_are_refused(enabled: Google) -> None:
    enabled.create_node("here")
    enabled.cloud.faults.arm("unreachable", {"zone": ZONE})
    for path in ("nodes", "nodes/here", "acceleratorTypes"):
        assert enabled.error("GET", f"/v2/{LOCATION}/{path}", status=503)["status"] == "UNAVAILABLE"
    elsewhere = LOCATION.replace(ZONE, "us-west4-a")
    assert enabled.call("GET", f"/v2/{elsewhere}/nodes") == {}
    assert enabled.call("GET", f"/v2/projects/{PROJECT.project_id}/locations/-/nodes")["unreachable"] == [
        LOCATION
    ]
