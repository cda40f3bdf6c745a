# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's own Python libraries as witnesses."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import google.auth
import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, NotFound, Unauthorized
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import tpu_v2
from google.oauth2 import credentials as user_credentials
from google.protobuf import json_format  # type: ignore[import-untyped]
from googleapiclient.errors import HttpError

from tests.contract.conftest import SCOPES, Description, tpu_client
from tests.contract.served import Served
from tests.exchanges import method_of


@pytest.fixture(scope="module")
def parent(cloud: Description) -> str:
    return f"projects/{cloud['project']}/locations/{cloud['zone']}"


@pytest.fixture
def compute(build: Callable[[str], Any], session: AuthorizedSession) -> Any:
    """google-api-python-client for Compute Engine."""
    return build("compute.v1")


@pytest.fixture
def where(cloud: Description) -> dict[str, str]:
    return {"project": cloud["project"], "zone": cloud["zone"]}


@pytest.fixture
def finish(compute: Any, where: dict[str, str]) -> Callable[[Any], None]:
    """Does what is asked of Compute Engine, and waits for it."""

    def finish(call: Any) -> None:
        operation = call.execute()
        done = compute.zoneOperations().wait(**where, operation=operation["name"]).execute()
        assert (done["status"], done.get("error")) == ("DONE", None)

    return finish


@pytest.fixture
def disk(compute: Any, where: dict[str, str], finish: Callable[[Any], None]) -> Iterator[str]:
    """A blank disk, made by google-api-python-client; its path."""
    finish(compute.disks().insert(**where, body={"name": "clients", "sizeGb": "10"}))
    assert compute.disks().get(**where, disk="clients").execute()["status"] == "READY"
    yield f"projects/{where['project']}/zones/{where['zone']}/disks/clients"
    finish(compute.disks().delete(**where, disk="clients"))


def test_google_api_python_client_reads_and_is_refused(
    cloud: Description, session: AuthorizedSession, build: Callable[[str], Any], parent: str
) -> None:
    nodes = build("tpu.v2").projects().locations().nodes()
    assert nodes.list(parent=parent).execute() == {}
    with pytest.raises(HttpError, match="Invalid node id"):
        nodes.create(parent=parent, nodeId="Bad_Name", body={"acceleratorType": "v5litepod-8"}).execute()
    projects = build("cloudresourcemanager.v3").projects()
    found = projects.search(query="projectId:local-*").execute()["projects"]
    assert [project["projectId"] for project in found] == [cloud["project"]]


def test_google_cloud_tpu_is_refused_with_its_own_exceptions(
    cloud: Description, session: AuthorizedSession, client: Any, parent: str
) -> None:
    assert list(client.list_nodes(parent=parent)) == []
    with pytest.raises(NotFound):
        client.get_node(name=f"{parent}/nodes/none")
    with pytest.raises(BadRequest, match="not offered in zone"):
        client.create_node(
            parent=parent,
            node_id="a",
            node=tpu_v2.Node(accelerator_type="v4-8", runtime_version="v2-alpha-tpuv5-lite"),
        )
    unknown = user_credentials.Credentials("ya29.unknown")
    with pytest.raises((Unauthorized, google.auth.exceptions.RefreshError)):
        tpu_client(cloud, unknown).get_node(name=f"{parent}/nodes/none")
    request = tpu_v2.ListAcceleratorTypesRequest(parent=parent, page_size=3)
    types = [kind.type_ for kind in client.list_accelerator_types(request)]
    assert "v5litepod-8" in types
    assert len(types) == 8


