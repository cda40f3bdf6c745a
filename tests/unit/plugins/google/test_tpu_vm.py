# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.json_types import Json
from tests.keys import public_key

from .conftest import Api, Run, assert_foretold

ZONE = "tpu/v2/projects/my-project/locations/us-west1-c"
NODES = f"{ZONE}/nodes"
NODE = f"{NODES}/tpu"
TYPES = f"GET {ZONE}/acceleratorTypes"
KEYS = f"POST {NODE}:getGuestAttributes"
OP_NAME = "projects/my-project/locations/us-west1-c/operations/op-1"
OP = f"GET tpu/v2/{OP_NAME}"
BIG = {"pageSize": "1000"}

NAMED: Json = {"name": "tpu", "zone": "us-west1-c"}
OPTIONS: Json = {**NAMED, "accelerator_type": "v5litepod-8", "runtime_version": "v2-alpha-tpuv5-lite"}
BODY = {
    "acceleratorType": "v5litepod-8",
    "runtimeVersion": "v2-alpha-tpuv5-lite",
    "networkConfig": {"enableExternalIps": True},
}
OFFERS = {
    "acceleratorTypes": [
        {"type": "v5litepod-8", "acceleratorConfigs": [{"type": "V5LITE_POD", "topology": "2x4"}]},
        {"type": "v5litepod-16", "acceleratorConfigs": [{"type": "V5LITE_POD", "topology": "4x4"}]},
    ]
}


def op(**more: Any) -> Json:
    return {"name": OP_NAME, **more}


DONE = op(done=True, response={})


def node(workers: int = 1, **more: Any) -> Json:
    """As the API answers: with all that it fills in."""
    endpoints = [
        {"ipAddress": f"10.0.0.{number}", "port": 8470, "accessConfig": {"externalIp": f"1.2.3.{number}"}}
        for number in range(workers)
    ]
    return {
        "name": "projects/my-project/locations/us-west1-c/nodes/tpu",
        "id": "42",
        "acceleratorType": "v5litepod-8",
        "acceleratorConfig": {"type": "V5LITE_POD", "topology": "2x4"},
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "state": "READY",
        "networkConfig": {
            "network": "projects/my-project/global/networks/default",
            "enableExternalIps": True,
        },
        "networkEndpoints": endpoints,
        "serviceAccount": {"email": "123-compute@developer.gserviceaccount.com", "scope": ["b", "a"]},
        "schedulingConfig": {},
        **more,
    }


def keys(*values: str) -> Json:
    """The answer of getGuestAttributes; "" for a worker that has not published its key."""
    return {
        "guestAttributes": [
            {"queryValue": {"items": [{"namespace": "hostkeys", "key": "ssh-ed25519", "value": value}]}}
            if value
            else {"queryValue": {"items": [{"namespace": "other", "key": "ssh-ed25519", "value": "x"}]}}
            for value in values
        ]
    }


def absent(api: Api) -> Api:
    return api.error(f"GET {NODE}", 404, "NOT_FOUND")


def creating(api: Api, body: Json = BODY, operation: Json = DONE) -> Api:
    return api.on(TYPES, OFFERS, query=BIG).on(f"POST {NODES}", operation, query={"nodeId": "tpu"}, body=body)


def lost(api: Api) -> Api:
    """The answer to a create is lost, and the node that it makes meanwhile in the way of the second try."""
    absent(api).on(TYPES, OFFERS, query=BIG)
    api.on(f"POST {NODES}", requests.ConnectionError("cut"), query={"nodeId": "tpu"}, body=BODY)
    return api.error(f"POST {NODES}", 409, "ALREADY_EXISTS", query={"nodeId": "tpu"}, body=BODY)


def present(api: Api, found: Json | None = None) -> Api:
    return api.on(f"GET {NODE}", found or node())


def published(api: Api, *values: str) -> Api:
    words = values or ("AAAA",)
    return api.on(KEYS, keys(*(word and public_key(word) for word in words)), body={})


# Creation


def test_create(api: Api, run: Run) -> None:
    creating(absent(api), operation=op())
    api.on(OP, op(done=False)).on(OP, DONE)
    published(present(api))
    result = run("tpu_vm", **OPTIONS)
    assert (result["changed"], result["recreated"], result["node"]) == (True, False, node())
    assert result["diff"] == {"before": {}, "after": node()}
    assert result["workers"] == [
        {
            "worker_id": 0,
            "name": "tpu",
            "address": "1.2.3.0",
            "internal_address": "10.0.0.0",
            "host_key": f"ssh-ed25519 {public_key('AAAA')}",
            "host_key_alias": "tpu.42-0",
        }
    ]


