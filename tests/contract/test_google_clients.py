# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's own Python libraries as witnesses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import google.auth
import pytest
import requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, Conflict, NotFound, Unauthorized
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import tpu_v2
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from google.protobuf import json_format  # type: ignore[import-untyped]
from googleapiclient import discovery as api_discovery
from googleapiclient.errors import HttpError

from localcloud import discovery
from tests.contract.conftest import Description

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


@pytest.fixture(scope="module")
def credentials(cloud: Description) -> Any:
    return service_account.Credentials.from_service_account_file(cloud["service_account_file"], scopes=SCOPES)


@pytest.fixture(scope="module")
def session(cloud: Description, credentials: Any) -> AuthorizedSession:
    """An authorized session; both APIs are enabled."""
    session = AuthorizedSession(credentials)
    services = f"{cloud['endpoints']['serviceusage']}/v1/projects/{cloud['project']}/services:batchEnable"
    body = {"serviceIds": ["compute.googleapis.com", "tpu.googleapis.com"]}
    assert session.post(services, json=body).status_code == 200
    return session


@pytest.fixture(scope="module")
def parent(cloud: Description) -> str:
    return f"projects/{cloud['project']}/locations/{cloud['zone']}"


def build(cloud: Description, credentials: Any, name: str) -> Any:
    """google-api-python-client over the discovery document that it ships."""
    raw = discovery.load(name)._raw
    options = {"api_endpoint": f"http://127.0.0.1:{cloud['port']}/"}
    return api_discovery.build_from_document(raw, credentials=credentials, client_options=options)


@pytest.fixture
def disk(cloud: Description, session: AuthorizedSession, credentials: Any) -> Iterator[str]:
    """A blank disk, made by google-api-python-client; its path."""
    endpoint = f"{cloud['endpoints']['compute']}/"
    compute = api_discovery.build_from_document(
        {**discovery.load("compute.v1")._raw, "rootUrl": f"http://127.0.0.1:{cloud['port']}/"},
        credentials=credentials,
        client_options={"api_endpoint": endpoint},
    )
    where = {"project": cloud["project"], "zone": cloud["zone"]}

    def wait(operation: dict[str, Any]) -> None:
        done = compute.zoneOperations().wait(**where, operation=operation["name"]).execute()
        assert (done["status"], done.get("error")) == ("DONE", None)

    wait(compute.disks().insert(**where, body={"name": "clients", "sizeGb": "10"}).execute())
    assert compute.disks().get(**where, disk="clients").execute()["status"] == "READY"
    yield f"projects/{cloud['project']}/zones/{cloud['zone']}/disks/clients"
    wait(compute.disks().delete(**where, disk="clients").execute())


def test_google_api_python_client_reads_and_is_refused(
    cloud: Description, session: AuthorizedSession, credentials: Any, parent: str
) -> None:
    nodes = build(cloud, credentials, "tpu.v2").projects().locations().nodes()
    assert nodes.list(parent=parent).execute() == {}
    with pytest.raises(HttpError, match="Invalid node id"):
        nodes.create(parent=parent, nodeId="Bad_Name", body={"acceleratorType": "v5litepod-8"}).execute()
    projects = build(cloud, credentials, "cloudresourcemanager.v3").projects()
    found = projects.search(query="projectId:local-*").execute()["projects"]
    assert [project["projectId"] for project in found] == [cloud["project"]]


def tpu_client(cloud: Description, credentials: Any) -> Any:
    options = ClientOptions(api_endpoint=f"http://127.0.0.1:{cloud['port']}")
    return tpu_v2.TpuClient(credentials=credentials, transport="rest", client_options=options)


def test_google_cloud_tpu_is_refused_with_its_own_exceptions(
    cloud: Description, session: AuthorizedSession, credentials: Any, parent: str
) -> None:
    client = tpu_client(cloud, credentials)
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
    cloud: Description, session: AuthorizedSession, credentials: Any, parent: str, disk: str
) -> None:
    client = tpu_client(cloud, credentials)
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
