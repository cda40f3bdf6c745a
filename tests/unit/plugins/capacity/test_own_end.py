# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node ends by itself: what is refused, how it is announced, and how it is explained afterwards."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import ENDED_LABEL
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.own_end import Limits

from tests.json_types import Json
from tests.unit.roles.conftest import load

from .fakes import OURS, FakeCloud, Playing

tpu_capacity: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.tpu_capacity")

A = "us-west1-c"
PLACE = {"zone": A, "accelerator_type": "v5litepod-8"}
IDLE = "30 minutes without a job, a request or a login"
IDLE_LABEL = {"tpuops-ended": "idle-30"}


class Action(Playing, tpu_capacity.ActionModule):  # type: ignore[misc]
    """The task."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(tpu_capacity.display, "display", lines.append)
    return lines


def play(cloud: FakeCloud, check: bool = False, **args: Any) -> Json:
    given = {"name": "n", "candidates": [PLACE], "owner": "me", "limits": {"idle_minutes": 30}, **args}
    result: Json = Action(cloud, given, check).run()
    return result


def operation(verb: str, second: str, ended: str | None = None, kind: str = "nodes") -> Json:
    told = {"zone": A, "kind": kind, "verb": verb, "time": f"2026-11-24T04:00:{second}Z", "failed": False}
    return {**told, **({} if ended is None else {"ended": ended})}


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ({"provisioning": "spot"}, "Google does not start a spot node again"),
        ({"provisioning": "queued"}, "Google does not start the node of a queued resource again"),
        ({"provisioning": "queued", "spot": True}, "Google does not start the node of a queued resource"),
    ],
    ids=["spot", "queued", "queued spot"],
)
def test_a_stop_that_cannot_work_is_refused_before_anything_is_asked(place: Json, why: str) -> None:
    cloud = FakeCloud()
    with pytest.raises(AnsibleActionFail, match=r"^tpu_vm_idle_action: is stopped, and " + why) as refused:
        play(
            cloud,
            candidates=[PLACE, {**PLACE, **place}],
            limits={"idle_minutes": 30, "idle_action": "stopped"},
        )
    assert f"{A} v5litepod-8" in str(refused.value)
    assert str(refused.value).endswith("Set it to deleted.")
    assert cloud.calls == []


@pytest.mark.parametrize("limits", [{"idle_action": "stopped"}, {"idle_minutes": 30}], ids=["off", "deleted"])
def test_where_nothing_is_stopped_any_candidate_will_do(limits: Json, shown: list[str]) -> None:
    assert play(FakeCloud(), candidates=[{**PLACE, "provisioning": "spot"}], limits=limits)["changed"]


@pytest.mark.parametrize("action", ["deleted", "stopped"])
def test_a_node_of_several_workers_is_refused(action: str) -> None:
    """Its first worker does not see what runs on the others."""
    cloud = FakeCloud()
    with pytest.raises(AnsibleActionFail, match=r"^tpu_vm_max_idle_minutes: is 30, and .* has 4 workers"):
        play(
            cloud,
            candidates=[{**PLACE, "accelerator_type": "v5litepod-16"}],
            limits={"idle_minutes": 30, "idle_action": action},
        )
    assert cloud.calls == []


def test_nothing_is_refused_on_the_way_down() -> None:
    assert not play(
        FakeCloud(), state="absent", candidates=[{**PLACE, "accelerator_type": "v5litepod-16"}]
    ).get("failed")


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits(), ""),
        (Limits(hours=12), "deletes itself 12 hours after its creation"),
        (Limits(hours=1), "deletes itself 1 hour after its creation"),
        (Limits(hours=0.5), "deletes itself 0.5 hours after its creation"),
        (Limits(idle_minutes=30), f"deletes itself after {IDLE}"),
        (Limits(idle_minutes=1), "deletes itself after 1 minute without a job, a request or a login"),
        (Limits(idle_minutes=30, idle_action="stopped"), f"stops itself after {IDLE}"),
        (Limits(12, 30), f"deletes itself 12 hours after its creation, and after {IDLE}"),
        (
            Limits(12, 30, "stopped"),
            f"deletes itself 12 hours after its creation, and stops itself after {IDLE}",
        ),
    ],
)
def test_the_limit_is_named(limits: Limits, told: str) -> None:
    assert limits.told() == told


def test_a_plan_names_the_limit(shown: list[str]) -> None:
    play(FakeCloud(), check=True)
    assert f"  It deletes itself after {IDLE}." in shown
    shown.clear()
    play(FakeCloud(), check=True, limits={})
    assert "itself" not in "\n".join(shown)


BY_IDLE = f"TPU VM n deleted itself after {IDLE} (tpu_vm_max_idle_minutes), at 2026-11-24T04:00:05Z."
IN_TIME = "TPU VM n deleted itself, as its time was up (tpu_vm_max_hours), at 2026-11-24T04:00:05Z."
MADE = operation("create", "01")
LABELLED = operation("update", "04", "idle-30")
DELETED = operation("delete", "05")


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([], ""),
        ([MADE, LABELLED, DELETED], BY_IDLE),
        ([DELETED, LABELLED, MADE], BY_IDLE),  # in whatever order Google lists them
        ([MADE, operation("update", "04", "time-up"), DELETED], IN_TIME),
        ([LABELLED, operation("delete", "05", kind="queuedResources")], BY_IDLE),
        ([LABELLED, operation("delete", "04.9"), DELETED], BY_IDLE),
        ([MADE, DELETED], ""),
        ([MADE, LABELLED], ""),  # it stayed
        (
            [LABELLED, operation("update", "04.5", ""), DELETED],
            "",
        ),  # a job came, and somebody deleted it later
        ([LABELLED, operation("stop", "04.2"), operation("start", "04.5"), DELETED], ""),
        ([LABELLED, DELETED, operation("create", "06"), operation("delete", "07")], ""),
        ([LABELLED, DELETED, operation("create", "06")], ""),
        ([LABELLED, operation("stop", "04.2"), DELETED], ""),  # it stopped itself, and somebody deleted it
        ([operation("update", "04", "idle-30; rm"), DELETED], ""),
        ([{**MADE, "labels": OURS}, LABELLED, DELETED], BY_IDLE),
        ([{**MADE, "labels": {**OURS, "owner": "bob"}}, LABELLED, DELETED], ""),  # somebody else's
        ([MADE, LABELLED, {**DELETED, "failed": True}], ""),  # it is there, or somebody deleted it by hand
        ([MADE, {**LABELLED, "zone": "us-west4-a"}, DELETED], ""),  # another node of the name ended itself
        ([MADE, LABELLED, DELETED, {**operation("create", "06"), "failed": True}], BY_IDLE),
        ([operation("update", "04", "idle-30"), {**DELETED, "time": "{{ 1 }}"}], ""),
    ],
)
def test_what_google_remembers_tells_whether_it_deleted_itself(history: list[Json], told: str) -> None:
    assert own_end.of_history("n", history, OURS) == told


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("STOPPED", f"TPU VM n stopped itself after {IDLE} (tpu_vm_max_idle_minutes)."),
        ("STOPPING", f"TPU VM n is stopping itself after {IDLE} (tpu_vm_max_idle_minutes)."),
        ("DELETING", f"TPU VM n is deleting itself after {IDLE} (tpu_vm_max_idle_minutes)."),
        ("READY", ""),
    ],
)
def test_a_node_that_is_there_has_the_reason_as_a_label(state: str, told: str) -> None:
    node = {"name": f"projects/p/locations/{A}/nodes/n", "state": state, "labels": IDLE_LABEL}
    assert own_end.of_node(node) == told
    assert own_end.of_node({**node, "labels": {"tpuops-ended": "idle-x"}}) == ""
    assert own_end.of_node({"name": node["name"], "state": state}) == ""


def test_the_next_run_says_what_became_of_the_node(shown: list[str]) -> None:
    play(FakeCloud(history=[LABELLED, DELETED]))
    assert shown[0] == f"n  {BY_IDLE}"
    shown.clear()
    play(FakeCloud(history=[LABELLED, DELETED]), check=True)
    assert shown[0] == f"n  {BY_IDLE}"


def test_a_run_without_a_limit_asks_nothing_more() -> None:
    cloud = FakeCloud(history=[LABELLED, DELETED])
    play(cloud, limits={})
    assert not [arguments for _, arguments, _ in cloud.calls if arguments.get("history")]


def test_the_next_run_says_that_the_node_stopped_itself_and_starts_it(shown: list[str]) -> None:
    cloud = FakeCloud()
    cloud.add_node(A, "STOPPED")
    cloud.nodes[A]["labels"] = {**cloud.nodes[A]["labels"], **IDLE_LABEL}
    play(cloud)
    assert shown[0] == f"n  TPU VM n stopped itself after {IDLE} (tpu_vm_max_idle_minutes)."


def test_teardown_says_that_the_node_deleted_itself() -> None:
    told = play(FakeCloud(history=[MADE, LABELLED, DELETED]), state="absent")["told"]
    assert told.startswith("Deleted nothing: there is no TPU VM n of yours")
    assert BY_IDLE in told
    assert "Google remembers" not in told


def test_teardown_says_that_the_node_that_it_deletes_had_stopped_itself() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, "STOPPED")
    cloud.nodes[A]["labels"] = {**cloud.nodes[A]["labels"], **IDLE_LABEL}
    told = play(cloud, state="absent")["told"]
    assert (
        told == f"TPU VM n stopped itself after {IDLE} (tpu_vm_max_idle_minutes). Deleted: TPU VM n in {A}."
    )


def test_the_guard_writes_the_label_that_is_read() -> None:
    guard = load("roles/tpu_vm/files/tpu_guard.py")
    assert guard.LABEL == ENDED_LABEL
    assert own_end.reason(guard.TIME_UP)
    assert own_end.reason("idle-30")