def test_create_with_everything(api: Api, run: Run) -> None:
    body = {
        "acceleratorConfig": {"type": "V5LITE_POD", "topology": "4x4"},
        "runtimeVersion": "v2-alpha-tpuv5-lite",
        "description": "mine",
        "labels": {"team": "a", "count": "3"},
        "tags": ["ssh"],
        "metadata": {
            "enable-oslogin": "true",
            "startup-script": "echo hello",
            "ssh-keys": "tpu:ssh-ed25519 AAAA tpu",
        },
        "dataDisks": [
            {"sourceDisk": "projects/my-project/zones/us-west1-c/disks/data", "mode": "READ_WRITE"},
            {"sourceDisk": "projects/other/zones/us-west1-c/disks/books", "mode": "READ_ONLY"},
        ],
        "schedulingConfig": {"spot": True, "reserved": False},
        "networkConfig": {
            "network": "net",
            "subnetwork": "sub",
            "enableExternalIps": False,
            "canIpForward": True,
            "queueCount": 2,
        },
        "cidrBlock": "10.2.0.0/29",
        "serviceAccount": {"email": "robot@my-project.iam.gserviceaccount.com", "scope": ["a"]},
        "shieldedInstanceConfig": {"enableSecureBoot": True},
        "bootDiskConfig": {"customerEncryptionKey": {"kmsKeyName": "projects/k"}},
    }
    creating(absent(api), body)
    published(present(api))
    options = {
        **NAMED,
        "accelerator_config": {"type": "V5LITE_POD", "topology": "4x4"},
        "runtime_version": "v2-alpha-tpuv5-lite",
        "description": "mine",
        "labels": {"team": "a", "count": 3},
        "tags": ["ssh"],
        "metadata": {"enable-oslogin": True},
        "startup_script": "echo hello",
        "ssh_keys": [{"user": "tpu", "key": "ssh-ed25519 AAAA me@here"}],
        "data_disks": [
            {"source": "data"},
            {"source": "projects/other/zones/us-west1-c/disks/books", "mode": "read-only"},
        ],
        "spot": True,
        "reserved": False,
        "network": "net",
        "subnetwork": "sub",
        "external_ips": False,
        "can_ip_forward": True,
        "queue_count": 2,
        "cidr_block": "10.2.0.0/29",
        "service_account": {"email": "robot@my-project.iam.gserviceaccount.com", "scopes": ["a"]},
        "secure_boot": True,
        "boot_disk_kms_key": "projects/k",
    }
    assert run("tpu_vm", **options)["changed"] is True


def test_several_interfaces_and_several_workers(api: Api, run: Run) -> None:
    interfaces = [{"network": "a", "enableExternalIps": True}, {"network": "b", "enableExternalIps": False}]
    body = {key: value for key, value in BODY.items() if key != "networkConfig"}
    creating(absent(api), {**body, "networkConfigs": interfaces})
    made = node(4, networkConfigs=interfaces)
    published(present(api, made), "AAAA", "BBBB")
    result = run("tpu_vm", **OPTIONS, networks=[{"network": "a", "external_ips": True}, {"network": "b"}])
    assert [(w["worker_id"], w["name"], w["address"], w["host_key"]) for w in result["workers"]] == [
        (0, "tpu-0", "1.2.3.0", f"ssh-ed25519 {public_key('AAAA')}"),
        (1, "tpu-1", "1.2.3.2", f"ssh-ed25519 {public_key('BBBB')}"),
    ]


def test_a_new_node_is_waited_for_until_its_workers_have_host_keys(api: Api, run: Run) -> None:
    creating(absent(api))
    present(api, node(2))
    api.error(KEYS, 404, "NOT_FOUND", body={})
    published(published(api, "AAAA", ""), "AAAA", "BBBB")
    result = run("tpu_vm", **OPTIONS)
    assert [worker["host_key"] for worker in result["workers"]] == [
        f"ssh-ed25519 {public_key('AAAA')}",
        f"ssh-ed25519 {public_key('BBBB')}",
    ]


def test_a_worker_without_a_host_key_in_the_end_is_told(api: Api, run: Run) -> None:
    creating(absent(api))
    present(api)
    for _poll in range(100):
        published(api, "")
    result = run("tpu_vm", **OPTIONS)
    api.script.clear()
    assert (result["changed"], result["workers"][0]["host_key"]) == (True, "")
    assert "1 of 1 workers of tpu have not published a host key" in "".join(result["warnings"])


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    ("status", "canonical"), [(403, "PERMISSION_DENIED"), (503, "UNAVAILABLE"), (501, "UNIMPLEMENTED")]
)
def test_host_keys_that_cannot_be_read_are_told_and_the_node_is_there(
    api: Api, run: Run, new: bool, status: int, canonical: str
) -> None:
    present(creating(absent(api)) if new else api)
    for _attempt in range(5 if status == 503 else 1):
        api.error(KEYS, status, canonical, "not for you", body={})
    result = run("tpu_vm", **OPTIONS)
    assert (result["changed"], result["node"], result["workers"][0]["host_key"]) == (new, node(), "")
    assert "The host keys of tpu could not be read: not for you" in "".join(result["warnings"])


def test_a_new_node_under_maintenance_is_waited_for(api: Api, run: Run) -> None:
    creating(absent(api))
    present(api, node(state="REPAIRING")).on(f"GET {ZONE}/operations", {})
    published(present(present(api, node(state="REPAIRING"))))
    result = run("tpu_vm", **OPTIONS)
    assert (result["node"], result["workers"][0]["host_key"]) == (node(), f"ssh-ed25519 {public_key('AAAA')}")


def test_without_waiting(api: Api, run: Run) -> None:
    creating(absent(api), operation=op())
    present(api, {"name": node()["name"], "state": "CREATING"})
    result = run("tpu_vm", **OPTIONS, wait=False)
    assert (result["changed"], result["workers"]) == (True, [])


def test_a_lost_answer_to_a_create_ends_in_adoption(api: Api, run: Run) -> None:
    present(lost(api), {"name": node()["name"], "state": "CREATING"})
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": node()["name"]})]})
    api.on(OP, DONE)
    published(present(api))
    result = run("tpu_vm", **OPTIONS)
    assert (result["changed"], result["node"]) == (True, node())