def test_google_cloud_tpu_runs_a_node(
    cloud: Description, session: AuthorizedSession, client: Any, parent: str, disk: str
) -> None:
    attached = tpu_v2.AttachedDisk(source_disk=disk, mode=tpu_v2.AttachedDisk.DiskMode.READ_ONLY)
    node = tpu_v2.Node(
        accelerator_config=tpu_v2.AcceleratorConfig(type_="V5LITE_POD", topology="4x4"),
        runtime_version="v2-alpha-tpuv5-lite",
        data_disks=[attached],
    )
    created = client.create_node(parent=parent, node_id="clients", node=node).result(timeout=120)
    try:
        assert created.state == tpu_v2.Node.State.READY
        assert created.accelerator_type == "v5litepod-16"
        assert len({endpoint.ip_address for endpoint in created.network_endpoints}) == 4
        with pytest.raises(Conflict):
            client.create_node(parent=parent, node_id="clients", node=node)
        # A second, independent judge of what we answer: the protocol buffers.
        raw = session.get(f"{cloud['endpoints']['tpu']}/v2/{parent}/nodes/clients").json()
        json_format.ParseDict(raw, tpu_v2.Node.pb()())
        created.labels = {"team": "a"}
        updated = client.update_node(node=created, update_mask={"paths": ["labels"]}).result(timeout=60)
        assert dict(updated.labels) == {"team": "a"}
        attributes = client.get_guest_attributes(
            request={"name": created.name, "query_path": "hostkeys/ssh-ed25519"}
        ).guest_attributes
        assert len({worker.query_value.items[0].value for worker in attributes}) == 4
    finally:
        client.delete_node(name=f"{parent}/nodes/clients").result(timeout=120)
    assert list(client.list_nodes(parent=parent)) == []


def listed(served: Served, mark: int, method: str) -> int:
    """How many requests of a list method came in since."""
    return sum(method_of(exchange) == method for exchange in served.since(mark))


def test_the_life_of_nodes_by_google_cloud_tpu(
    served: Served, session: AuthorizedSession, client: Any, parent: str
) -> None:
    node = tpu_v2.Node(accelerator_type="v5litepod-1", runtime_version="v2-alpha-tpuv5-lite")
    names = [f"{parent}/nodes/tpu-{index}" for index in range(3)]
    for index in range(3):
        client.create_node(parent=parent, node_id=f"tpu-{index}", node=node).result(timeout=60)
    mark = len(served.exchanges)
    request = tpu_v2.ListNodesRequest(parent=parent, page_size=2)
    assert [found.name for found in client.list_nodes(request)] == names
    assert listed(served, mark, "tpu.projects.locations.nodes.list") == 2
    changed = tpu_v2.Node(name=names[0], labels={"team": "a"}, metadata={"k": "v"}, tags=["x"])
    client.update_node(node=changed, update_mask={"paths": ["labels", "metadata", "tags"]}).result(timeout=60)
    found = client.get_node(name=names[0])
    assert (found.labels, found.metadata, found.tags) == ({"team": "a"}, {"k": "v"}, ["x"])
    states = tpu_v2.Node.State
    for switch, state in ((client.stop_node, states.STOPPED), (client.start_node, states.READY)):
        switch(request={"name": names[0]}).result(timeout=60)
        assert client.get_node(name=names[0]).state == state
    for name in names:
        client.delete_node(name=name).result(timeout=60)
    assert list(client.list_nodes(parent=parent)) == []


def pages(resource: Any, key: str, **request: Any) -> list[list[str]]:
    """The names on each page of a list."""
    found = []
    call = resource.list(**request)
    while call is not None:
        page = call.execute()
        found.append([item["name"].rpartition("/")[2] for item in page[key]])
        call = resource.list_next(call, page)
    return found


