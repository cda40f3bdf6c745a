# SPDX-License-Identifier: GPL-3.0-or-later
"""Queued resources as gcloud, google-cloud-tpu and google-api-python-client see them."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.auth.transport.requests import AuthorizedSession
from google.cloud import tpu_v2
from google.protobuf import json_format  # type: ignore[import-untyped]

from tests.contract.conftest import Description, localcloud

ZONE = "us-west4-a"
NODE = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}


@pytest.fixture
def parent(cloud: Description) -> str:
    return f"projects/{cloud['project']}/locations/{ZONE}"


@pytest.fixture
def full(cloud: Description) -> Iterator[Callable[[], None]]:
    """The zone has no chips left until what this gives is called."""
    state_dir = Path(cloud["state_dir"])

    def free() -> None:
        localcloud(state_dir, "capacity", "--zone", ZONE, "unlimited")

    localcloud(state_dir, "capacity", "--zone", ZONE, "0")
    yield free
    free()


@pytest.fixture
def api(build: Callable[[str], Any], session: AuthorizedSession) -> Any:
    """google-api-python-client; the TPU API is enabled."""
    return build("tpu.v2").projects().locations().queuedResources()


def until(read: Callable[[], str], wanted: str) -> None:
    """Wait for a state; others that may come before it pass, an end that is another one fails."""
    while (state := read()) != wanted:
        assert state not in {"FAILED", "SUSPENDED", "ACTIVE"} - {wanted}, state
        time.sleep(0.2)


def test_google_api_python_client(
    api: Any, parent: str, session: AuthorizedSession, cloud: Description, full: Callable[[], None]
) -> None:
    def state() -> str:
        return str(api.get(name=f"{parent}/queuedResources/q-api").execute()["state"]["state"])

    spec = {"parent": parent, "nodeId": "n-api", "node": NODE}
    body = {"spot": {}, "tpu": {"nodeSpec": [spec]}, "queueingPolicy": {"validUntilDuration": "3600s"}}
    arguments = {"parent": parent, "queuedResourceId": "q-api", "body": body, "requestId": "first"}
    assert api.create(**arguments).execute()["name"] == api.create(**arguments).execute()["name"]
    until(state, "WAITING_FOR_RESOURCES")
    full()
    until(state, "ACTIVE")
    node = session.get(f"{cloud['endpoints']['tpu']}/v2/{parent}/nodes/n-api").json()
    assert node["queuedResource"] == f"{parent}/queuedResources/q-api"
    json_format.ParseDict(node, tpu_v2.Node.pb()())
    localcloud(Path(cloud["state_dir"]), "preempt", "n-api")
    while state() != "SUSPENDED":
        time.sleep(0.2)
    found = api.get(name=f"{parent}/queuedResources/q-api").execute()
    assert found["state"]["stateInitiator"] == "SERVICE"
    json_format.ParseDict(found, tpu_v2.QueuedResource.pb()())
    assert session.get(f"{cloud['endpoints']['tpu']}/v2/{parent}/nodes").json() == {}
    api.delete(name=found["name"]).execute()
    while api.list(parent=parent).execute():
        time.sleep(0.2)


def test_google_cloud_tpu(
    client: Any, session: AuthorizedSession, parent: str, full: Callable[[], None]
) -> None:
    node = tpu_v2.Node(accelerator_type="v5litepod-1", runtime_version="v2-alpha-tpuv5-lite")
    for index in range(3):
        spec = tpu_v2.QueuedResource.Tpu.NodeSpec(parent=parent, node_id=f"n-{index}", node=node)
        made = client.create_queued_resource(
            parent=parent,
            queued_resource_id=f"q-{index}",
            queued_resource=tpu_v2.QueuedResource(tpu=tpu_v2.QueuedResource.Tpu(node_spec=[spec])),
        ).result(timeout=60)
        assert made.state.state == tpu_v2.QueuedResourceState.State.ACCEPTED
    request = tpu_v2.ListQueuedResourcesRequest(parent=parent, page_size=2)
    listed = [found.name.rpartition("/")[2] for found in client.list_queued_resources(request)]
    assert listed == ["q-0", "q-1", "q-2"]
    for index in (1, 2):
        client.delete_queued_resource(name=f"{parent}/queuedResources/q-{index}").result(timeout=60)
    full()
    name = f"{parent}/queuedResources/q-0"
    until(lambda: str(client.get_queued_resource(name=name).state.state.name), "ACTIVE")
    with pytest.raises(BadRequest, match="is ACTIVE and has nodes"):
        client.delete_queued_resource(name=name)
    client.delete_queued_resource(request={"name": name, "force": True}).result(timeout=60)
    assert list(client.list_queued_resources(parent=parent)) == []
    assert list(client.list_nodes(parent=parent)) == []


def test_google_cloud_tpu_reads_the_validity_that_a_module_gave(
    client: Any, session: AuthorizedSession, parent: str, run_module: Callable[..., dict[str, Any]]
) -> None:
    here = {"name": "q-valid", "zone": ZONE}
    valid = {"valid_after_time": "2026-01-01T00:00:00Z", "valid_until_time": "2100-01-01T00:00:00Z"}
    node = {"accelerator_type": NODE["acceleratorType"], "runtime_version": NODE["runtimeVersion"]}
    asked = {**here, **node, **valid}
    assert run_module("tpu_queued_resource", **asked)["changed"] is True
    policy = client.get_queued_resource(name=f"{parent}/queuedResources/q-valid").queueing_policy
    times = (policy.valid_interval.start_time, policy.valid_interval.end_time)
    assert [moment.ToJsonString() for moment in times] == list(valid.values())
    assert run_module("tpu_queued_resource", **asked)["changed"] is False
    run_module("tpu_queued_resource", **here, state="absent", force=True)
    assert list(client.list_queued_resources(parent=parent)) == []


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on PATH")
def test_gcloud(
    cloud_environment: dict[str, str],
    session: AuthorizedSession,
    cloud: Description,
    tmp_path: Path,
    full: Callable[[], None],
) -> None:
    def gcloud(*arguments: str) -> str:
        command = ["gcloud", "--quiet", *("compute", "tpus", "queued-resources"), *arguments]
        command += [f"--zone={ZONE}", f"--project={cloud['project']}"]
        environment = {**cloud_environment, "HOME": str(tmp_path)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def state() -> str:
        return str(json.loads(gcloud("describe", "q-gcloud", "--format=json"))["state"]["state"])

    node = ["--node-id=n-gcloud", "--accelerator-type=v5litepod-1", "--runtime-version=v2-alpha-tpuv5-lite"]
    gcloud("create", "q-gcloud", *node, "--spot")
    until(state, "WAITING_FOR_RESOURCES")
    (listed,) = json.loads(gcloud("list", "--page-size=1", "--format=json"))
    assert listed["spot"] == {}
    full()
    until(state, "ACTIVE")
    gcloud("delete", "q-gcloud", "--force")
    assert json.loads(gcloud("list", "--format=json")) == []