def test_a_creation_that_failed_behind_a_lost_answer_is_asked_again_for_its_error(api: Api, run: Run) -> None:
    present(lost(api), {"name": node()["name"], "state": "CREATING"})
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": node()["name"]})]})
    stockout = {"code": 8, "message": 'There is no more capacity in the zone "us-west1-c"'}
    api.on(OP, op(done=True, error=stockout))
    absent(api)
    api.on(f"POST {NODES}", op(done=True, error=stockout), query={"nodeId": "tpu"}, body=BODY)
    absent(api)
    assert run("tpu_vm", **OPTIONS)["failure"]["kind"] == "stockout"


def test_a_node_that_was_preempted_behind_a_lost_answer_is_made_again(api: Api, run: Run) -> None:
    present(lost(api), node(state="PREEMPTED")).on(f"DELETE {NODE}", DONE)
    api.on(f"POST {NODES}", DONE, query={"nodeId": "tpu"}, body=BODY)
    published(present(api, node(id="43")))
    result = run("tpu_vm", **OPTIONS)
    assert (result["changed"], result["node"]["id"]) == (True, "43")


def test_a_dead_node_of_a_queued_resource_behind_a_lost_answer_is_left_alone(api: Api, run: Run) -> None:
    queued = "projects/my-project/locations/us-west1-c/queuedResources/tpu-q"
    present(lost(api), node(state="PREEMPTED", queuedResource=queued))
    result = run("tpu_vm", **OPTIONS)
    assert result["failure"]["kind"] == "precondition"
    assert "belongs to the queued resource tpu-q" in result["msg"]


def test_a_creation_is_asked_again_once_only(api: Api, run: Run) -> None:
    absent(lost(api))
    api.error(f"POST {NODES}", 409, "ALREADY_EXISTS", query={"nodeId": "tpu"}, body=BODY)
    assert run("tpu_vm", **OPTIONS)["failure"]["kind"] == "conflict"


def test_a_node_that_is_being_created_is_taken_up(api: Api, run: Run) -> None:
    present(api, {**node(), "state": "CREATING"})
    others = [
        op(name="x", done=True, metadata={"target": node()["name"]}),
        op(name="y", metadata={"target": "z"}),
    ]
    api.on(f"GET {ZONE}/operations", {"operations": others})
    present(api, {**node(), "state": "CREATING"})
    published(present(api))
    assert run("tpu_vm", **OPTIONS)["changed"] is False


# Failed creations


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        ({"code": 8, "message": 'There is no more capacity in the zone "us-west1-c"'}, "stockout", "as spot"),
        (
            {"code": 8, "message": "Quota limit X", "details": [{"@type": "google.rpc.QuotaFailure"}]},
            "quota",
            "quota",
        ),
        ({"code": 3, "message": "The node was preempted during creation"}, "preempted", "Run the same"),
        ({"code": 13, "message": "An internal error"}, "unavailable", "later"),
    ],
)
def test_a_failed_creation_leaves_nothing_behind(
    api: Api, run: Run, error: Json, kind: str, said: str
) -> None:
    creating(absent(api), operation=op())
    api.on(OP, op(done=True, error=error))
    present(api, {**node(), "state": "TERMINATED"})
    api.on(f"DELETE {NODE}", DONE)
    result = run("tpu_vm", **OPTIONS)
    assert (result["failed"], result["failure"]["kind"]) == (True, kind)
    assert error["message"] in result["msg"]
    assert said in result["msg"]


def test_a_failed_creation_that_left_nothing(api: Api, run: Run) -> None:
    creating(absent(api), operation=op(done=True, error={"code": 8, "message": "none left"}))
    absent(api)
    assert run("tpu_vm", **OPTIONS)["failure"]["kind"] == "stockout"


def test_what_a_failed_creation_left_and_cannot_be_deleted_is_told(api: Api, run: Run) -> None:
    creating(absent(api), operation=op(done=True, error={"code": 8, "message": "none left"}))
    present(api).error(f"DELETE {NODE}", 403, "PERMISSION_DENIED", "not yours")
    result = run("tpu_vm", **OPTIONS)
    assert result["failure"]["kind"] == "stockout"
    assert "left over from the failed creation: not yours" in "".join(result["warnings"])


def test_a_broken_wait_deletes_nothing(api: Api, run: Run) -> None:
    """Only Google can say that a creation failed; that nobody answers does not."""
    creating(absent(api), operation=op())
    for _attempt in range(5):
        api.error(OP, 503, "UNAVAILABLE")
    result = run("tpu_vm", **OPTIONS)
    assert (result["failure"]["kind"], result["failure"]["operation"]) == ("unavailable", OP_NAME)
    assert not [call for call in api.calls if call.startswith("DELETE")]


def test_a_wait_that_ends_names_the_operation_and_deletes_nothing(
    api: Api, run: Run, pauses: list[float]
) -> None:
    creating(absent(api), operation=op())
    for _poll in range(200):
        api.on(OP, op())
    result = run("tpu_vm", **OPTIONS, wait_timeout=600)
    api.script.clear()
    assert (result["failure"]["kind"], result["failure"]["operation"]) == ("timeout", OP_NAME)
    assert sum(pauses) == pytest.approx(600)
    assert max(pauses) <= 12.5


def test_a_wait_ends_in_time_although_google_asks_for_pauses(api: Api, run: Run, pauses: list[float]) -> None:
    creating(absent(api), operation=op())
    for _poll in range(5):
        api.error(OP, 503, "UNAVAILABLE", headers={"Retry-After": "100"})
    result = run("tpu_vm", **OPTIONS, wait_timeout=30)
    api.script.clear()
    assert (result["failure"]["kind"], result["failure"]["operation"]) == ("timeout", OP_NAME)
    assert sum(pauses) == pytest.approx(30)