def test_the_life_of_nodes_and_queued_resources_by_google_api_python_client(
    session: AuthorizedSession, build: Callable[[str], Any], parent: str
) -> None:
    locations = build("tpu.v2").projects().locations()
    nodes, queue = locations.nodes(), locations.queuedResources()
    body = {"acceleratorType": "v5litepod-1", "runtimeVersion": "v2-alpha-tpuv5-lite"}

    def finish(call: Any) -> None:
        operation = call.execute()
        while not operation.get("done"):
            time.sleep(0.05)
            operation = locations.operations().get(name=operation["name"]).execute()
        assert "error" not in operation

    for index in range(3):
        finish(nodes.create(parent=parent, nodeId=f"api-{index}", body=body))
    assert pages(nodes, "nodes", parent=parent, pageSize=2) == [["api-0", "api-1"], ["api-2"]]
    name = f"{parent}/nodes/api-0"
    changes = {"labels": {"team": "a"}, "description": "of a test"}
    finish(nodes.patch(name=name, updateMask="labels,description", body=changes))
    found = nodes.get(name=name).execute()
    assert {key: found[key] for key in changes} == changes
    for switch, state in ((nodes.stop, "STOPPED"), (nodes.start, "READY")):
        finish(switch(name=name, body={}))
        assert nodes.get(name=name).execute()["state"] == state
    for index in range(3):
        finish(nodes.delete(name=f"{parent}/nodes/api-{index}"))
    assert nodes.list(parent=parent).execute() == {}

    for index in range(3):
        spec = {"parent": parent, "nodeId": f"api-{index}", "node": body}
        request = {"tpu": {"nodeSpec": [spec]}}
        finish(queue.create(parent=parent, queuedResourceId=f"queue-{index}", body=request))
    wanted = [["queue-0", "queue-1"], ["queue-2"]]
    assert pages(queue, "queuedResources", parent=parent, pageSize=2) == wanted
    for index in range(3):
        finish(queue.delete(name=f"{parent}/queuedResources/queue-{index}", force=True))
    assert queue.list(parent=parent).execute() == {}
    assert nodes.list(parent=parent).execute() == {}


def test_the_life_of_disks_by_google_api_python_client(
    cloud: Description, compute: Any, where: dict[str, str], finish: Callable[[Any], None]
) -> None:
    disks = compute.disks()
    kind = f"projects/{cloud['project']}/zones/{cloud['zone']}/diskTypes/hyperdisk-balanced"
    for index in range(3):
        body = {"name": f"api-{index}", "sizeGb": "10", "type": kind, "labels": {"team": "a"}}
        finish(disks.insert(**where, body=body))
    assert pages(disks, "items", **where, maxResults=2) == [["api-0", "api-1"], ["api-2"]]
    disk = {**where, "disk": "api-0"}
    finish(disks.resize(**disk, body={"sizeGb": "12"}))
    finish(disks.update(**disk, updateMask="provisionedIops", body={"provisionedIops": "4000"}))
    labels = {"labels": {"team": "b"}, "labelFingerprint": disks.get(**disk).execute()["labelFingerprint"]}
    finish(disks.setLabels(**where, resource="api-0", body=labels))
    found = disks.get(**disk).execute()
    changed = {"sizeGb": "12", "provisionedIops": "4000", "labels": {"team": "b"}, "status": "READY"}
    assert {key: found[key] for key in changed} == changed
    for index in range(3):
        finish(disks.delete(**where, disk=f"api-{index}"))
    assert "items" not in disks.list(**where).execute()


def test_credentials_of_each_kind(
    cloud: Description,
    session: AuthorizedSession,
    cloud_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = f"{cloud['endpoints']['resourcemanager']}/v3/projects/{cloud['project']}"
    with open(f"{cloud['state_dir']}/authorized-user.json", encoding="utf-8") as file:  # noqa: PTH123
        user = json.load(file)
    # google-auth ignores the token_uri of an authorized_user file, so it is passed by hand.
    known = {key: user[key] for key in ("refresh_token", "client_id", "client_secret", "token_uri")}
    for name, value in cloud_environment.items():
        monkeypatch.setenv(name, value)
    application, project = google.auth.default(scopes=SCOPES)
    assert project == cloud["project"]
    for credentials in (application, user_credentials.Credentials(None, **known)):
        assert AuthorizedSession(credentials).get(url).json()["projectId"] == cloud["project"]
    with open(cloud["access_token_file"], encoding="utf-8") as file:  # noqa: PTH123
        token = file.read()
    assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200


def test_the_metadata_server_is_googles(cloud: Description, monkeypatch: pytest.MonkeyPatch) -> None:
    host = cloud["metadata"].removeprefix("http://")
    # google-auth reads the variables when it is imported.
    monkeypatch.setattr(_metadata, "_GCE_METADATA_HOST", host, raising=False)
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setenv("GCE_METADATA_IP", host)
    credentials = compute_engine.Credentials()
    credentials.refresh(Request())
    url = f"{cloud['endpoints']['resourcemanager']}/v3/projects/{cloud['project']}"
    answer = requests.get(url, headers={"Authorization": f"Bearer {credentials.token}"}, timeout=30)
    assert answer.json()["projectId"] == cloud["project"]
