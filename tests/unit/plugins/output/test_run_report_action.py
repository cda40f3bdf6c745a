# SPDX-License-Identifier: GPL-3.0-or-later
"""The task run_report, with modules that the test plays itself."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.json_types import Json
from tests.unit.plugins.capacity.fakes import OURS, FakeCloud, Playing, failure, operation

run_report: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.run_report")

A = "us-west1-c"
PRICES = {
    "currency": "USD",
    "date": "2026-01-01",
    "source": "a long story",
    "chip_hour": {"v5e": {"us-west1": {"on-demand": 1.2}}},
    "disk_gb_month": {"pd-balanced": {"us-west1": 0.1}},
}
CANDIDATES = [{"zone": A, "accelerator_type": "v5litepod-8"}]
NOTE = "(prices of 2026-01-01 from tpu_vm_prices, without taxes and discounts; check them)"


class Action(Playing, run_report.ActionModule):  # type: ignore[misc]
    """The task."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(run_report.display, "display", lines.append)
    monkeypatch.setattr(run_report, "account", lambda options: "me@example.com")
    return lines


def play(cloud: FakeCloud, hostvars: Json | None = None, check: bool = False, **args: Any) -> Json:
    given = {"prices": PRICES, "name": "n", "candidates": CANDIDATES, "owner": "me", **args}
    action = Action(cloud, given, check)
    result: Json = action.run(task_vars={"hostvars": hostvars or {}})
    return result


def test_the_start_asks_google_nothing(shown: list[str]) -> None:
    cloud = FakeCloud()
    disk = {"name": "d", "size_gb": 256}
    assert not play(cloud, phase="start", disk=disk, hf_repo="me/r").get("failed")
    assert cloud.calls == []
    assert shown[2:4] == [
        "Node:      n, us-west1-c v5litepod-8 on-demand",
        "Price:     9.635 USD an hour (node 9.600, disk 0.035)",
    ]
    assert [line.strip() for line in shown if "prices of" in line] == [NOTE]


LABELLED = {**operation(A, "update", "2026-11-24T04:00:00Z"), "ended": "idle-30"}
DELETED = operation(A, "delete", "2026-11-24T04:00:01Z")
IDLE = "30 minutes without a job, a request or a login"


def test_the_start_names_the_limit_and_refuses_what_cannot_be(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud, phase="start", limits={"hours": 2, "idle_minutes": 30})
    assert f"Limit:     it deletes itself 2 hours after its creation, and after {IDLE}" in shown
    spot = [{**CANDIDATES[0], "provisioning": "spot"}]
    stopped = {"idle_minutes": 30, "idle_action": "stopped"}
    with pytest.raises(AnsibleActionFail, match=r"^tpu_vm_idle_action: "):
        play(cloud, phase="start", candidates=spot, limits=stopped)
    assert cloud.calls == []


def test_the_status_says_that_the_node_deleted_itself(shown: list[str]) -> None:
    play(FakeCloud(history=[LABELLED, DELETED]))
    told = f"TPU VM n deleted itself after {IDLE} (tpu_vm_max_idle_minutes), at 2026-11-24T04:00:01Z."
    assert shown.count(told) == 1


def test_the_status_says_nothing_of_somebody_elses_node(shown: list[str]) -> None:
    made = operation(A, "create", "2026-11-24T03:00:00Z", {**OURS, "owner": "bob"})
    play(FakeCloud(history=[made, LABELLED, DELETED]))
    assert "itself" not in "\n".join(shown)


def test_the_status_says_that_the_node_stopped_itself(shown: list[str]) -> None:
    cloud = FakeCloud(history=[LABELLED, DELETED])
    cloud.add_node(A, "STOPPED", labels={**OURS, "tpuops-ended": "idle-30"})
    play(cloud)
    told = f"  TPU VM n stopped itself after {IDLE} (tpu_vm_max_idle_minutes)."
    assert told in shown
    assert "deleted itself" not in "\n".join(shown)


def test_the_status_goes_on_where_google_remembers_nothing(shown: list[str]) -> None:
    cloud = FakeCloud(silent={A: "api_disabled"})
    play(cloud)
    assert "itself" not in "\n".join(shown)


class Forgetful(FakeCloud):
    """A cloud that lists nodes, and fails when it is asked what it remembers of one."""

    kind = "transport"

    def tpu_vm_info(self, arguments: Json, check: bool) -> Json:
        return failure(self.kind) if arguments.get("history") else super().tpu_vm_info(arguments, check)


def test_the_status_says_what_google_did_not_tell_and_goes_on(shown: list[str]) -> None:
    cloud = Forgetful()
    cloud.add_disk(A)
    result = play(cloud)
    assert any("disk d" in line for line in shown)
    assert result["warnings"] == [
        "Whether TPU VM n deleted itself is not known: Google said transport. Run again."
    ]


def test_an_api_that_is_off_is_no_warning(shown: list[str]) -> None:
    cloud = Forgetful()
    cloud.kind = "api_disabled"
    assert "warnings" not in play(cloud)


def test_the_note_about_prices_is_told_once_in_a_run(shown: list[str]) -> None:
    cloud = FakeCloud()
    cloud.add_node(A)
    play(cloud, phase="start")
    play(cloud, phase="end")
    assert "\n".join(shown).count("tpu_vm_prices") == 1
    shown.clear()
    play(cloud, phase="start", check=True)  # tpu_capacity's plan tells it
    assert "tpu_vm_prices" not in "\n".join(shown)
    play(cloud, phase="status")
    assert shown[-1] == NOTE


def test_what_others_have_is_not_told(shown: list[str]) -> None:
    cloud = FakeCloud()
    cloud.add_node(A)
    cloud.add_node("us-west4-a", labels={**OURS, "owner": "you"})
    play(cloud)
    assert "us-west4-a" not in "\n".join(shown)


def test_the_workers_of_a_node_are_matched_by_its_place(shown: list[str]) -> None:
    cloud = FakeCloud()
    cloud.add_node(A)
    worker = {
        "tpu_zone": A,
        "tpu_node": "n",
        "tpu_worker_id": 0,
        "ansible_host": "192.0.2.1",
        "ansible_user": "tpu",
        "ansible_ssh_private_key_file": "/k y",
        "ansible_ssh_common_args": "-o 'UserKnownHostsFile=\"/a b\"' -o HostKeyAlias=x",
        "_tpu_vm_runs": {
            "runs": [],
            "running": [],
            "server": {"model": "m", "port": 8000, "run": "r", "healthy": True},
        },
    }
    play(cloud, {"n": worker}, hosts=["n"])
    ssh = "ssh -o 'UserKnownHostsFile=\"/a b\"' -o HostKeyAlias=x -o IdentitiesOnly=yes -i '/k y'"
    assert f"    Tunnel: {ssh} -N -L 8000:127.0.0.1:8000 tpu@192.0.2.1" in shown
    shown.clear()
    play(cloud, {"n": {**worker, "_tpu_vm_runs": {"unreachable": True, "msg": "timed out"}}}, hosts=["n"])
    assert "  Runs:     not known: n: timed out" in shown