def test_what_a_failed_creation_left_has_time_of_its_own_to_go(
    api: Api, run: Run, pauses: list[float]
) -> None:
    creating(absent(api), operation=op())
    api.error(OP, 503, "UNAVAILABLE", headers={"Retry-After": "100"})
    api.on(OP, op(done=True, error={"code": 8, "message": "none left"}))
    present(api).error(f"DELETE {NODE}", 503, "UNAVAILABLE", headers={"Retry-After": "100"})
    api.on(f"DELETE {NODE}", DONE)
    result = run("tpu_vm", **OPTIONS, wait_timeout=30)
    assert (result["failure"]["kind"], result["warnings"]) == ("stockout", [])
    assert pauses[0] == pytest.approx(30)
    assert pauses[1] >= 100


def test_a_node_that_is_preempted_as_soon_as_it_is_there(api: Api, run: Run) -> None:
    creating(absent(api))
    present(api, {**node(), "state": "PREEMPTED"})
    present(api, {**node(), "state": "PREEMPTED"}).on(f"DELETE {NODE}", DONE)
    assert run("tpu_vm", **OPTIONS)["failure"]["kind"] == "preempted"


@pytest.mark.parametrize(
    ("status", "canonical", "message", "kind"),
    [
        (403, "PERMISSION_DENIED", "Permission 'tpu.nodes.create' denied", "permission"),
        (403, "PERMISSION_DENIED", "Location us-west1-c is not found or access is unauthorized.", "location"),
        (429, "RESOURCE_EXHAUSTED", "Quota limit 'TPUs' has been exceeded.", "quota"),
        (400, "INVALID_ARGUMENT", "Invalid runtime version", "invalid_argument"),
        (401, "UNAUTHENTICATED", "No", "unauthenticated"),
    ],
)
def test_a_refused_creation(api: Api, run: Run, status: int, canonical: str, message: str, kind: str) -> None:
    absent(api).on(TYPES, OFFERS, query=BIG)
    api.error(f"POST {NODES}", status, canonical, message, query={"nodeId": "tpu"}, body=BODY)
    result = run("tpu_vm", **OPTIONS)
    assert (result["failed"], result["failure"]["kind"], result["failure"]["code"]) == (True, kind, status)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"accelerator_type": "v6e-8"},
            "the zone us-west1-c does not offer v6e-8. It offers: v5litepod-8, v5litepod-16.",
        ),
        (
            {"accelerator_type": None, "accelerator_config": {"type": "V5LITE_POD", "topology": "8x8"}},
            "accelerator_config: the zone us-west1-c does not offer V5LITE_POD 8x8",
        ),
        (
            {"accelerator_type": "v99-8", "runtime_version": None},
            "accelerator_type: the zone us-west1-c does not offer v99-8",
        ),
        ({"runtime_version": None}, "runtime_version is not set. A new TPU VM (tpu) needs it."),
    ],
)
def test_what_the_zone_does_not_offer_is_refused_before_anything_is_made(
    api: Api, run: Run, check: bool, options: Json, message: str
) -> None:
    absent(api).on(TYPES, OFFERS, query=BIG)
    assert message in run("tpu_vm", check=check, **{**OPTIONS, **options})["msg"]
    assert api.writes == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator_type": None}, "accelerator_type is not set"),
        ({"state": "stopped"}, "There is no TPU VM tpu to stop"),
    ],
)
def test_what_a_new_node_needs(api: Api, run: Run, options: Json, message: str) -> None:
    absent(api)
    assert message in run("tpu_vm", **{**OPTIONS, **options})["msg"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "TPU_1"}, "name: 'TPU_1' is not valid"),
        ({"zone": "here"}, "zone: 'here' is not valid"),
        (
            {"ssh_keys": [{"user": "tpu", "key": "nonsense"}]},
            "ssh_keys: the key of user tpu is not a public key",
        ),
        (
            {"accelerator_config": {"type": "V5P", "topology": "2x2x1"}},
            "mutually exclusive: accelerator_type|accelerator_config",
        ),
        ({"networks": [], "network": "a"}, "mutually exclusive"),
    ],
)
def test_bad_options(api: Api, run: Run, options: Json, message: str) -> None:
    if "ssh_keys" in options:
        absent(api)
    assert message in run("tpu_vm", **{**OPTIONS, **options})["msg"]
    assert api.writes == []


# Nodes that are there


def test_no_change(api: Api, run: Run) -> None:
    found = node(
        labels={"a": "1"},
        tags=["y", "x"],
        metadata={"ssh-keys": "tpu:ssh-ed25519 AAAA x\nroot:ssh-rsa B", "other": "kept"},
        dataDisks=[
            {"sourceDisk": "https://www.googleapis.com/compute/v1/projects/1/zones/us-west1-c/disks/data"}
        ],
        schedulingConfig={"spot": True},
    )
    published(present(api, found))
    result = run(
        "tpu_vm",
        **OPTIONS,
        labels={"a": 1},
        tags=["x", "y"],
        metadata={"other": "kept"},
        ssh_keys=[{"user": "tpu", "key": "ssh-ed25519 AAAA me"}],
        data_disks=[{"source": "data"}],
        spot=True,
        preemptible=False,
        network="default",
        external_ips=True,
        service_account={"scopes": ["a", "b"]},
        secure_boot=False,
    )
    assert (result["changed"], result["node"]) == (False, found)


