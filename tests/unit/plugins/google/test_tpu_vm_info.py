# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from .conftest import Api, Json, Run

PROJECT = "tpu/v2/projects/my-project/locations"
BIG = {"pageSize": "1000"}


def node(name: str, zone: str = "us-west1-c") -> Json:
    return {"name": f"projects/my-project/locations/{zone}/nodes/{name}", "state": "READY"}


def test_all_zones_in_one_list(api: Api, run: Run) -> None:
    first = {"nodes": [node("a")], "nextPageToken": "t", "unreachable": ["locations/us-east1-d"]}
    api.on(f"GET {PROJECT}/-/nodes", first, query=BIG)
    api.on(f"GET {PROJECT}/-/nodes", {"nodes": [node("b", "us-east5-a")]}, query={**BIG, "pageToken": "t"})
    result = run("tpu_vm_info")
    assert result["nodes"] == [node("a"), node("b", "us-east5-a")]
    assert (result["changed"], result["unreachable_zones"]) == (False, ["us-east1-d"])


def test_zones_by_name(api: Api, run: Run) -> None:
    api.on(f"GET {PROJECT}/us-west1-c/nodes", {"nodes": [node("a")]}, query=BIG)
    api.on(f"GET {PROJECT}/us-east5-a/nodes", {}, query=BIG)
    assert run("tpu_vm_info", zones=["us-west1-c", "us-east5-a"])["nodes"] == [node("a")]


def test_one_node_in_its_zone(api: Api, run: Run) -> None:
    api.on(f"GET {PROJECT}/us-west1-c/nodes/a", node("a"))
    assert run("tpu_vm_info", name="a", zone=["us-west1-c"])["nodes"] == [node("a")]
    api.error(f"GET {PROJECT}/us-west1-c/nodes/b", 404, "NOT_FOUND")
    assert run("tpu_vm_info", name="b", zone=["us-west1-c"])["nodes"] == []


def test_one_node_in_any_zone(api: Api, run: Run) -> None:
    nodes = [node("a"), node("b"), node("a", "us-east5-a")]
    api.on(f"GET {PROJECT}/-/nodes", {"nodes": nodes}, query=BIG)
    assert run("tpu_vm_info", name="a")["nodes"] == [nodes[0], nodes[2]]


def test_bad_names_are_refused_before_anything_is_sent(api: Api, run: Run) -> None:
    assert "zone: 'here' is not valid" in run("tpu_vm_info", zones=["here"])["msg"]
    assert "name: 'A' is not valid" in run("tpu_vm_info", name="A")["msg"]
    assert api.calls == []
