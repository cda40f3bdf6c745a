# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata server."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from localcloud.google import metadata
from localcloud.google.nodes import machine_name
from tests.unit.localcloud.google_client import LOCATION, PROJECT, Google

FLAVOR = {"Metadata-Flavor": "Google"}
NODE = f"{LOCATION}/nodes/slice"


def client(google: Google, address: str = "127.0.0.1", user: int | None = 0) -> TestClient:
    """user: whose process on this host calls; None where it is none of this host."""
    application = metadata.application(google.cloud, owner=lambda _client, _server: user)
    return TestClient(application, headers=FLAVOR, client=(address, 40000))


@pytest.fixture
def guest(enabled: Google) -> TestClient:
    """The metadata server as worker 2 of a slice sees it."""
    enabled.create_node(
        "slice",
        acceleratorType="v5litepod-16",
        metadata={"startup-script": "#!/bin/sh\n", "ssh-keys": "a:ssh-rsa K a"},
        tags=["t"],
        schedulingConfig={"spot": True},
    )
    return client(enabled, enabled.machines.machines[machine_name(NODE, 2)].address)


def read(guest: TestClient, path: str, **query: str) -> Any:
    response = guest.get(f"/computeMetadata/v1/{path}", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["Metadata-Flavor"] == "Google"
    return response.json() if "json" in response.headers["content-type"] else response.text


def test_a_worker_knows_who_it_is(guest: TestClient) -> None:
    assert read(guest, "project/project-id") == PROJECT.project_id
    assert read(guest, "project/numeric-project-id") == PROJECT.number
    assert read(guest, "instance/zone") == f"projects/{PROJECT.number}/zones/us-west1-c"
    assert read(guest, "instance/name") == machine_name(NODE, 2)
    assert read(guest, "instance/tags") == "t\n"
    assert read(guest, "instance/scheduling/preemptible") == "TRUE"
    assert read(guest, "universe/universe-domain") == "googleapis.com"


def test_a_worker_reads_its_attributes(guest: TestClient) -> None:
    attributes = {
        "agent-worker-number": "2",
        "accelerator-type": "v5litepod-16",
        "startup-script": "#!/bin/sh\n",
        "ssh-keys": "a:ssh-rsa K a",
    }
    for name, value in attributes.items():
        assert read(guest, f"instance/attributes/{name}") == value
    environment = read(guest, "instance/attributes/tpu-env")
    assert "WORKER_ID: '2'\n" in environment
    assert "TOPOLOGY: '4x4'\n" in environment
    assert len(read(guest, "instance/attributes/worker-network-endpoints").split(",")) == 4


def test_directories_are_listed(guest: TestClient) -> None:
    assert read(guest, "") == "instance/\nproject/\nuniverse/\n"
    assert "service-accounts/" in read(guest, "instance/").splitlines()
    contents = read(guest, "instance/", recursive="true")
    assert contents["attributes"]["accelerator-type"] == "v5litepod-16"
    assert contents["serviceAccounts"]["default"]["aliases"] == ["default"]
    assert "token" not in contents["serviceAccounts"]["default"]


def test_a_service_account_has_tokens(enabled: Google, guest: TestClient) -> None:
    email = read(guest, "instance/service-accounts/default/email")
    assert email == PROJECT.service_account
    token = read(guest, f"instance/service-accounts/{email}/token")
    assert enabled.cloud.tokens.principal(token["access_token"]) == email
    assert read(guest, "instance/service-accounts/default/scopes").startswith("https://")


def attributes(google: Google, worker: int, node: str = NODE) -> dict[str, str]:
    answer = google.call("POST", f"/v2/{node}:getGuestAttributes", {"workerIds": [str(worker)]})
    items = answer["guestAttributes"][0]["queryValue"]["items"]
    return {f"{item['namespace']}/{item['key']}": item["value"] for item in items}


ATTRIBUTES = "/computeMetadata/v1/instance/guest-attributes"


def test_a_worker_writes_its_guest_attributes_and_nobody_elses(enabled: Google, guest: TestClient) -> None:
    before = attributes(enabled, 1)
    value = "AAAA\n@cert-authority * ssh-ed25519 AAAA"  # whatever it likes
    assert guest.put(f"{ATTRIBUTES}/hostkeys/ssh-ed25519", content=value).status_code == 200
    assert guest.put(f"{ATTRIBUTES}/mine/a", content="b").status_code == 200
    assert attributes(enabled, 2)["hostkeys/ssh-ed25519"] == value
    assert attributes(enabled, 2)["mine/a"] == "b"
    assert read(guest, "instance/guest-attributes/hostkeys/ssh-ed25519") == value
    assert read(guest, "instance/guest-attributes/").splitlines() == ["guestInventory/", "hostkeys/", "mine/"]
    assert attributes(enabled, 1) == before


def test_the_next_start_publishes_the_machines_own_host_keys(enabled: Google) -> None:
    enabled.create_node("one")
    one = f"{LOCATION}/nodes/one"
    before = attributes(enabled, 0, one)
    machine = client(enabled, enabled.machines.machines[machine_name(one, 0)].address)
    machine.put(f"{ATTRIBUTES}/hostkeys/ssh-ed25519", content="other")
    assert attributes(enabled, 0, one) != before
    for verb in ("stop", "start"):
        enabled.finish(enabled.call("POST", f"/v2/{one}:{verb}", {}))
    assert attributes(enabled, 0, one) == before


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("instance/guest-attributes/hostkeys", 404),
        ("instance/guest-attributes/a/b/c", 404),
        ("instance/guest-attributes/%2e%2e/b", 404),
        ("instance/attributes/startup-script", 405),
        ("instance/name", 405),
    ],
)
def test_nothing_else_is_written(guest: TestClient, path: str, status: int) -> None:
    assert guest.put(f"/computeMetadata/v1/{path}", content="x").status_code == status