def test_the_api_may_leave_out_of_an_interface_what_is_false(api: Api, run: Run) -> None:
    have = [{"network": "projects/my-project/global/networks/a"}, {"network": "b", "enableExternalIps": True}]
    published(present(api, node(networkConfigs=have)))
    networks = [{"network": "a", "can_ip_forward": False}, {"network": "b", "external_ips": True}]
    assert run("tpu_vm", **OPTIONS, networks=networks)["changed"] is False


def test_options_left_out_are_not_compared(api: Api, run: Run) -> None:
    published(present(api, node(labels={"a": "1"}, tags=["x"], schedulingConfig={"spot": True})))
    assert run("tpu_vm", **NAMED, state="started")["changed"] is False


@pytest.mark.parametrize(
    ("found", "options", "mask", "patch"),
    [
        ({}, {"description": "d"}, "description", {"description": "d"}),
        ({"labels": {"a": "1"}}, {"labels": {"b": "2"}}, "labels", {"labels": {"b": "2"}}),
        ({"labels": {"a": "1"}}, {"labels": {}}, "labels", {"labels": {}}),
        ({}, {"tags": ["x"]}, "tags", {"tags": ["x"]}),
        (
            {"metadata": {"kept": "1", "changed": "1"}},
            {"metadata": {"changed": "2"}},
            "metadata",
            {"metadata": {"kept": "1", "changed": "2"}},
        ),
        (
            {"metadata": {"ssh-keys": "a:ssh-rsa B"}},
            {"ssh_keys": [{"user": "tpu", "key": "ssh-ed25519 AAAA"}]},
            "metadata",
            {"metadata": {"ssh-keys": "a:ssh-rsa B\ntpu:ssh-ed25519 AAAA tpu"}},
        ),
        (
            {},
            {"external_ips": False},
            "network_config.enable_external_ips",
            {"networkConfig": {"enableExternalIps": False}},
        ),
        (
            {},
            {"data_disks": [{"source": "d"}]},
            "data_disks",
            {
                "dataDisks": [
                    {"sourceDisk": "projects/my-project/zones/us-west1-c/disks/d", "mode": "READ_WRITE"}
                ]
            },
        ),
        ({}, {"labels": {"b": "2"}, "tags": ["x"]}, "labels,tags", {"labels": {"b": "2"}, "tags": ["x"]}),
    ],
)
def test_update(api: Api, run: Run, found: Json, options: Json, mask: str, patch: Json) -> None:
    before, after = node(**found), node(**{**found, "description": "as the API has it then"})
    present(api, before)
    api.on(f"PATCH {NODE}", DONE, query={"updateMask": mask}, body=patch)
    published(present(api, after))
    result = run("tpu_vm", **OPTIONS, **options)
    assert (result["changed"], result["diff"]) == (True, {"before": before, "after": after})

    present(api, before)
    predicted = run("tpu_vm", check=True, **OPTIONS, **options)
    assert predicted["changed"] is True
    for key, value in patch.items():
        have = predicted["node"][key]
        assert have == value or value.items() <= have.items()


def test_a_change_in_between_is_not_overwritten(api: Api, run: Run) -> None:
    keys_of = {"user": "tpu", "key": "ssh-ed25519 AAAA"}
    present(api)
    mine = {"metadata": {"ssh-keys": "tpu:ssh-ed25519 AAAA tpu"}}
    api.error(f"PATCH {NODE}", 409, "ABORTED", query={"updateMask": "metadata"}, body=mine)
    present(api, node(metadata={"ssh-keys": "other:ssh-rsa B"}))
    both = {"metadata": {"ssh-keys": "other:ssh-rsa B\ntpu:ssh-ed25519 AAAA tpu"}}
    api.on(f"PATCH {NODE}", DONE, query={"updateMask": "metadata"}, body=both)
    published(present(api, {**node(), **both}))
    assert run("tpu_vm", **OPTIONS, ssh_keys=[keys_of])["changed"] is True


def test_changes_that_never_cease_to_come_in_between(api: Api, run: Run) -> None:
    for _attempt in range(5):
        present(api)
        api.error(f"PATCH {NODE}", 409, "ABORTED", query={"updateMask": "tags"}, body={"tags": ["x"]})
    assert run("tpu_vm", **OPTIONS, tags=["x"])["failure"]["kind"] == "conflict"


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accelerator_type": "v5litepod-16"}, "accelerator_type (is 'v5litepod-8', wanted 'v5litepod-16')"),
        ({"runtime_version": "x"}, "runtime_version (is 'v2-alpha-tpuv5-lite', wanted 'x')"),
        ({"spot": True}, "spot (is False, wanted True)"),
        ({"network": "other"}, "network (is 'projects/my-project/global/networks/default', wanted 'other')"),
        ({"service_account": {"email": "x@y"}}, "service_account.email"),
        (
            {"secure_boot": True, "boot_disk_kms_key": "k"},
            "secure_boot (is False, wanted True), boot_disk_kms_key",
        ),
    ],
)
def test_what_cannot_change_is_named(api: Api, run: Run, check: bool, options: Json, named: str) -> None:
    present(api)
    result = run("tpu_vm", check=check, **{**OPTIONS, **options})
    assert (result["failed"], result["failure"]["reason"]) == (True, "immutable")
    assert f"The TPU VM tpu exists and cannot change in: {named}" in result["msg"]
    assert "recreate=true" in result["msg"]


