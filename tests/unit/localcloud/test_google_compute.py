# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute Engine v1 as clients see it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.localcloud.google_client import PROJECT, ZONE_PATH, Google

DISKS = f"/compute/v1/{ZONE_PATH}/disks"
LINK = f"https://www.googleapis.com/compute/v1/{ZONE_PATH}"


def wait(google: Google, operation: dict[str, Any]) -> dict[str, Any]:
    return google.call("POST", f"/compute/v1/{ZONE_PATH}/operations/{operation['name']}/wait")


def test_a_disk_is_made(enabled: Google) -> None:
    body = {"name": "data", "sizeGb": "256", "type": f"{LINK}/diskTypes/pd-balanced", "labels": {"a": "b"}}
    operation = enabled.call("POST", DISKS, body)
    assert operation["operationType"] == "insert"
    assert operation["targetLink"] == f"{LINK}/disks/data"
    done = wait(enabled, operation)
    assert (done["status"], done["progress"]) == ("DONE", 100)
    assert "error" not in done
    disk = enabled.call("GET", f"{DISKS}/data")
    expected = {
        "name": "data",
        "status": "READY",
        "sizeGb": "256",
        "selfLink": f"{LINK}/disks/data",
        "type": f"{LINK}/diskTypes/pd-balanced",
        "zone": LINK,
        "labels": {"a": "b"},
    }
    assert {key: disk[key] for key in expected} == expected
    assert list(enabled.machines.disks.values()) == [256]
    path = f"/compute/v1/{ZONE_PATH}/operations"
    assert enabled.call("GET", f"{path}/{operation['name']}")["status"] == "DONE"
    assert [item["name"] for item in enabled.call("GET", path)["items"]] == [operation["name"]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "Data_1"}, "Must be a match of regex"),
        ({}, "Required field 'resource.name'"),
        ({"name": "d", "sizeGb": "5"}, "10 to 65536 GB"),
        ({"name": "d", "sizeGb": "ten"}, "TYPE_INT64"),
        (
            {"name": "d", "type": "zones/us-west1-c/diskTypes/pd-fast"},
            "disk type does not exist|type does not exist",
        ),
        ({"name": "d", "labels": {"A": "b"}}, "Invalid value for field 'resource.labels'"),
        ({"name": "d", "size": "10"}, 'Unknown name "size"'),
    ],
)
def test_a_wrong_disk_is_refused(enabled: Google, body: dict[str, Any], words: str) -> None:
    error = enabled.error("POST", DISKS, body)
    assert error["errors"][0]["reason"] == "invalid"
    assert any(word in error["message"] for word in words.split("|"))
    assert enabled.machines.disks == {}


def test_disks_from_images_are_not_offered(enabled: Google) -> None:
    error = enabled.error("POST", DISKS, {"name": "d", "sourceImage": "debian"}, 501)
    assert "blank disks only" in error["message"]


def test_a_name_is_taken_once(enabled: Google) -> None:
    enabled.create_disk("data")
    error = enabled.error("POST", DISKS, {"name": "data"}, 409)
    assert error["errors"][0]["reason"] == "alreadyExists"


def test_what_is_not_there(enabled: Google) -> None:
    for method, path in (
        ("GET", "none"),
        ("DELETE", "none"),
        ("POST", "none/resize"),
        ("POST", "none/setLabels"),
    ):
        error = enabled.error(method, f"{DISKS}/{path}", {"sizeGb": "20"} if "resize" in path else None, 404)
        assert error["errors"][0]["reason"] == "notFound"
        assert error["message"] == f"The resource '{ZONE_PATH}/disks/none' was not found"
    project = f"/compute/v1/projects/{PROJECT.project_id}"
    enabled.error("GET", f"{project}/zones/mars-1/disks", status=404)
    enabled.error("GET", f"{project}/zones/us-west1-c/operations/none", status=404)
    enabled.error("POST", f"{project}/zones/us-west1-c/operations/none/wait", status=404)
    enabled.error("GET", f"{project}/zones/us-west1-c/diskTypes/none", status=404)
    enabled.error("GET", f"{project}/regions/mars", status=404)


def test_a_disk_in_use_stays(enabled: Google) -> None:
    path = enabled.create_disk("data")
    enabled.create_node(dataDisks=[{"sourceDisk": path}])
    assert enabled.call("GET", f"{DISKS}/data")["users"] == [f"{LINK}/instances/tpu-tpu-v5e-8"]
    error = enabled.error("DELETE", f"{DISKS}/data")
    assert error["errors"][0]["reason"] == "resourceInUseByAnotherResource"
    assert enabled.call("GET", f"{DISKS}/data")["status"] == "READY"


def test_a_free_disk_goes(enabled: Google) -> None:
    enabled.create_disk("data")
    wait(enabled, enabled.call("DELETE", f"{DISKS}/data"))
    enabled.error("GET", f"{DISKS}/data", status=404)
    assert enabled.machines.disks == {}


def test_a_disk_grows_and_never_shrinks(enabled: Google) -> None:
    enabled.create_disk("data", "20")
    wait(enabled, enabled.call("POST", f"{DISKS}/data/resize", {"sizeGb": "30"}))
    assert enabled.call("GET", f"{DISKS}/data")["sizeGb"] == "30"
    assert list(enabled.machines.disks.values()) == [30]
    assert "cannot be smaller" in enabled.error("POST", f"{DISKS}/data/resize", {"sizeGb": "20"})["message"]


