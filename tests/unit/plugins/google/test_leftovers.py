# SPDX-License-Identifier: GPL-3.0-or-later
"""What is left over: which resources count, what they cost, and what a name means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import leftovers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.leftovers import Leftover, NotClear, chosen

from tests.json_types import Json

OURS = {"created-by": "tpuops-maxtext", "owner": "ann", "run": "demo"}
PRICES = {
    "currency": "USD",
    "chip_hour": {"v5e": {"us-west1": {"on-demand": 1.2, "spot": 0.25}}},
    "disk_gb_month": {"pd-balanced": {"us-west1": 0.1}},
}
PARENT = "projects/p/locations/us-west1-c"


def node(name: str, state: str = "READY", labels: Json = OURS, **fields: Any) -> Json:
    return {
        "name": f"{PARENT}/nodes/{name}",
        "state": state,
        "acceleratorType": "v5litepod-8",
        "createTime": "2026-11-24T04:00:00.123456789Z",
        "labels": labels,
        **fields,
    }


def queued(name: str, node_id: str) -> Json:
    spec = {"nodeId": node_id, "node": {"labels": OURS}}
    return {
        "name": f"{PARENT}/queuedResources/{name}",
        "state": {"state": "ACTIVE"},
        "createTime": "2026-11-24T03:00:00Z",
        "tpu": {"nodeSpec": [spec]},
    }


def disk(name: str, zone: str = "us-west1-c", **fields: Any) -> Json:
    return {
        "name": name,
        "zone": zone,
        "status": "READY",
        "type": f"projects/p/zones/{zone}/diskTypes/pd-balanced",
        "sizeGb": "730",
        "creationTimestamp": "2026-11-20T08:00:00.000-08:00",
        "labels": OURS,
        **fields,
    }


def found(*resources: list[Json]) -> list[Leftover]:
    nodes, waiting, disks = [*resources, [], [], []][:3]
    return leftovers.found(nodes, waiting, disks, PRICES)


def test_only_what_has_our_label_counts() -> None:
    others = {"created-by": "terraform", "owner": "ann"}
    there = found([node("a"), node("b", labels=others), node("c", labels={})], [], [disk("d", labels={})])
    assert [each.path for each in there] == ["node:us-west1-c/a"]


@pytest.mark.parametrize(
    ("state", "scheduling", "hour"),
    [
        ("READY", {}, 9.6),
        ("READY", {"spot": True}, 2.0),
        ("READY", {"reserved": True}, None),
        ("CREATING", {}, 9.6),
        ("STOPPED", {}, 0.0),
        ("PREEMPTED", {"spot": True}, 0.0),
    ],
)
def test_what_a_node_costs(state: str, scheduling: Json, hour: float | None) -> None:
    assert found([node("a", state, schedulingConfig=scheduling)])[0].hour == hour


def test_a_line_says_what_it_is_how_old_and_what_it_costs() -> None:
    now = datetime(2026, 11, 24, 6, tzinfo=UTC)
    attached = disk("d", users=[f"{PARENT}/nodes/a"])
    lines = [each.line(now, "USD") for each in found([node("a")], [], [attached])]
    assert lines == [
        "node:us-west1-c/a  READY  2.0 h old  9.600 USD an hour  owner ann, run demo",
        "disk:us-west1-c/d  READY, attached to a  3.6 days old  0.100 USD an hour  owner ann, run demo",
    ]
    assert leftovers.age(timedelta(minutes=12)) == "12 min"
    assert "no price known" in found([], [], [disk("d", zone="mars-north1-a")])[0].line(now, "USD")


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([], []),
        (["a"], ["node:us-west1-c/a"]),
        (["us-west1-c/a", "a"], ["node:us-west1-c/a"]),
        (["us-west4-a/d", "a"], ["node:us-west1-c/a", "disk:us-west4-a/d"]),
        (["disk:us-west1-c/d"], ["disk:us-west1-c/d"]),
        # A node and what it came from go together, under either name.
        (["q"], ["queued:us-west1-c/q"]),
        (["q-node"], ["queued:us-west1-c/q"]),
        (["same"], ["queued:us-west1-c/same"]),
        (["node:us-west1-c/same"], ["queued:us-west1-c/same"]),
    ],
)
def test_what_a_name_means(names: list[str], meant: list[str]) -> None:
    nodes = [
        node("a"),
        node("q-node", queuedResource=f"{PARENT}/queuedResources/q"),
        node("same", queuedResource=f"{PARENT}/queuedResources/same"),
    ]
    waiting = [queued("q", "q-node"), queued("same", "same")]
    there = found(nodes, waiting, [disk("d"), disk("d", zone="us-west4-a")])
    assert [each.path for each in chosen(there, names, "ann")] == meant


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "there is no nothing of ours"),
        ("d", "d is disk:us-west1-c/d and disk:us-west4-a/d"),
        ("x", "x is node:us-west1-c/x and disk:us-west1-c/x"),
    ],
)
def test_a_name_that_is_not_clear_deletes_nothing(name: str, message: str) -> None:
    there = found([node("x")], [], [disk("d"), disk("d", zone="us-west4-a"), disk("x")])
    with pytest.raises(NotClear, match=message):
        chosen(there, [name], "ann")


THEIRS = {**OURS, "owner": "bob"}


def test_a_name_never_means_what_is_somebody_elses() -> None:
    """The default names are the same for everybody in a project."""
    there = found([node("tpu", labels=THEIRS)], [], [disk("d", labels=THEIRS)])
    for name in ("tpu", "d"):
        with pytest.raises(NotClear, match=r"has owner=bob, yours have owner=ann.*-e leftovers_owner=bob"):
            chosen(there, [name], "ann")
    assert [each.path for each in chosen(there, ["tpu"], "bob")] == ["node:us-west1-c/tpu"]


def test_what_has_no_owner_is_nobodys_to_delete() -> None:
    there = found([node("tpu", labels={"created-by": "tpuops-maxtext"})])
    with pytest.raises(NotClear, match="has no owner"):
        chosen(there, ["tpu"], "ann")


def test_ones_own_is_meant_beside_somebody_elses_of_the_name() -> None:
    there = found([], [], [disk("d", labels=THEIRS), disk("d", zone="us-west4-a")])
    assert [each.path for each in chosen(there, ["d"], "ann")] == ["disk:us-west4-a/d"]


@pytest.mark.parametrize("labels", [THEIRS, {}, {"owner": "ann"}])
@pytest.mark.parametrize("name", ["q", "n"])
def test_a_queued_resource_whose_node_somebody_took_over_stays(name: str, labels: Json) -> None:
    """Its own labels cannot change, and its deletion takes the node."""
    taken = node("n", labels=labels, queuedResource=f"{PARENT}/queuedResources/q")
    there = found([taken], [queued("q", "n")])
    with pytest.raises(NotClear):
        chosen(there, [name], "ann")
