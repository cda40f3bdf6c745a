# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules made, as gcloud, google-cloud-tpu and google-api-python-client read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import tpu_v2
from google.protobuf import json_format  # type: ignore[import-untyped]

from localcloud import catalog
from localcloud.catalog import DEFAULT_PROJECT
from tests.contract.conftest import SCOPES, Description
from tests.contract.served import Served
from tests.exchanges import known
from tests.json_types import Json

ZONE = "us-west4-a"
HERE: dict[str, Any] = {"name": "made", "zone": ZONE}
RUNTIME = "v2-alpha-tpuv5-lite"
#: The disks of the tests.
DISKS = ("made", "more")
Run = Callable[..., Json]


@pytest.fixture
def run(run_module: Run) -> Iterator[Run]:
    """Runs a module. Both APIs are on; nothing is left."""
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    yield run_module
    run_module("tpu_queued_resource", **HERE, state="absent", force=True)
    run_module("tpu_vm", **HERE, state="absent")
    for disk in DISKS:
        run_module("gcp_disk", name=disk, zone=ZONE, state="absent")


@pytest.fixture
def gcloud(
    cloud: Description, cloud_environment: dict[str, str], tmp_path: Any
) -> Callable[..., Json] | None:
    """Reads a resource with gcloud, None where there is no gcloud."""
    if shutil.which("gcloud") is None:
        return None

    def read(*arguments: str) -> Json:
        where = (f"--project={cloud['project']}", f"--zone={ZONE}", "--format=json")
        command = ["gcloud", "--quiet", *arguments, *where]
        environment = {**cloud_environment, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found: Json = json.loads(done.stdout)
        return found

    return read


def as_message(message: Any, resource: Json) -> Any:
    """The resource as a protocol buffer, parsed strictly: unknown fields and enums are errors."""
    return json_format.ParseDict(known(resource), message.pb()())


PATH = f"projects/{DEFAULT_PROJECT.project_id}"
REGION = f"{PATH}/regions/{catalog.region(ZONE)}"
ROBOT = "robot@local-tpu-project.iam.gserviceaccount.com"
KEY = f"{PATH}/locations/us/keyRings/ring/cryptoKeys/boot"


def attached(name: str, mode: str) -> dict[str, str]:
    return {"sourceDisk": f"{PATH}/zones/{ZONE}/disks/{name}", "mode": mode}


#: Options of tpu_vm beside type and version, and what they come to in the API's words.
NODES: dict[str, tuple[Json, Json]] = {
    "much at once": (
        {
            "description": "of a test",
            "labels": {"team": "a", "count": 3},
            "tags": ["x", "y"],
            "metadata": {"enable-oslogin": True},
            "startup_script": "true",
            "ssh_keys": [{"user": "tpu", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB"}],
            "data_disks": [{"source": "made"}],
            "spot": True,
            "external_ips": False,
            "service_account": {"email": ROBOT, "scopes": SCOPES},
            "secure_boot": True,
        },
        {
            "description": "of a test",
            "labels": {"team": "a", "count": "3"},
            "tags": ["x", "y"],
            "metadata": {
                "enable-oslogin": "true",
                "startup-script": "true",
                "ssh-keys": "tpu:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB tpu",
            },
            "dataDisks": [attached("made", "READ_WRITE")],
            "schedulingConfig": {"spot": True},
            "networkConfig": {
                "network": f"{PATH}/global/networks/default",
                "subnetwork": f"{REGION}/subnetworks/default",
                "enableExternalIps": False,
            },
            "serviceAccount": {"email": ROBOT, "scope": SCOPES},
            "shieldedInstanceConfig": {"enableSecureBoot": True},
            "acceleratorConfig": {"type": "V5LITE_POD", "topology": "1x1"},
        },
    ),
    "preemptible": ({"preemptible": True}, {"schedulingConfig": {"preemptible": True}}),
    "reserved": ({"reserved": True}, {"schedulingConfig": {"reserved": True}}),
    "its network and boot disk": (
        {
            "network": "n",
            "subnetwork": "s",
            "can_ip_forward": True,
            "queue_count": 4,
            "cidr_block": "10.240.0.0/29",
            "boot_disk_kms_key": KEY,
        },
        {
            "networkConfig": {
                "network": f"{PATH}/global/networks/n",
                "subnetwork": f"{REGION}/subnetworks/s",
                "enableExternalIps": True,
                "canIpForward": True,
                "queueCount": 4,
            },
            "cidrBlock": "10.240.0.0/29",
            "bootDiskConfig": {"customerEncryptionKey": {"kmsKeyName": KEY}},
        },
    ),
    "a slice by its shape, with networks and disks": (
        {
            "accelerator_config": {"type": "V5LITE_POD", "topology": "4x4"},
            "networks": [
                {"network": "n", "subnetwork": "s", "external_ips": True, "queue_count": 4},
                {"network": f"{PATH}/global/networks/m", "can_ip_forward": True},
            ],
            "data_disks": [{"source": name, "mode": "read-only"} for name in DISKS],
        },
        {
            "acceleratorConfig": {"type": "V5LITE_POD", "topology": "4x4"},
            "acceleratorType": "v5litepod-16",
            "networkConfigs": [
                {
                    "network": f"{PATH}/global/networks/n",
                    "subnetwork": f"{REGION}/subnetworks/s",
                    "enableExternalIps": True,
                    "queueCount": 4,
                },
                {
                    "network": f"{PATH}/global/networks/m",
                    "subnetwork": f"{REGION}/subnetworks/default",
                    "enableExternalIps": False,
                    "canIpForward": True,
                },
            ],
            "networkConfig": None,
            "dataDisks": [attached(name, "READ_ONLY") for name in DISKS],
        },
    ),
    "a disk to write to and one to read": (
        {"data_disks": [{"source": "made"}, {"source": "more", "mode": "read-only"}]},
        {"dataDisks": [attached("made", "READ_WRITE"), attached("more", "READ_ONLY")]},
    ),
}


@pytest.mark.parametrize(("options", "asked"), NODES.values(), ids=NODES)
def test_a_node(run: Run, build: Any, client: Any, gcloud: Any, options: Json, asked: Json) -> None:
    for disk in options.get("data_disks", []):
        assert run("gcp_disk", name=disk["source"], zone=ZONE, size_gb=10)["changed"] is True
    kind = {} if "accelerator_config" in options else {"accelerator_type": "v5litepod-1"}
    options = {**kind, "runtime_version": RUNTIME, **options}
    made = run("tpu_vm", **HERE, **options)
    assert made["changed"] is True, made
    node = made["node"]
    asked = {"acceleratorType": "v5litepod-1", "runtimeVersion": RUNTIME, "state": "READY", **asked}
    assert {key: node.get(key) for key in asked} == asked
    offers = {kind.name: kind for kind in catalog.accelerator_types(ZONE)}
    assert len(made["workers"]) == offers[node["acceleratorType"]].workers
    assert len(node["networkEndpoints"]) == len(made["workers"]) * len(node.get("networkConfigs", [node]))
    assert build("tpu.v2").projects().locations().nodes().get(name=node["name"]).execute() == node
    assert tpu_v2.Node.pb(client.get_node(name=node["name"])) == as_message(tpu_v2.Node, node)
    if gcloud is not None:
        read = gcloud("compute", "tpus", "tpu-vm", "describe", "made")
        assert as_message(tpu_v2.Node, read) == as_message(tpu_v2.Node, node)
    again = run("tpu_vm", **HERE, **options)
    assert (again.get("changed"), again.get("node")) == (False, node), again


def test_a_disk(run: Run, build: Any, gcloud: Any, cloud: Description) -> None:
    made = run("gcp_disk", **HERE, size_gb=10, labels={"team": "a"}, description="of a test")["disk"]
    assert {key: made[key] for key in ("sizeGb", "labels", "description", "status")} == {
        "sizeGb": "10",
        "labels": {"team": "a"},
        "description": "of a test",
        "status": "READY",
    }
    disks = build("compute.v1").disks()
    assert disks.get(project=cloud["project"], zone=ZONE, disk="made").execute() == made
    if gcloud is not None:
        assert gcloud("compute", "disks", "describe", "made") == made
    grown = run("gcp_disk", **HERE, size_gb=12)["disk"]
    assert disks.get(project=cloud["project"], zone=ZONE, disk="made").execute() == grown
    assert grown["sizeGb"] == "12"


def test_a_hyperdisk_and_its_performance(run: Run, build: Any, gcloud: Any, cloud: Description) -> None:
    kind = {"type": "hyperdisk-balanced", "size_gb": 10, "provisioned_throughput": 200}
    disks = build("compute.v1").disks()
    for iops in (4000, 5000):
        result = run("gcp_disk", **HERE, **kind, provisioned_iops=iops)
        assert result["changed"] is True, result
        asked = {"provisionedIops": str(iops), "provisionedThroughput": "200", "sizeGb": "10"}
        assert {key: result["disk"][key] for key in asked} == asked
        assert result["disk"]["type"].endswith("/diskTypes/hyperdisk-balanced")
        assert disks.get(project=cloud["project"], zone=ZONE, disk="made").execute() == result["disk"]
    if gcloud is not None:
        assert gcloud("compute", "disks", "describe", "made") == result["disk"]
    assert run("gcp_disk", **HERE, **kind, provisioned_iops=5000)["changed"] is False


#: Options of tpu_queued_resource beside type and version, and what they come to in the API's words.
QUEUES: dict[str, tuple[Json, Json]] = {
    "guaranteed, for a while": (
        {"guaranteed": True, "valid_until_duration": "600s"},
        {"guaranteed": {}, "queueingPolicy": {"validUntilDuration": "600s"}},
    ),
    "guaranteed, for so long": (
        {"guaranteed_min_duration": "3600s", "valid_after_duration": "0.100s"},
        {"guaranteed": {"minDuration": "3600s"}, "queueingPolicy": {"validAfterDuration": "0.100s"}},
    ),
    "from a reservation, after a day": (
        {"reservation": "mine", "valid_after_time": "2020-01-01T00:00:00Z"},
        {
            "reservationName": f"{PATH}/locations/{ZONE}/reservations/mine",
            "queueingPolicy": {"validAfterTime": "2020-01-01T00:00:00Z"},
        },
    ),
    "spot, between two days": (
        {
            "spot": True,
            "valid_after_time": "2020-01-01T00:00:00Z",
            "valid_until_time": "2199-01-01T00:00:00Z",
        },
        {
            "spot": {},
            "queueingPolicy": {
                "validInterval": {"startTime": "2020-01-01T00:00:00Z", "endTime": "2199-01-01T00:00:00Z"}
            },
        },
    ),
    "spot, before a day": (
        {"spot": True, "valid_until_time": "2199-01-01T00:00:00Z"},
        {"spot": {}, "queueingPolicy": {"validUntilTime": "2199-01-01T00:00:00Z"}},
    ),
    "several nodes": ({"node_ids": ["one", "two"], "network": "n"}, {}),
    "the slices of a job": ({"node_count": 2, "node_id_prefix": "slice", "secure_boot": True}, {}),
}


@pytest.mark.parametrize(("options", "asked"), QUEUES.values(), ids=QUEUES)
def test_a_queued_resource(
    run: Run, build: Any, client: Any, gcloud: Any, options: Json, asked: Json
) -> None:
    options = {
        "accelerator_type": "v5litepod-1",
        "runtime_version": RUNTIME,
        "labels": {"team": "a"},
        **options,
    }
    result = run("tpu_queued_resource", **HERE, **options)
    assert result["changed"] is True, result
    made, nodes = result["queued_resource"], result["nodes"]
    assert {key: made[key] for key in asked} == asked
    assert made["state"]["state"] == "ACTIVE"
    slices = options.get("node_count")
    names = [f"slice-{number}" for number in range(slices)] if slices else options.get("node_ids", ["made"])
    assert [node["name"].rpartition("/")[2] for node in nodes] == names
    assert all((node["state"], node["labels"]) == ("READY", {"team": "a"}) for node in nodes)
    locations = build("tpu.v2").projects().locations()
    assert locations.queuedResources().get(name=made["name"]).execute() == made
    message = as_message(tpu_v2.QueuedResource, made)
    assert tpu_v2.QueuedResource.pb(client.get_queued_resource(name=made["name"])) == message
    for node in nodes:
        assert locations.nodes().get(name=node["name"]).execute() == node
        assert tpu_v2.Node.pb(client.get_node(name=node["name"])) == as_message(tpu_v2.Node, node)
    if gcloud is not None:
        read = gcloud("compute", "tpus", "queued-resources", "describe", "made")
        assert as_message(tpu_v2.QueuedResource, read) == message
    listed = run("tpu_queued_resource_info", zones=[ZONE])["queued_resources"]
    assert [item["name"] for item in listed] == [made["name"]]
    again = run("tpu_queued_resource", **HERE, **options)
    assert (again.get("changed"), again.get("queued_resource")) == (False, made), again


def test_a_zone_that_cannot_be_reached_is_named(run: Run, served: Served) -> None:
    options = {"accelerator_type": "v5litepod-1", "runtime_version": RUNTIME}
    assert run("tpu_vm", **HERE, **options)["changed"] is True
    served.fault("unreachable", {"zone": "us-west1-c"})
    found = run("tpu_vm_info")
    assert [node["name"].rpartition("/")[2] for node in found["nodes"]] == ["made"]
    for module in ("tpu_vm_info", "tpu_queued_resource_info"):
        assert run(module)["unreachable_zones"] == ["us-west1-c"]
    served.clear()
    assert run("tpu_vm_info")["unreachable_zones"] == []


def test_what_zones_offer(run: Run, client: Any, cloud: Description) -> None:
    parent = f"projects/{cloud['project']}/locations/{ZONE}"
    offer = run("tpu_types_info")["zones"][ZONE]
    assert set(offer["accelerator_types"]) == {k.type_ for k in client.list_accelerator_types(parent=parent)}
    assert set(offer["runtime_versions"]) == {v.version for v in client.list_runtime_versions(parent=parent)}


def test_gcloud_is_among_the_witnesses(run: Run, gcloud: Any) -> None:
    if gcloud is None:
        pytest.skip("gcloud is not on PATH: it did not read what the modules made")
    assert gcloud("compute", "tpus", "tpu-vm", "list") == []
