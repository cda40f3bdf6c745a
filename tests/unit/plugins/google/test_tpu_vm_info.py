# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that list: tpu_vm_info and tpu_queued_resource_info."""

from __future__ import annotations

from typing import Any

import pytest

from tests.json_types import Json

from .conftest import Api, Run

PROJECT = "tpu/v2/projects/my-project/locations"
BIG = {"pageSize": "1000"}

each = pytest.mark.parametrize(
    ("module", "collection", "key"),
    [
        ("tpu_vm_info", "nodes", "nodes"),
        ("tpu_queued_resource_info", "queuedResources", "queued_resources"),
    ],
)


def item(collection: str, name: str, zone: str = "us-west1-c") -> Json:
    return {"name": f"projects/my-project/locations/{zone}/{collection}/{name}"}


@each
def test_all_zones_in_one_list(api: Api, run: Run, module: str, collection: str, key: str) -> None:
    a, b = item(collection, "a"), item(collection, "b", "us-east5-a")
    first = {collection: [a], "nextPageToken": "t", "unreachable": ["locations/us-east1-d"]}
    api.on(f"GET {PROJECT}/-/{collection}", first, query=BIG)
    api.on(f"GET {PROJECT}/-/{collection}", {collection: [b]}, query={**BIG, "pageToken": "t"})
    result = run(module)
    assert result[key] == [a, b]
    assert (result["changed"], result["unreachable_zones"]) == (False, ["us-east1-d"])


@each
def test_zones_by_name(api: Api, run: Run, module: str, collection: str, key: str) -> None:
    a = item(collection, "a")
    api.on(f"GET {PROJECT}/us-west1-c/{collection}", {collection: [a]}, query=BIG)
    api.on(f"GET {PROJECT}/us-east5-a/{collection}", {}, query=BIG)
    assert run(module, zones=["us-west1-c", "us-east5-a"])[key] == [a]


@each
def test_one_in_its_zone(api: Api, run: Run, module: str, collection: str, key: str) -> None:
    a = item(collection, "a")
    api.on(f"GET {PROJECT}/us-west1-c/{collection}/a", a)
    assert run(module, name="a", zone=["us-west1-c"])[key] == [a]
    api.error(f"GET {PROJECT}/us-west1-c/{collection}/b", 404, "NOT_FOUND")
    assert run(module, name="b", zone=["us-west1-c"])[key] == []


@each
def test_one_wherever_it_is(api: Api, run: Run, module: str, collection: str, key: str) -> None:
    a, b = item(collection, "a"), item(collection, "b")
    api.on(f"GET {PROJECT}/-/{collection}", {collection: [a, b]}, query=BIG)
    assert run(module, check=True, name="b")[key] == [b]


def operation(target: str, verb: str, time: str, **outcome: Any) -> Json:
    metadata = {"target": target, "verb": verb, "createTime": time}
    return {"name": "o", "metadata": metadata, "done": True, **outcome}


def test_what_google_remembers_of_a_name(api: Api, run: Run) -> None:
    """Also of the queued resource that a node was deleted with; not of what else has operations."""
    a, b = "2026-11-24T04:00:00.5Z", "2026-11-25T04:00:00Z"
    place = "projects/my-project/locations/us-west1-c"
    done = [
        operation(f"{place}/nodes/a", "create", a, response={"@type": "t", "labels": {"owner": "me"}}),
        operation(f"{place}/nodes/a", "create", b, error={"code": 8, "message": "no capacity"}),
        operation(f"{place}/nodes/aa", "delete", b),
        operation(f"{place}/queuedResources/a", "create", a, response={"tpu": {"nodeSpec": [{"node": {}}]}}),
        operation(f"{place}/queuedResources/a", "delete", b, response={"@type": "Empty"}),
        {"name": "o"},
    ]
    api.error(f"GET {PROJECT}/us-west1-c/nodes/a", 404, "NOT_FOUND")
    api.on(f"GET {PROJECT}/us-west1-c/operations", {"operations": done})
    found = run("tpu_vm_info", name="a", zones=["us-west1-c"], history=True)
    here = {"zone": "us-west1-c"}
    assert (found["nodes"], found["history"]) == (
        [],
        [
            {
                **here,
                "kind": "nodes",
                "verb": "create",
                "time": a,
                "labels": {"owner": "me"},
                "failed": False,
            },
            {**here, "kind": "nodes", "verb": "create", "time": b, "labels": None, "failed": True},
            {**here, "kind": "queuedResources", "verb": "create", "time": a, "labels": {}, "failed": False},
            {**here, "kind": "queuedResources", "verb": "delete", "time": b, "labels": None, "failed": False},
        ],
    )