def test_recreate(api: Api, run: Run) -> None:
    present(api)
    api.on(TYPES, OFFERS, query=BIG)
    api.on(f"DELETE {NODE}", op()).on(OP, DONE)
    body = {**BODY, "schedulingConfig": {"spot": True}}
    api.on(f"POST {NODES}", DONE, query={"nodeId": "tpu"}, body=body)
    published(present(api, node(id="43")))
    result = run("tpu_vm", **OPTIONS, spot=True, recreate=True)
    assert (result["changed"], result["recreated"], result["node"]["id"]) == (True, True, "43")


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED"])
def test_a_dead_node_is_replaced(api: Api, run: Run, state: str) -> None:
    present(api, node(state=state))
    api.on(TYPES, OFFERS, query=BIG).on(f"DELETE {NODE}", DONE)
    api.on(f"POST {NODES}", DONE, query={"nodeId": "tpu"}, body=BODY)
    published(present(api, node(id="43")))
    result = run("tpu_vm", **OPTIONS)
    assert (result["changed"], result["recreated"], result["node"]["id"]) == (True, True, "43")
    assert [result["diff"][side]["state"] for side in ("before", "after")] == [state, "READY"]


def test_a_dead_node_stays_if_it_cannot_be_made_again(api: Api, run: Run) -> None:
    present(api, node(state="PREEMPTED"))
    api.on(TYPES, {"acceleratorTypes": []}, query=BIG)
    assert "It offers: no TPU at all" in run("tpu_vm", **OPTIONS)["msg"]
    assert api.writes == []


def test_a_dead_node_of_a_queued_resource_is_not_replaced_by_one_without(api: Api, run: Run) -> None:
    queued = "projects/my-project/locations/us-west1-c/queuedResources/tpu-q"
    present(api, node(state="PREEMPTED", queuedResource=queued))
    result = run("tpu_vm", **OPTIONS)
    assert result["failure"]["kind"] == "precondition"
    assert "The TPU VM tpu (PREEMPTED) belongs to the queued resource tpu-q" in result["msg"]
    assert api.writes == []


def test_a_node_that_is_being_deleted_is_waited_for_and_made_again(api: Api, run: Run) -> None:
    present(api, node(state="DELETING"))
    api.on(f"GET {ZONE}/operations", {})
    present(api, node(state="DELETING"))
    absent(api)
    published(present(creating(api)))
    assert run("tpu_vm", **OPTIONS)["changed"] is True


# Deletion


def test_delete(api: Api, run: Run) -> None:
    present(api)
    api.on(f"DELETE {NODE}", op()).on(OP, DONE)
    result = run("tpu_vm", **NAMED, state="absent")
    assert (result["changed"], result["node"], result["workers"]) == (True, {}, [])
    assert result["diff"] == {"before": node(), "after": {}}


@pytest.mark.parametrize("check", [False, True])
def test_delete_what_is_not_there(api: Api, run: Run, check: bool) -> None:
    absent(api)
    assert run("tpu_vm", check=check, **NAMED, state="absent")["changed"] is False


def test_delete_what_is_being_deleted(api: Api, run: Run) -> None:
    present(api, node(state="DELETING"))
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": node()["name"]})]}).on(OP, DONE)
    absent(api)
    assert run("tpu_vm", **NAMED, state="absent")["changed"] is False


def test_a_deletion_whose_answer_was_lost(api: Api, run: Run) -> None:
    present(api).on(f"DELETE {NODE}", requests.ConnectionError("cut"))
    api.error(f"DELETE {NODE}", 409, "ABORTED")
    present(api, node(state="DELETING"))
    api.on(f"GET {ZONE}/operations", {"operations": [op(metadata={"target": node()["name"]})]}).on(OP, DONE)
    absent(api)
    assert run("tpu_vm", **NAMED, state="absent")["changed"] is True


UNDER_WAY = ["CREATING", "RESTARTING", "REIMAGING", "REPAIRING", "STOPPING", "STARTING", "HIDING", "UNHIDING"]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("state", UNDER_WAY)
def test_what_hangs_in_a_transition_is_deleted_at_once(api: Api, run: Run, state: str, wait: bool) -> None:
    """As gcloud does: a node that hangs costs money all the time."""
    found = node(state=state)
    present(api, found)
    predicted = run("tpu_vm", check=True, **NAMED, state="absent", wait=wait)
    assert api.writes == []
    present(api, found).on(f"DELETE {NODE}", op())
    if wait:
        api.on(OP, DONE)
    result = run("tpu_vm", **NAMED, state="absent", wait=wait)
    assert (predicted["changed"], result["changed"]) == (True, True)
    assert predicted["diff"] == result["diff"] == {"before": found, "after": {}}


@pytest.mark.parametrize(("status", "canonical"), [(409, "ABORTED"), (400, "FAILED_PRECONDITION")])
def test_where_google_insists_the_end_of_a_transition_is_waited_for(
    api: Api, run: Run, status: int, canonical: str
) -> None:
    present(api, node(state="STOPPING")).error(f"DELETE {NODE}", status, canonical, "busy")
    present(api, node(state="STOPPING")).on(f"GET {ZONE}/operations", {})
    present(api, node(state="STOPPED")).on(f"DELETE {NODE}", DONE)
    assert run("tpu_vm", **NAMED, state="absent")["changed"] is True


def test_a_transition_that_ends_as_google_refuses_is_no_obstacle(api: Api, run: Run) -> None:
    present(api, node(state="STOPPING")).error(f"DELETE {NODE}", 409, "ABORTED", "busy")
    present(api, node(state="STOPPED")).on(f"DELETE {NODE}", DONE)
    assert run("tpu_vm", **NAMED, state="absent")["changed"] is True


def test_without_waiting_a_refusal_is_an_error(api: Api, run: Run) -> None:
    present(api, node(state="STOPPING")).error(f"DELETE {NODE}", 409, "ABORTED", "busy")
    present(api, node(state="STOPPING"))
    assert run("tpu_vm", **NAMED, state="absent", wait=False)["failure"]["kind"] == "conflict"


