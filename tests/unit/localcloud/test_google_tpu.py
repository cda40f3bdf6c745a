# SPDX-License-Identifier: GPL-3.0-or-later
"""TPU v2 as clients see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcloud.google.logins import authorized_keys
from localcloud.google.nodes import machine_name
from tests.keys import public_key
from tests.unit.localcloud.google_client import LOCATION, PROJECT, FakeMachines, Google

NODES = f"/v2/{LOCATION}/nodes"
NAME = f"{LOCATION}/nodes/tpu-v5e-8"
RUNTIME = "v2-alpha-tpuv5-lite"


def test_a_node_comes_up_with_machine_disk_and_keys(enabled: Google) -> None:
    disk = enabled.create_disk()
    operation = enabled.begin_node(
        dataDisks=[{"sourceDisk": disk}],
        labels={"team": "a"},
        metadata={"ssh-keys": "alice:ssh-ed25519 AAAA alice\nroot:ssh-ed25519 AAAB root\nnonsense\n"},
        networkConfig={"enableExternalIps": True},
    )
    assert operation["metadata"]["verb"] == "create"
    node = enabled.finish(operation)["response"]
    assert node["@type"] == "type.googleapis.com/google.cloud.tpu.v2.Node"
    machine = machine_name(NAME, 0)
    assert machine.startswith("t1v-n-")
    address = enabled.machines.machines[machine].address
    expected = {
        "name": NAME,
        "state": "READY",
        "health": "HEALTHY",
        "apiVersion": "V2",
        "acceleratorType": "v5litepod-8",
        "acceleratorConfig": {"type": "V5LITE_POD", "topology": "2x4"},
        "dataDisks": [{"sourceDisk": disk, "mode": "READ_WRITE"}],
        "networkEndpoints": [{"ipAddress": address, "port": 8470, "accessConfig": {"externalIp": address}}],
        "labels": {"team": "a"},
    }
    got = enabled.call("GET", f"/v2/{NAME}")
    assert {key: got[key] for key in expected} == expected
    assert got["id"].isdigit()
    assert enabled.machines.keys[machine] == {"alice": ["ssh-ed25519 AAAA alice"]}
    (attachment,) = enabled.machines.machines[machine].disks
    assert (attachment.index, attachment.read_only) == (1, False)
    assert attachment.disk in enabled.machines.disks


def test_a_node_is_creating_until_its_machine_answers(enabled: Google) -> None:
    enabled.machines.hold.clear()
    operation = enabled.begin_node()
    assert operation["done"] is False
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == "CREATING"
    assert enabled.error("POST", f"/v2/{NAME}:stop", status=409)["status"] == "ABORTED"
    enabled.machines.hold.set()
    assert enabled.finish(operation)["response"]["state"] == "READY"


def test_without_external_addresses_there_is_no_external_ip(enabled: Google) -> None:
    assert "externalIp" not in enabled.create_node()["networkEndpoints"][0]["accessConfig"]


def test_a_slice_has_a_machine_for_each_worker(enabled: Google) -> None:
    node = enabled.create_node("slice", acceleratorType="v5litepod-16")
    assert len(node["networkEndpoints"]) == 4
    assert len({endpoint["ipAddress"] for endpoint in node["networkEndpoints"]}) == 4
    assert len(enabled.machines.machines) == 4
    refused = enabled.error("POST", f"/v2/{LOCATION}/nodes/slice:stop")
    assert refused["status"] == "FAILED_PRECONDITION"


def test_each_worker_has_an_endpoint_in_each_network(enabled: Google) -> None:
    networks = [{"network": "a", "subnetwork": "b", "enableExternalIps": True}, {"queueCount": 4}]
    node = enabled.create_node(acceleratorType="v5litepod-16", networkConfigs=networks)
    assert "networkConfig" not in node
    project = f"projects/{PROJECT.project_id}"
    assert node["networkConfigs"] == [
        {
            "network": f"{project}/global/networks/a",
            "subnetwork": f"{project}/regions/us-west1/subnetworks/b",
            "enableExternalIps": True,
        },
        {
            "network": f"{project}/global/networks/default",
            "subnetwork": f"{project}/regions/us-west1/subnetworks/default",
            "enableExternalIps": False,
            "queueCount": 4,
        },
    ]
    endpoints = node["networkEndpoints"]
    addresses = [endpoint["ipAddress"] for endpoint in endpoints]
    assert addresses[::2] == addresses[1::2]
    assert len({*addresses}) == 4
    assert [bool(endpoint["accessConfig"]) for endpoint in endpoints] == [True, False] * 4
    body = {"networkConfig": {"enableExternalIps": True}}
    error = enabled.error("PATCH", f"/v2/{NAME}", body, updateMask="networkConfig.enableExternalIps")
    assert "has network_configs" in error["message"]


def test_a_range_of_addresses_is_kept(enabled: Google) -> None:
    assert enabled.create_node(cidrBlock="10.240.0.0/29")["cidrBlock"] == "10.240.0.0/29"
    assert enabled.create_node("other")["cidrBlock"] == str(enabled.cloud.config.subnet)


def test_a_shape_may_be_given_by_topology(enabled: Google) -> None:
    body = {"acceleratorConfig": {"type": "V5LITE_POD", "topology": "2x2"}, "runtimeVersion": RUNTIME}
    operation = enabled.call("POST", NODES, body, nodeId="a")
    assert enabled.finish(operation)["response"]["acceleratorType"] == "v5litepod-4"


def test_a_failed_boot_is_the_operations_error_and_leaves_nothing(enabled: Google) -> None:
    enabled.machines.failing = "-w-2"
    operation = enabled.finish(enabled.begin_node("slice", acceleratorType="v5litepod-16"))
    assert operation["error"]["code"] == 13
    assert "does not answer on port 22" in operation["error"]["message"]
    assert enabled.call("GET", NODES) == {}
    assert enabled.machines.machines == {}


@pytest.mark.parametrize(
    ("node_id", "change", "field", "words"),
    [
        ("Bad_Name", {}, "node_id", "Bad_Name"),
        ("a" * 64, {}, "node_id", "1 to 63"),
        ("", {}, "node_id", "Invalid node id"),
        ("a", {"acceleratorType": "v4-8"}, "node.accelerator_type", "not offered in zone us-west1-c"),
        ("a", {"acceleratorType": "v9-8"}, "node.accelerator_type", "v5litepod-8"),
        ("a", {"acceleratorConfig": {"type": "V4"}}, "node.accelerator_type", "Exactly one"),
        ("a", {"runtimeVersion": "v3"}, "node.runtime_version", '"v3" was not found'),
        ("a", {"runtimeVersion": None}, "runtimeVersion", "TYPE_STRING"),
        ("a", {"labels": {"Key": "v"}}, "node.labels", "Key=v"),
        ("a", {"networkConfig": {}, "networkConfigs": [{}]}, "node.network_configs", "At most one"),
        ("a", {"dataDisks": [{"sourceDisk": "data"}]}, "node.data_disks.source_disk", "must have the form"),
        ("a", {"spot": True}, "", 'Unknown name "spot"'),
    ],
)
def test_a_wrong_node_is_refused(
    enabled: Google, node_id: str, change: dict[str, Any], field: str, words: str
) -> None:
    body = {"acceleratorType": "v5litepod-8", "runtimeVersion": RUNTIME, **change}
    error = enabled.error("POST", NODES, body, nodeId=node_id)
    assert error["status"] == "INVALID_ARGUMENT"
    (violation,) = error["details"][0]["fieldViolations"]
    assert violation.get("field", "") == field
    assert words in violation["description"]
    assert enabled.call("GET", NODES) == {}
    assert enabled.machines.machines == {}


def test_a_runtime_version_is_required(enabled: Google) -> None:
    error = enabled.error("POST", NODES, {"acceleratorType": "v5litepod-8"}, nodeId="a")
    assert "runtime_version is required" in error["message"]


def test_a_second_node_of_the_name_is_refused(enabled: Google) -> None:
    enabled.create_node()
    body = {"acceleratorType": "v5litepod-8", "runtimeVersion": RUNTIME}
    assert enabled.error("POST", NODES, body, 409, nodeId="tpu-v5e-8")["status"] == "ALREADY_EXISTS"


def test_unknown_places_are_refused(enabled: Google) -> None:
    assert enabled.error("GET", f"/v2/{LOCATION}/nodes/none", status=404)["status"] == "NOT_FOUND"
    nowhere = f"/v2/projects/{PROJECT.project_id}/locations/mars-1/nodes"
    assert (
        "mars-1 is not found or access is unauthorized"
        in enabled.error("GET", nowhere, status=403)["message"]
    )
    stranger = "/v2/projects/stranger/locations/us-west1-c/nodes"
    assert enabled.error("GET", stranger, status=403)["status"] == "PERMISSION_DENIED"


# ---- data disks


def test_a_writable_disk_belongs_to_one_node(enabled: Google) -> None:
    disk = enabled.create_disk()
    enabled.create_node("one", dataDisks=[{"sourceDisk": disk, "mode": "READ_WRITE"}])
    for mode in ("READ_WRITE", "READ_ONLY"):
        error = enabled.error(
            "POST",
            NODES,
            {
                "acceleratorType": "v5litepod-8",
                "runtimeVersion": RUNTIME,
                "dataDisks": [{"sourceDisk": disk, "mode": mode}],
            },
            nodeId="two",
        )
        assert "is already being used by" in error["message"]


def test_a_read_only_disk_may_be_shared_and_given_to_slices(enabled: Google) -> None:
    disk = [{"sourceDisk": enabled.create_disk(), "mode": "READ_ONLY"}]
    enabled.create_node("one", dataDisks=disk)
    enabled.create_node("slice", acceleratorType="v5litepod-16", dataDisks=disk)
    assert all(machine.disks[0].read_only for machine in enabled.machines.machines.values())


def test_a_slice_gets_no_writable_disk(enabled: Google) -> None:
    body = {
        "acceleratorType": "v5litepod-16",
        "runtimeVersion": RUNTIME,
        "dataDisks": [{"sourceDisk": enabled.create_disk()}],
    }
    assert "attach it READ_ONLY" in enabled.error("POST", NODES, body, nodeId="slice")["message"]


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        (f"projects/{PROJECT.project_id}/zones/us-west1-c/disks/none", 404, "was not found"),
        (f"projects/{PROJECT.project_id}/zones/us-west4-a/disks/far", 400, "is not in the node's zone"),
    ],
)
def test_a_disk_must_be_there(enabled: Google, source: str, status: int, words: str) -> None:
    enabled.cloud.store.put(
        "disk", f"projects/{PROJECT.project_id}/zones/us-west4-a/disks/far", {"status": "READY"}
    )
    body = {
        "acceleratorType": "v5litepod-8",
        "runtimeVersion": RUNTIME,
        "dataDisks": [{"sourceDisk": source}],
    }
    assert words in enabled.error("POST", NODES, body, status, nodeId="a")["message"]


@pytest.mark.parametrize("prefix", ["", "https://www.googleapis.com/compute/v1/", "/compute/v1/"])
def test_a_disk_may_be_named_by_url(enabled: Google, prefix: str) -> None:
    path = enabled.create_disk()
    node = enabled.create_node(dataDisks=[{"sourceDisk": prefix + path}])
    assert node["dataDisks"] == [{"sourceDisk": path, "mode": "READ_WRITE"}]


def test_disks_are_attached_and_detached_by_patch(enabled: Google) -> None:
    first, second = enabled.create_disk("first"), enabled.create_disk("second")
    enabled.create_node(dataDisks=[{"sourceDisk": first}])
    both = [{"sourceDisk": first, "mode": "READ_WRITE"}, {"sourceDisk": second, "mode": "READ_WRITE"}]
    patched = enabled.call("PATCH", f"/v2/{NAME}", {"dataDisks": both}, updateMask="data_disks")
    assert enabled.finish(patched)["response"]["dataDisks"] == both
    (machine,) = enabled.machines.machines.values()
    assert [disk.index for disk in machine.disks] == [1, 2]
    enabled.finish(enabled.call("PATCH", f"/v2/{NAME}", {"dataDisks": both[1:]}, updateMask="dataDisks"))
    (machine,) = enabled.machines.machines.values()
    assert [(disk.disk[:6], disk.index) for disk in machine.disks] == [("second", 1)]


# ---- updates


def test_patch_changes_what_the_mask_names_and_nothing_else(enabled: Google) -> None:
    enabled.create_node(labels={"a": "b"}, description="old")
    body = {"description": "new", "labels": {"c": "d"}, "tags": ["t"]}
    operation = enabled.call("PATCH", f"/v2/{NAME}", body, updateMask="description,tags")
    node = enabled.finish(operation)["response"]
    assert (node["description"], node["tags"], node["labels"]) == ("new", ["t"], {"a": "b"})
    cleared = enabled.finish(enabled.call("PATCH", f"/v2/{NAME}", {}, updateMask="labels"))["response"]
    assert "labels" not in cleared


def test_patched_metadata_changes_who_may_log_in(enabled: Google) -> None:
    enabled.create_node(metadata={"ssh-keys": "alice:ssh-ed25519 AAAA alice"})
    body = {"metadata": {"ssh-keys": "bob:ssh-rsa AAAB bob", "foo": "bar"}}
    enabled.finish(enabled.call("PATCH", f"/v2/{NAME}", body, updateMask="metadata"))
    assert list(enabled.machines.keys.values()) == [{"bob": ["ssh-rsa AAAB bob"]}]


def test_patch_switches_external_addresses(enabled: Google) -> None:
    enabled.create_node()
    body = {"networkConfig": {"enableExternalIps": True}}
    mask = "network_config.enable_external_ips"
    node = enabled.finish(enabled.call("PATCH", f"/v2/{NAME}", body, updateMask=mask))["response"]
    assert node["networkConfig"]["enableExternalIps"] is True
    assert node["networkEndpoints"][0]["accessConfig"]["externalIp"]


@pytest.mark.parametrize("mask", [None, "", "runtimeVersion", "labels,acceleratorType", "state"])
def test_patch_needs_a_mask_of_what_can_change(enabled: Google, mask: str | None) -> None:
    enabled.create_node()
    query: dict[str, Any] = {} if mask is None else {"updateMask": mask}
    error = enabled.error("PATCH", f"/v2/{NAME}", {"labels": {}}, **query)
    assert error["details"][0]["fieldViolations"][0]["field"] == "update_mask"


def test_a_whole_node_may_be_sent_back(enabled: Google) -> None:
    """gcloud reads a node, changes it and sends all of it, output-only fields included."""
    node = {key: value for key, value in enabled.create_node().items() if key != "@type"}
    operation = enabled.call("PATCH", f"/v2/{NAME}", {**node, "labels": {"a": "b"}}, updateMask="labels")
    assert enabled.finish(operation)["response"]["labels"] == {"a": "b"}


# ---- stop, start, delete


def test_stop_and_start_keep_the_machine(enabled: Google) -> None:
    enabled.create_node()
    assert enabled.finish(enabled.call("POST", f"/v2/{NAME}:stop", {}))["response"]["state"] == "STOPPED"
    (machine,) = enabled.machines.machines.values()
    assert machine.running is False
    again = enabled.error("POST", f"/v2/{NAME}:stop")
    assert "it is STOPPED, not READY" in again["message"]
    assert enabled.finish(enabled.call("POST", f"/v2/{NAME}:start", {}))["response"]["state"] == "READY"
    (restarted,) = enabled.machines.machines.values()
    assert (restarted.running, restarted.address) == (True, machine.address)


def test_delete_takes_the_machines_and_leaves_the_disk(enabled: Google) -> None:
    disk = enabled.create_disk()
    enabled.create_node(dataDisks=[{"sourceDisk": disk}])
    operation = enabled.finish(enabled.call("DELETE", f"/v2/{NAME}"))
    assert operation["response"] == {"@type": "type.googleapis.com/google.protobuf.Empty"}
    assert enabled.machines.machines == {}
    assert len(enabled.machines.disks) == 1
    enabled.error("GET", f"/v2/{NAME}", status=404)
    enabled.error("DELETE", f"/v2/{NAME}", status=404)
    enabled.create_node(dataDisks=[{"sourceDisk": disk}])


def test_delete_overtakes_a_creation(enabled: Google) -> None:
    enabled.machines.hold.clear()
    creation = enabled.begin_node()
    deletion = enabled.call("DELETE", f"/v2/{NAME}")
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == "DELETING"
    enabled.error("DELETE", f"/v2/{NAME}", status=409)
    enabled.machines.hold.set()
    assert enabled.finish(creation)["error"]["code"] == 1
    assert "error" not in enabled.finish(deletion)
    assert enabled.machines.machines == {}


# ---- operations


def test_a_cancelled_creation_leaves_nothing(enabled: Google) -> None:
    enabled.machines.hold.clear()
    operation = enabled.begin_node()
    enabled.error("DELETE", f"/v2/{operation['name']}")
    assert enabled.call("POST", f"/v2/{operation['name']}:cancel") == {}
    assert enabled.call("GET", f"/v2/{operation['name']}")["metadata"]["cancelRequested"] is True
    enabled.machines.hold.set()
    assert enabled.finish(operation)["error"]["code"] == 1
    assert enabled.call("GET", NODES) == {}
    assert enabled.call("GET", f"/v2/{LOCATION}/operations")["operations"][0]["name"] == operation["name"]
    assert enabled.call("DELETE", f"/v2/{operation['name']}") == {}
    enabled.error("GET", f"/v2/{operation['name']}", status=404)


def test_a_new_server_finishes_what_a_killed_one_began(
    enabled: Google, open_google: Callable[[FakeMachines], Google]
) -> None:
    enabled.machines.hold.clear()
    operation = enabled.begin_node()
    successor = open_google(FakeMachines())
    assert successor.work.unsettled() == [NAME]
    successor.cloud.operations.resume()
    assert successor.finish(operation)["response"]["state"] == "READY"
    assert successor.work.unsettled() == []


def test_machines_that_ended_are_booted_again(enabled: Google) -> None:
    enabled.create_node()
    (machine,) = enabled.machines.machines
    enabled.machines.stop(machine)
    assert enabled.work.unsettled() == [NAME]
    enabled.machines.hold.clear()
    enabled.work.repair()
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == "REPAIRING"
    enabled.work.repair()
    (operation,) = enabled.cloud.operations.pending(NAME)
    enabled.machines.hold.set()
    assert enabled.finish(operation)["response"]["state"] == "READY"
    assert enabled.machines.machines[machine].running


def test_a_failed_repair_is_not_tried_again_at_once(enabled: Google) -> None:
    enabled.create_node()
    (machine,) = enabled.machines.machines
    enabled.machines.stop(machine)
    enabled.machines.failing = "-w-0"
    enabled.work.repair()
    for operation in enabled.cloud.operations.pending(NAME):
        enabled.finish(operation)
    enabled.work.repair()
    assert enabled.cloud.operations.pending(NAME) == []
    assert enabled.call("GET", f"/v2/{NAME}")["state"] == "REPAIRING"


def test_stopped_machines_stay_stopped(enabled: Google) -> None:
    enabled.create_node()
    enabled.finish(enabled.call("POST", f"/v2/{NAME}:stop", {}))
    enabled.work.repair()
    assert enabled.work.unsettled() == []


# ---- guest attributes


def test_guest_attributes_are_the_host_keys(enabled: Google) -> None:
    enabled.create_node("slice", acceleratorType="v5litepod-16")
    path = f"/v2/{LOCATION}/nodes/slice:getGuestAttributes"
    everything = enabled.call("POST", path, {"workerIds": [""]})["guestAttributes"]
    assert len(everything) == 4
    one = enabled.call("POST", path, {"queryPath": "hostkeys/ssh-ed25519", "workerIds": ["2"]})
    machine = machine_name(f"{LOCATION}/nodes/slice", 2)
    assert one["guestAttributes"] == [
        {
            "queryPath": "hostkeys/ssh-ed25519",
            "queryValue": {
                "items": [{"namespace": "hostkeys", "key": "ssh-ed25519", "value": public_key(machine)}]
            },
        }
    ]
    hostnames = [
        item["value"]
        for worker in everything
        for item in worker["queryValue"]["items"]
        if item["key"] == "hostname"
    ]
    assert hostnames == [machine_name(f"{LOCATION}/nodes/slice", worker) for worker in range(4)]


@pytest.mark.parametrize(
    ("text", "users"),
    [
        ("", {}),
        (
            "a:ssh-rsa K1\n a:ssh-rsa K2 c \nb:ssh-rsa K3",
            {"a": ["ssh-rsa K1", "ssh-rsa K2 c"], "b": ["ssh-rsa K3"]},
        ),
        ("root:ssh-rsa K\n:ssh-rsa K\nplain\nx:lonely", {}),
    ],
)
def test_ssh_keys_metadata(text: str, users: dict[str, list[str]]) -> None:
    assert authorized_keys({"ssh-keys": text}) == users
    assert authorized_keys({}) == {}


# ---- lists


def test_pages_neither_repeat_nor_skip(enabled: Google) -> None:
    for index in range(7):
        enabled.create_node(f"node-{index}")
    names: list[str] = []
    query: dict[str, Any] = {"pageSize": 3}
    while True:
        page = enabled.call("GET", NODES, **query)
        names += [node["name"].rpartition("/")[2] for node in page["nodes"]]
        if "nextPageToken" not in page:
            break
        query["pageToken"] = page["nextPageToken"]
        enabled.finish(enabled.call("DELETE", f"/v2/{LOCATION}/nodes/node-{len(names) - 1}"))
    assert names == [f"node-{index}" for index in range(7)]
    assert enabled.error("GET", NODES, pageToken="%%%")["status"] == "INVALID_ARGUMENT"
    assert enabled.error("GET", NODES, pageSize=-1)["status"] == "INVALID_ARGUMENT"


def test_a_list_over_all_locations(enabled: Google) -> None:
    enabled.create_node("a")
    body = {"acceleratorType": "v6e-8", "runtimeVersion": "v2-alpha-tpuv6e"}
    elsewhere = f"projects/{PROJECT.project_id}/locations/us-east5-a"
    enabled.finish(enabled.call("POST", f"/v2/{elsewhere}/nodes", body, nodeId="b"))
    everywhere = enabled.call("GET", f"/v2/projects/{PROJECT.project_id}/locations/-/nodes")["nodes"]
    assert sorted(node["name"] for node in everywhere) == [f"{elsewhere}/nodes/b", f"{LOCATION}/nodes/a"]
    assert len(enabled.call("GET", NODES)["nodes"]) == 1


def test_what_a_location_offers(enabled: Google) -> None:
    types = enabled.call("GET", f"/v2/{LOCATION}/acceleratorTypes")["acceleratorTypes"]
    assert "v5litepod-8" in {kind["type"] for kind in types}
    one = enabled.call("GET", f"/v2/{LOCATION}/acceleratorTypes/v5litepod-8")
    assert one["acceleratorConfigs"] == [{"type": "V5LITE_POD", "topology": "2x4"}]
    enabled.error("GET", f"/v2/{LOCATION}/acceleratorTypes/v4-8", status=404)
    versions = enabled.call("GET", f"/v2/{LOCATION}/runtimeVersions")["runtimeVersions"]
    assert RUNTIME in {version["version"] for version in versions}
    assert enabled.call("GET", f"/v2/{LOCATION}/runtimeVersions/{RUNTIME}")["version"] == RUNTIME
    enabled.error("GET", f"/v2/{LOCATION}/runtimeVersions/none", status=404)
    locations = enabled.call("GET", f"/v2/projects/{PROJECT.project_id}/locations")["locations"]
    assert "us-west1-c" in {location["locationId"] for location in locations}
    assert enabled.call("GET", f"/v2/{LOCATION}")["name"] == LOCATION
    everywhere = enabled.call("GET", f"/v2/projects/{PROJECT.project_id}/locations/-/acceleratorTypes")
    assert len(everywhere["acceleratorTypes"]) > len(types)


def test_projects_may_be_named_by_number(enabled: Google) -> None:
    enabled.create_node()
    path = f"/v2/projects/{PROJECT.number}/locations/us-west1-c/nodes/tpu-v5e-8"
    assert enabled.call("GET", path)["name"] == NAME
