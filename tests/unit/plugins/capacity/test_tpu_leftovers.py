# SPDX-License-Identifier: GPL-3.0-or-later
"""The task tpu_leftovers, with modules that the test plays itself."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.json_types import Json

from .fakes import OURS, FakeCloud, Playing, failure

# Loaded as any test module, not by the plugin loader, which would give it another name.
tpu_leftovers: Any = importlib.import_module(
    "ansible_collections.tpuops.maxtext.plugins.action.tpu_leftovers"
)

A, B = "us-west1-c", "us-west4-a"
PRICES = {
    "currency": "USD",
    "date": "2026-01-01",
    "source": "a list",
    "chip_hour": {"v5e": {"us-west1": {"on-demand": 1.2}}},
}
#: What every run asks, and how: all zones, one question a kind.
QUESTIONS: list[tuple[str, Json, bool]] = [
    ("tpu_vm_info", {}, False),
    ("tpu_queued_resource_info", {}, False),
    ("gcp_disk_info", {}, False),
]


class Action(Playing, tpu_leftovers.ActionModule):  # type: ignore[misc]
    """The task."""


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(tpu_leftovers.display, "display", lines.append)
    return lines


@pytest.fixture
def cloud() -> FakeCloud:
    """In A a queued resource with its node and a disk, in B a node; all of ours."""
    cloud = FakeCloud()
    cloud.add_queued(A, "ACTIVE")
    cloud.add_node(A, queuedResource=f"projects/p/locations/{A}/queuedResources/n")
    cloud.add_node(B)
    cloud.add_disk(A)
    return cloud


def play(cloud: FakeCloud, *names: str, check: bool = False, **args: Any) -> Json:
    cloud.check = check
    result: Json = Action(cloud, {"prices": PRICES, "delete": list(names), "me": "me", **args}, check).run()
    return result


def deletion(module: str, name: str, zone: str, **more: Any) -> tuple[str, Json, bool]:
    arguments = {"name": name, "zone": zone, "state": "absent", "wait_timeout": 600, **more}
    return (module, arguments, False)


def checked(*calls: tuple[str, Json, bool]) -> list[tuple[str, Json, bool]]:
    """The same in a check run."""
    return [(module, arguments, True) for module, arguments, _ in calls]


QUEUED, NODE, DISK = (
    deletion("tpu_queued_resource", "n", A, force=True),
    deletion("tpu_vm", "n", B),
    deletion("gcp_disk", "d", A),
)


def test_without_a_name_it_only_lists(cloud: FakeCloud, shown: list[str]) -> None:
    result = play(cloud)
    assert cloud.calls == QUESTIONS
    assert (result["changed"], result["deleted"], result["diff"], result["hour"]) == (False, [], [], 9.6)
    assert [(each["kind"], each["zone"], each["nodes"]) for each in result["leftovers"]] == [
        ("node", A, ["n"]),
        ("node", B, ["n"]),
        ("queued", A, ["n"]),
        ("disk", A, []),
    ]
    assert shown[-1] == (
        "all of it: 9.600 USD an hour, and 2 without a price in tpu_vm_prices "
        "(prices of 2026-01-01 from tpu_vm_prices, without taxes and discounts; check them)"
    )


@pytest.mark.parametrize(
    ("names", "calls"),
    [
        ([f"queued:{A}/n"], [QUEUED]),
        ([f"node:{A}/n"], [QUEUED]),  # its node goes with it
        ([f"{B}/n"], [NODE]),
        (["d"], [DISK]),
        (["d", f"{B}/n", f"{A}/n"], [QUEUED, NODE, DISK]),
    ],
)
def test_what_is_named_is_deleted_what_holds_it_first(
    cloud: FakeCloud, shown: list[str], names: list[str], calls: list[Json]
) -> None:
    before = {"queued": cloud.queued[A], "node": cloud.nodes[B], "disk": cloud.disks[A]}
    result = play(cloud, *names)
    assert cloud.calls == [*QUESTIONS, *calls]
    assert result["changed"] is True
    assert result["diff"] == [
        {
            "before": before[each["kind"]],
            "after": {},
            "before_header": f"{each['kind']}:{each['zone']}/{each['name']}",
            "after_header": f"{each['kind']}:{each['zone']}/{each['name']}",
        }
        for each in result["deleted"]
    ]
    assert len(result["diff"]) == len(calls)
    assert shown == [f"{difference['before_header']}  deleted" for difference in result["diff"]]


def test_the_time_of_a_deletion_is_handed_on(cloud: FakeCloud) -> None:
    play(cloud, "d", wait_timeout=7)
    assert cloud.calls[-1] == deletion("gcp_disk", "d", A, wait_timeout=7)


def test_a_check_run_predicts_it_all_and_asks_for_no_disk_that_is_still_attached(
    cloud: FakeCloud, shown: list[str]
) -> None:
    result = play(cloud, f"{A}/n", "d", check=True)
    assert cloud.calls == checked(*QUESTIONS, QUEUED)
    assert (list(cloud.queued), list(cloud.disks)) == ([A], [A])
    assert result["changed"] is True
    assert [difference["before"] for difference in result["diff"]] == [cloud.queued[A], cloud.disks[A]]
    assert shown[-2:] == [f"queued:{A}/n  would be deleted", f"disk:{A}/d  would be deleted"]


def test_a_check_run_asks_for_a_disk_alone(cloud: FakeCloud) -> None:
    play(cloud, "d", check=True)
    assert (cloud.calls, list(cloud.disks)) == (checked(*QUESTIONS, DISK), [A])


def test_an_api_that_is_off_has_nothing(cloud: FakeCloud) -> None:
    cloud.gcp_disk_info = lambda *_: failure("api_disabled")  # type: ignore[method-assign]
    assert [each["kind"] for each in play(cloud)["leftovers"]] == ["node", "node", "queued"]


def test_zones_that_google_could_not_ask_are_told_once(cloud: FakeCloud) -> None:
    cloud.gcp_disk_info = lambda *_: {"disks": [], "unreachable_zones": [B]}  # type: ignore[method-assign]
    cloud.tpu_vm_info = lambda *_: {"nodes": [], "unreachable_zones": [B, A]}  # type: ignore[method-assign]
    assert play(cloud)["warnings"] == [f"Google could not ask these zones: {A}, {B}."]


def test_a_name_that_is_not_found_may_be_where_nobody_could_look(cloud: FakeCloud, shown: list[str]) -> None:
    empty = FakeCloud(silent={B: "unavailable"})
    with pytest.raises(AnsibleActionFail, match=f"no n of ours.* Google could not ask these zones: {B}"):
        play(empty, "n")
    play(empty)
    assert shown == ["nothing is left over, in the zones that could be asked"]


def test_a_question_that_fails_fails_the_task_and_deletes_nothing(cloud: FakeCloud) -> None:
    cloud.gcp_disk_info = lambda *_: failure("permission")  # type: ignore[method-assign]
    result = play(cloud, f"{B}/n")
    assert (result["failed"], result["msg"]) == (True, "Google said permission")
    assert result["failure"]["kind"] == "permission"
    assert cloud.calls == QUESTIONS


def test_a_deletion_that_fails_says_what_is_gone_already(cloud: FakeCloud) -> None:
    cloud.tpu_vm = lambda *_: failure("permission")  # type: ignore[method-assign]
    result = play(cloud, f"{A}/n", f"{B}/n", "d")
    assert result["msg"] == (
        f"node:{B}/n: Google said permission Deleted before it: queued:{A}/n. Run again without these names."
    )
    assert (result["failed"], result["changed"], result["failure"]["kind"]) == (True, True, "permission")
    assert [each["kind"] for each in result["deleted"]] == ["queued"]
    assert len(result["diff"]) == 1
    assert (cloud.queued, list(cloud.disks)) == ({}, [A])


def test_only_of_one_owner(cloud: FakeCloud) -> None:
    cloud.add_node(B, labels={**OURS, "owner": "you"})
    assert [each["zone"] for each in play(cloud, owner="you")["leftovers"]] == [B]
    with pytest.raises(AnsibleActionFail, match="there is no d of ours"):
        play(cloud, "d", owner="you")
    assert list(cloud.disks) == [A]


@pytest.mark.parametrize(
    ("others", "told"),
    [(True, "; other owners have something: leave leftovers_owner out to see it"), (False, "")],
)
def test_an_owner_of_nothing_is_told(shown: list[str], others: bool, told: str) -> None:
    """The name may be wrong, and what there is costs money."""
    cloud = FakeCloud()
    if others:
        cloud.add_node(A)
    assert Action(cloud, {"owner": "Typo"}).run(task_vars={})["leftovers"] == []
    assert shown == [f"nothing is left over that has owner=typo{told}"]


@pytest.mark.parametrize(("mine", "name"), [({}, "n"), ({"owner": "us"}, "d")])
def test_what_is_somebody_elses_is_deleted_by_nobody_who_does_not_name_them(
    cloud: FakeCloud, mine: Json, name: str
) -> None:
    """Whose label a person's things have, the labels say before the person's name."""
    cloud = FakeCloud()
    cloud.add_node(B, labels={**OURS, "owner": "you"})
    cloud.add_disk(A)
    with pytest.raises(AnsibleActionFail, match="It stays"):
        play(cloud, name, labels=mine)
    assert (list(cloud.nodes), list(cloud.disks)) == ([B], [A])


def test_an_owner_is_meant_as_the_label_has_it(cloud: FakeCloud) -> None:
    cloud.add_node(B, labels={**OURS, "owner": "ann-lee"})
    assert [each["zone"] for each in play(cloud, f"{B}/n", owner="Ann.Lee")["deleted"]] == [B]


def test_without_a_name_for_oneself_it_is_the_accounts(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tpu_leftovers.labels, "login_name", lambda: "me")
    assert play(cloud, f"{B}/n", me=None)["changed"] is True