@pytest.mark.parametrize("check", [True, False])
def test_what_is_being_deleted_is_not_waited_for_without_wait(api: Api, run: Run, check: bool) -> None:
    present(api, node(state="DELETING"))
    assert run("tpu_vm", check=check, **NAMED, state="absent", wait=False)["changed"] is False
    present(api, node(state="DELETING"))
    result = run("tpu_vm", check=check, **OPTIONS, wait=False)
    assert (result["failure"]["kind"], "tpu is being deleted" in result["msg"]) == ("conflict", True)


def test_a_deletion_under_way_that_fails_is_asked_for_again(api: Api, run: Run) -> None:
    present(api, node(state="DELETING")).on(f"GET {ZONE}/operations", {})
    present(api).on(f"DELETE {NODE}", DONE)
    assert run("tpu_vm", **NAMED, state="absent")["changed"] is True


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("wanted", "state"),
    [("started", "STOPPING"), ("stopped", "STARTING"), ("stopped", "CREATING"), ("stopped", "REPAIRING")],
)
def test_a_node_on_its_way_elsewhere_is_not_as_wanted(
    api: Api, run: Run, wanted: str, state: str, check: bool
) -> None:
    present(api, node(state=state))
    result = run("tpu_vm", check=check, **NAMED, state=wanted, wait=False)
    assert (result["failure"]["kind"], api.writes) == ("precondition", [])
    assert f"The TPU VM tpu is {state} and cannot be {wanted} now" in result["msg"]


@pytest.mark.parametrize(
    ("wanted", "state"), [("started", "HIDDEN"), ("started", "UNKNOWN"), ("stopped", "UNKNOWN")]
)
def test_a_node_that_can_neither_start_nor_stop_is_told(api: Api, run: Run, wanted: str, state: str) -> None:
    present(api, node(state=state))
    assert f"tpu is {state} and cannot be {wanted}" in run("tpu_vm", **NAMED, state=wanted)["msg"]


def test_without_waiting_a_change_under_way_is_not_waited_for(
    api: Api, run: Run, pauses: list[float]
) -> None:
    patch = {"query": {"updateMask": "labels"}, "body": {"labels": {"a": "1"}}}
    present(api, node(state="REPAIRING")).error(f"PATCH {NODE}", 409, "ABORTED", "busy", **patch)
    present(api, node(state="REPAIRING"))
    result = run("tpu_vm", **OPTIONS, labels={"a": 1}, wait=False)
    assert (result["failure"]["kind"], len(api.writes)) == ("conflict", 1)


def test_a_node_on_which_something_else_is_under_way_is_not_deleted(api: Api, run: Run) -> None:
    present(api).error(f"DELETE {NODE}", 409, "ABORTED", "busy")
    present(api)
    assert run("tpu_vm", **NAMED, state="absent")["failure"]["kind"] == "conflict"


def test_a_deletion_that_fails(api: Api, run: Run) -> None:
    present(api).on(
        f"DELETE {NODE}", op(done=True, error={"code": 9, "message": "It is part of a queued resource"})
    )
    result = run("tpu_vm", **NAMED, state="absent")
    assert (result["failed"], result["failure"]["kind"]) == (True, "precondition")


# Starting and stopping


@pytest.mark.parametrize(
    ("wanted", "found", "verb", "after"),
    [("started", "STOPPED", "start", "READY"), ("stopped", "READY", "stop", "STOPPED")],
)
def test_start_and_stop(api: Api, run: Run, wanted: str, found: str, verb: str, after: str) -> None:
    present(api, node(state=found))
    api.on(f"POST {NODE}:{verb}", op(), body={}).on(OP, DONE)
    present(api, node(state=after))
    if after == "READY":
        published(api)
    result = run("tpu_vm", **OPTIONS, state=wanted)
    assert (result["changed"], result["node"]["state"]) == (True, after)
    assert [result["diff"][side]["state"] for side in ("before", "after")] == [found, after]


@pytest.mark.parametrize(("status", "canonical"), [(400, "FAILED_PRECONDITION"), (409, "ABORTED")])
@pytest.mark.parametrize(
    ("wanted", "found", "verb", "meanwhile", "after"),
    [
        ("started", "STOPPED", "start", "STARTING", "READY"),
        ("stopped", "READY", "stop", "STOPPING", "STOPPED"),
    ],
)
def test_a_start_or_stop_whose_answer_was_lost(
    api: Api,
    run: Run,
    wanted: str,
    found: str,
    verb: str,
    meanwhile: str,
    after: str,
    status: int,
    canonical: str,
) -> None:
    present(api, node(state=found)).on(f"POST {NODE}:{verb}", requests.ConnectionError("cut"), body={})
    api.error(f"POST {NODE}:{verb}", status, canonical, body={})
    present(api, node(state=meanwhile)).on(f"GET {ZONE}/operations", {})
    present(api, node(state=after))
    if after == "READY":
        published(api)
    result = run("tpu_vm", **OPTIONS, state=wanted)
    assert (result["changed"], result["node"]["state"]) == (True, after)


