# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules made, as gcloud, google-cloud-tpu and google-api-python-client read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.api_core.client_options import ClientOptions
from google.cloud import tpu_v2
from google.oauth2 import service_account
from google.protobuf import json_format  # type: ignore[import-untyped]
from googleapiclient import discovery as api_discovery

from localcloud import discovery
from tests.contract.conftest import Description
from tests.contract.served import Served

ZONE = "us-west4-a"
HERE: dict[str, Any] = {"name": "made", "zone": ZONE}
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
RUNTIME = "v2-alpha-tpuv5-lite"
Json = dict[str, Any]
Run = Callable[..., Json]


@pytest.fixture
def run(run_module: Run) -> Iterator[Run]:
    """Runs a module. Both APIs are on; nothing is left."""
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    yield run_module
    run_module("tpu_queued_resource", **HERE, state="absent", force=True)
    run_module("tpu_vm", **HERE, state="absent")
    run_module("gcp_disk", **HERE, state="absent")


@pytest.fixture
def credentials(cloud: Description) -> Any:
    return service_account.Credentials.from_service_account_file(cloud["service_account_file"], scopes=SCOPES)


@pytest.fixture
def build(cloud: Description, credentials: Any) -> Callable[[str, str], Any]:
    """google-api-python-client for an API, at a path of the local cloud."""

    def client(name: str, path: str) -> Any:
        root = f"http://127.0.0.1:{cloud['port']}/"
        document = {**discovery.load(name)._raw, "rootUrl": root}
        options = {"api_endpoint": root + path}
        return api_discovery.build_from_document(document, credentials=credentials, client_options=options)

    return client


@pytest.fixture
def google(cloud: Description, credentials: Any) -> Any:
    options = ClientOptions(api_endpoint=f"http://127.0.0.1:{cloud['port']}")
    return tpu_v2.TpuClient(credentials=credentials, transport="rest", client_options=options)


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
    return json_format.ParseDict(resource, message.pb()())


def test_a_node(run: Run, build: Any, google: Any, gcloud: Any, cloud: Description) -> None:
    disk = f"projects/{cloud['project']}/zones/{ZONE}/disks/made"
    assert run("gcp_disk", **HERE, size_gb=10)["changed"] is True
    options = {
        "accelerator_config": {"type": "V5LITE_POD", "topology": "1x1"},
        "runtime_version": RUNTIME,
        "description": "of a test",
        "labels": {"team": "a", "count": 3},
        "tags": ["x", "y"],
        "metadata": {"enable-oslogin": True},
        "startup_script": "true",
        "ssh_keys": [{"user": "tpu", "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB"}],
        "data_disks": [{"source": "made"}],
        "spot": True,
        "external_ips": False,
        "service_account": {"email": "robot@local-tpu-project.iam.gserviceaccount.com", "scopes": SCOPES},
        "secure_boot": True,
    }
    made = run("tpu_vm", **HERE, **options)
    assert made["changed"] is True, made
    node = made["node"]
    asked = {
        "description": "of a test",
        "labels": {"team": "a", "count": "3"},
        "tags": ["x", "y"],
        "metadata": {
            "enable-oslogin": "true",
            "startup-script": "true",
            "ssh-keys": "tpu:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB tpu",
        },
        "dataDisks": [{"sourceDisk": disk, "mode": "READ_WRITE"}],
        "schedulingConfig": {"spot": True},
        "serviceAccount": {"email": options["service_account"]["email"], "scope": SCOPES},  # type: ignore[index]
        "shieldedInstanceConfig": {"enableSecureBoot": True},
        "acceleratorConfig": options["accelerator_config"],
        "acceleratorType": "v5litepod-1",
        "runtimeVersion": RUNTIME,
        "state": "READY",
    }
    assert {key: node[key] for key in asked} == asked
    assert node["networkConfig"]["enableExternalIps"] is False
    assert build("tpu.v2", "").projects().locations().nodes().get(name=node["name"]).execute() == node
    assert tpu_v2.Node.pb(google.get_node(name=node["name"])) == as_message(tpu_v2.Node, node)
    if gcloud is not None:
        read = gcloud("compute", "tpus", "tpu-vm", "describe", "made")
        assert as_message(tpu_v2.Node, read) == as_message(tpu_v2.Node, node)
    assert run("tpu_vm", **HERE, **options)["changed"] is False