def test_the_performance_of_a_hyperdisk_changes_in_place(enabled: Google) -> None:
    enabled.create_disk("data", type=f"{ZONE_PATH}/diskTypes/hyperdisk-balanced", provisionedIops="4000")
    assert enabled.call("GET", f"{DISKS}/data")["provisionedIops"] == "4000"
    changes = {"provisionedIops": "5000", "provisionedThroughput": "200"}
    for query in ({"updateMask": "provisionedIops"}, {"paths": ["provisionedThroughput"]}):
        wait(enabled, enabled.call("PATCH", f"{DISKS}/data", changes, **query))
    disk = enabled.call("GET", f"{DISKS}/data")
    assert {field: disk[field] for field in changes} == changes


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({}, "Invalid update mask"),
        ({"updateMask": "sizeGb"}, "Invalid update mask 'sizeGb'"),
        ({"updateMask": "provisionedIops"}, "cannot be specified for disk type pd-balanced"),
    ],
)
def test_what_a_disk_cannot_change_in_place(enabled: Google, query: dict[str, Any], words: str) -> None:
    enabled.create_disk("data", type=f"{ZONE_PATH}/diskTypes/pd-balanced")
    error = enabled.error("PATCH", f"{DISKS}/data", {"provisionedIops": "5000"}, **query)
    assert words in error["message"]
    new = {"name": "other", "type": f"{ZONE_PATH}/diskTypes/pd-ssd", "provisionedThroughput": "200"}
    assert "cannot be specified" in enabled.error("POST", DISKS, new)["message"]


def test_labels_change_under_their_fingerprint(enabled: Google) -> None:
    enabled.create_disk("data")
    before = enabled.call("GET", f"{DISKS}/data")["labelFingerprint"]
    body = {"labels": {"a": "b"}, "labelFingerprint": before}
    wait(enabled, enabled.call("POST", f"{DISKS}/data/setLabels", body))
    disk = enabled.call("GET", f"{DISKS}/data")
    assert disk["labels"] == {"a": "b"}
    assert disk["labelFingerprint"] != before
    error = enabled.error("POST", f"{DISKS}/data/setLabels", body)
    assert error["errors"][0]["reason"] == "conditionNotMet"
    current = {"labels": {}, "labelFingerprint": disk["labelFingerprint"]}
    wait(enabled, enabled.call("POST", f"{DISKS}/data/setLabels", current))
    assert "labels" not in enabled.call("GET", f"{DISKS}/data")


def test_a_failed_operation_says_why(enabled: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, size_gb: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(enabled.machines, "create_disk", refuse)
    done = wait(enabled, enabled.call("POST", DISKS, {"name": "data"}))
    assert done["status"] == "DONE"
    assert "no space left" in done["error"]["errors"][0]["message"]
    assert done["httpErrorStatusCode"] == 500


def test_lists(enabled: Google) -> None:
    for name in ("a", "b", "c"):
        enabled.create_disk(name, labels={"team": name})
    assert [disk["name"] for disk in enabled.call("GET", DISKS)["items"]] == ["a", "b", "c"]
    first = enabled.call("GET", DISKS, maxResults=2)
    rest = enabled.call("GET", DISKS, maxResults=2, pageToken=first["nextPageToken"])
    assert [disk["name"] for disk in first["items"] + rest["items"]] == ["a", "b", "c"]
    found = enabled.call("GET", DISKS, filter='labels.team="b" OR name=c')
    assert [disk["name"] for disk in found["items"]] == ["b", "c"]
    assert "Invalid filter" in enabled.error("GET", DISKS, filter="name==")["message"]
    everywhere = enabled.call("GET", f"/compute/v1/projects/{PROJECT.project_id}/aggregated/disks")
    assert len(everywhere["items"]["zones/us-west1-c"]["disks"]) == 3
    assert everywhere["items"]["zones/us-east5-a"] == {}


def test_what_does_not_change(enabled: Google) -> None:
    project = f"/compute/v1/projects/{PROJECT.project_id}"
    assert enabled.call("GET", project)["name"] == PROJECT.project_id
    assert enabled.call("GET", f"{project}/zones/us-west1-c")["region"].endswith("/regions/us-west1")
    zones = {zone["name"] for zone in enabled.call("GET", f"{project}/zones")["items"]}
    assert {"us-west1-c", "us-east5-a"} <= zones
    assert enabled.call("GET", f"{project}/regions/us-west1")["zones"][0].endswith("/zones/us-west1-c")
    assert "us-west1" in {region["name"] for region in enabled.call("GET", f"{project}/regions")["items"]}
    assert enabled.call("GET", f"{project}/zones/us-west1-c/diskTypes/pd-balanced")["name"] == "pd-balanced"
    types = {kind["name"] for kind in enabled.call("GET", f"{project}/zones/us-west1-c/diskTypes")["items"]}
    assert {"pd-balanced", "hyperdisk-balanced"} <= types
    everywhere = enabled.call("GET", f"{project}/aggregated/diskTypes")["items"]
    assert set(everywhere) == {f"zones/{zone}" for zone in zones}