def test_a_stop_that_google_refuses(api: Api, run: Run) -> None:
    present(api).error(f"POST {NODE}:stop", 400, "FAILED_PRECONDITION", "not now", body={})
    present(api)
    result = run("tpu_vm", **OPTIONS, state="stopped")
    assert (result["failure"]["kind"], "not now" in result["msg"]) == ("precondition", True)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("started", "READY"), ("stopped", "STOPPED"), ("present", "STOPPED"), ("stopped", "PREEMPTED")],
)
def test_a_node_that_is_as_wanted(api: Api, run: Run, wanted: str, found: str) -> None:
    present(api, node(state=found))
    if found == "READY":
        published(api)
    assert run("tpu_vm", **OPTIONS, state=wanted)["changed"] is False


def test_a_slice_cannot_be_stopped(api: Api, run: Run) -> None:
    present(api, node(2))
    result = run("tpu_vm", **OPTIONS, state="stopped")
    assert result["failure"]["kind"] == "precondition"
    assert "has several workers" in result["msg"]


# Check mode


@pytest.mark.parametrize(
    ("found", "options", "reads", "changed"),
    [
        (None, OPTIONS, "types", True),
        (node(), OPTIONS, "keys", False),
        (node(), {**OPTIONS, "tags": ["x"]}, "", True),
        (node(), {**NAMED, "state": "absent"}, "", True),
        (node(), {**NAMED, "state": "stopped"}, "", True),
        (node(state="STOPPED"), {**NAMED, "state": "started"}, "", True),
        (node(state="PREEMPTED"), OPTIONS, "types", True),
        (node(), {**OPTIONS, "spot": True, "recreate": True}, "types", True),
        (node(state="CREATING"), OPTIONS, "keys", False),
        (node(state="CREATING"), {**OPTIONS, "wait": False}, "", False),
        (node(state="DELETING"), OPTIONS, "types", True),
        (node(state="DELETING"), {**NAMED, "state": "absent"}, "", False),
    ],
)
def test_check_mode_predicts_and_writes_nothing(
    api: Api, run: Run, found: Json | None, options: Json, reads: str, changed: bool
) -> None:
    _ = present(api, found) if found else absent(api)
    for read in reads.split():
        _ = published(api) if read == "keys" else api.on(TYPES, OFFERS, query=BIG)
    assert run("tpu_vm", check=True, **options)["changed"] is changed
    assert set(api.writes) <= {KEYS}  # a POST, but one that reads


def real_create(api: Api, body: Json, made: Json) -> Api:
    return published(present(creating(api, body), made))


def real_delete(api: Api) -> Api:
    return api.on(f"DELETE {NODE}", DONE)


def real_power(api: Api, verb: str, after: str) -> Api:
    present(api.on(f"POST {NODE}:{verb}", DONE, body={}), node(state=after))
    return published(api) if after == "READY" else api


def real_settle(api: Api, state: str) -> Api:
    return present(api.on(f"GET {ZONE}/operations", {}), node(state=state))


def real_replace(api: Api, body: Json, made: Json) -> Api:
    real_delete(api.on(TYPES, OFFERS, query=BIG))
    api.on(f"POST {NODES}", DONE, query={"nodeId": "tpu"}, body=body)
    return published(present(api, made))


def real_patch(api: Api) -> Api:
    api.on(f"PATCH {NODE}", DONE, query={"updateMask": "labels"}, body={"labels": {"a": "1"}})
    return published(present(api, node(labels={"a": "1"})))


SPOT: Json = {"schedulingConfig": {"spot": True}}


@pytest.mark.parametrize(
    ("found", "options", "types", "really"),
    [
        (None, OPTIONS, True, lambda api: real_create(api, BODY, node())),
        (None, {**OPTIONS, "spot": True}, True, lambda api: real_create(api, BODY | SPOT, node(**SPOT))),
        (node(), {**NAMED, "state": "absent"}, False, real_delete),
        (node(), {**NAMED, "state": "stopped"}, False, lambda api: real_power(api, "stop", "STOPPED")),
        (
            node(state="STOPPED"),
            {**NAMED, "state": "started"},
            False,
            lambda api: real_power(api, "start", "READY"),
        ),
        (
            node(state="STARTING"),
            {**NAMED, "state": "stopped"},
            False,
            lambda api: real_power(real_settle(api, "READY"), "stop", "STOPPED"),
        ),
        (
            node(state="STOPPING"),
            {**NAMED, "state": "started"},
            False,
            lambda api: real_power(real_settle(api, "STOPPED"), "start", "READY"),
        ),
        (
            node(),
            {**OPTIONS, "spot": True, "recreate": True},
            True,
            lambda api: real_replace(api, BODY | SPOT, node(id="43", **SPOT)),
        ),
        (node(state="PREEMPTED"), OPTIONS, True, lambda api: real_replace(api, BODY, node(id="43"))),
        (node(), {**OPTIONS, "labels": {"a": 1}}, False, real_patch),
    ],
)
def test_check_mode_foretells_what_is_done(
    api: Api, run: Run, found: Json | None, options: Json, types: bool, really: Callable[[Api], Api]
) -> None:
    _ = present(api, found) if found else absent(api)
    if types:
        api.on(TYPES, OFFERS, query=BIG)
    predicted = run("tpu_vm", check=True, **options)
    assert api.writes == []
    _ = present(api, found) if found else absent(api)
    really(api)
    assert_foretold(predicted, run("tpu_vm", **options), "node")


def test_check_mode_on_a_project_whose_api_is_not_enabled(api: Api, run: Run) -> None:
    api.error(
        f"GET {NODE}", 403, "PERMISSION_DENIED", "TPU API is off.", details=[{"reason": "SERVICE_DISABLED"}]
    )
    result = run("tpu_vm", check=True, **OPTIONS)
    assert (result["changed"], result["node"]) == (True, BODY)
    assert "TPU API is off." in "".join(result["warnings"])