def test_a_disk(run: Run, build: Any, gcloud: Any, cloud: Description) -> None:
    made = run("gcp_disk", **HERE, size_gb=10, labels={"team": "a"}, description="of a test")["disk"]
    assert {key: made[key] for key in ("sizeGb", "labels", "description", "status")} == {
        "sizeGb": "10",
        "labels": {"team": "a"},
        "description": "of a test",
        "status": "READY",
    }
    disks = build("compute.v1", "compute/v1/").disks()
    assert disks.get(project=cloud["project"], zone=ZONE, disk="made").execute() == made
    if gcloud is not None:
        assert gcloud("compute", "disks", "describe", "made") == made
    grown = run("gcp_disk", **HERE, size_gb=12)["disk"]
    assert disks.get(project=cloud["project"], zone=ZONE, disk="made").execute() == grown
    assert grown["sizeGb"] == "12"


def test_a_hyperdisk_and_its_performance(run: Run, build: Any, gcloud: Any, cloud: Description) -> None:
    kind = {"type": "hyperdisk-balanced", "size_gb": 10, "provisioned_throughput": 200}
    disks = build("compute.v1", "compute/v1/").disks()
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


@pytest.mark.parametrize(
    ("tier", "asked"),
    [
        ({"spot": True}, {"spot": {}}),
        ({"guaranteed": True, "valid_until_duration": "600s"}, {"guaranteed": {}}),
    ],
)
def test_a_queued_resource(run: Run, build: Any, google: Any, gcloud: Any, tier: Json, asked: Json) -> None:
    options = {"accelerator_type": "v5litepod-1", "runtime_version": RUNTIME, "labels": {"team": "a"}, **tier}
    result = run("tpu_queued_resource", **HERE, **options)
    assert result["changed"] is True, result
    made, (node,) = result["queued_resource"], result["nodes"]
    assert {key: made[key] for key in asked} == asked
    assert (made["state"]["state"], node["state"], node["labels"]) == ("ACTIVE", "READY", {"team": "a"})
    queue = build("tpu.v2", "").projects().locations().queuedResources()
    assert queue.get(name=made["name"]).execute() == made
    message = as_message(tpu_v2.QueuedResource, made)
    assert tpu_v2.QueuedResource.pb(google.get_queued_resource(name=made["name"])) == message
    if gcloud is not None:
        read = gcloud("compute", "tpus", "queued-resources", "describe", "made")
        assert as_message(tpu_v2.QueuedResource, read) == message
    listed = run("tpu_queued_resource_info", zones=[ZONE])["queued_resources"]
    assert [item["name"] for item in listed] == [made["name"]]
    assert run("tpu_queued_resource", **HERE, **options)["changed"] is False


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


def test_what_zones_offer(run: Run, google: Any, cloud: Description) -> None:
    parent = f"projects/{cloud['project']}/locations/{ZONE}"
    offer = run("tpu_types_info")["zones"][ZONE]
    assert set(offer["accelerator_types"]) == {k.type_ for k in google.list_accelerator_types(parent=parent)}
    assert set(offer["runtime_versions"]) == {v.version for v in google.list_runtime_versions(parent=parent)}


def test_gcloud_is_among_the_witnesses(run: Run, gcloud: Any) -> None:
    if gcloud is None:
        pytest.skip("gcloud is not on PATH: it did not read what the modules made")
    assert gcloud("compute", "tpus", "tpu-vm", "list") == []