def test_a_value_has_a_limit_and_the_header_is_asked_for(guest: TestClient) -> None:
    path = f"{ATTRIBUTES}/mine/a"
    assert guest.put(path, content="x" * 262145).status_code == 413
    assert guest.put(path, content="x", headers={"Metadata-Flavor": ""}).status_code == 403


def test_other_callers_see_no_instance(google: Google) -> None:
    host = client(google)
    assert read(host, "instance/") == "service-accounts/\n"
    assert read(host, "project/project-id") == PROJECT.project_id
    token = read(host, "instance/service-accounts/default/token")
    assert google.cloud.tokens.principal(token["access_token"]) == google.cloud.service_account


@pytest.mark.parametrize("address", ["127.0.0.1", "10.99.0.1", "172.17.0.2"])
@pytest.mark.parametrize("user", [1000, None])
def test_of_this_host_only_root_gets_a_token(google: Google, address: str, user: int | None) -> None:
    """With a token anybody makes a node, and is root there. Nor is a container of this host one of us."""
    other = client(google, address, user)
    answer = other.get("/computeMetadata/v1/instance/service-accounts/default/token")
    assert (answer.status_code, "access_token" in answer.text) == (403, False)
    assert other.get("/computeMetadata/v1/instance/service-accounts/?recursive=true").status_code == 403
    assert other.get("/").text == "computeMetadata/\n"  # google-auth looks there, and then gives up


def test_a_machine_needs_no_process_on_this_host(enabled: Google, guest: TestClient) -> None:
    machine = enabled.machines.machines[machine_name(NODE, 2)].address
    assert read(client(enabled, machine, user=None), "project/project-id") == PROJECT.project_id


def test_a_machine_that_is_not_a_worker_yet_asks_again(google: Google) -> None:
    """As its startup script does, which may be faster than the server."""
    machine = client(google, str(google.cloud.config.subnet[9]))
    assert machine.get("/computeMetadata/v1/instance/attributes/startup-script").status_code == 503
    bridge = client(google, str(google.cloud.config.address))
    assert read(bridge, "project/project-id") == PROJECT.project_id


def test_google_auth_recognises_the_server(google: Google) -> None:
    assert client(google).get("/").text == "computeMetadata/\n"
    assert client(google).get("/computeMetadata/").text == "v1/\n"


def test_the_header_is_required(google: Google) -> None:
    host = client(google)
    path = "/computeMetadata/v1/project/project-id"
    assert host.get(path, headers={"Metadata-Flavor": ""}).status_code == 403
    assert host.get(path, headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 403


@pytest.mark.parametrize(
    "path", ["instance/none", "instance/service-accounts/none/token", "project/project-id/x"]
)
def test_what_is_not_there(google: Google, path: str) -> None:
    assert client(google).get(f"/computeMetadata/v1/{path}").status_code == 404
    assert client(google).get("/latest/meta-data").status_code == 404