def test_there_is_no_history_of_a_zone_that_fails(api: Api, run: Run) -> None:
    api.error(f"GET {PROJECT}/us-west1-c/nodes/a", 404, "NOT_FOUND")
    api.error(f"GET {PROJECT}/us-west1-c/operations", 403, "PERMISSION_DENIED")
    found = run("tpu_vm_info", name="a", zones=["us-west1-c"], history=True)
    assert (found["nodes"], found["history"], found["unreachable_zones"]) == ([], [], [])


@pytest.mark.parametrize("options", [{"name": "a"}, {"zones": ["us-west1-c"]}, {}])
def test_a_history_is_of_one_name_in_some_zones(api: Api, run: Run, options: Json) -> None:
    message = run("tpu_vm_info", history=True, **options)["msg"]
    assert message.startswith("history is True but all of the following are missing: ")
    assert api.calls == []


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [({"name": "X"}, "name: 'X' is not valid"), ({"zones": ["x"]}, "zone: 'x' is not valid")],
)
def test_bad_names(
    api: Api, run: Run, module: str, collection: str, key: str, options: Json, message: str
) -> None:
    assert message in run(module, **options)["msg"]
    assert api.calls == []


ZONES = ["us-west1-c", "us-east5-a"]


@each
@pytest.mark.parametrize("name", [None, "a"])
@pytest.mark.parametrize(
    ("status", "canonical", "kind"),
    [(503, "UNAVAILABLE", "unavailable"), (403, "PERMISSION_DENIED", "location")],
)
def test_a_zone_that_fails_is_named_and_the_others_are_listed(
    api: Api,
    run: Run,
    module: str,
    collection: str,
    key: str,
    name: str | None,
    status: int,
    canonical: str,
    kind: str,
) -> None:
    a = item(collection, "a", "us-east5-a")
    end, query = (f"/{name}", None) if name else ("", BIG)
    message = "Location us-west1-c is not found."
    for _attempt in range(5 if status == 503 else 1):
        api.error(f"GET {PROJECT}/us-west1-c/{collection}{end}", status, canonical, message, query=query)
    api.on(f"GET {PROJECT}/us-east5-a/{collection}{end}", a if name else {collection: [a]}, query=query)
    result = run(module, zones=ZONES, name=name)
    assert (result[key], result["unreachable_zones"]) == ([a], ["us-west1-c"])
    failure = result["zone_failures"]["us-west1-c"]
    assert (failure["kind"], "is not found" in failure["msg"]) == (kind, True)
    assert "What is in the zone us-west1-c is missing" in "".join(result["warnings"])


@each
def test_no_zone_that_answers_is_an_error(api: Api, run: Run, module: str, collection: str, key: str) -> None:
    for zone in ZONES:
        api.error(f"GET {PROJECT}/{zone}/{collection}", 403, "PERMISSION_DENIED", "no", query=BIG)
    assert run(module, zones=ZONES)["failure"]["kind"] == "permission"


@each
def test_what_is_wrong_everywhere_is_an_error_at_once(
    api: Api, run: Run, module: str, collection: str, key: str
) -> None:
    off = [{"reason": "SERVICE_DISABLED"}]
    url = f"GET {PROJECT}/us-west1-c/{collection}"
    api.error(url, 403, "PERMISSION_DENIED", "off", details=off, query=BIG)
    assert run(module, zones=ZONES)["failure"]["kind"] == "api_disabled"
