# SPDX-License-Identifier: GPL-3.0-or-later
"""The task tpu_capacity, with modules that the test plays itself."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.json_types import Json

from .fakes import FakeCloud, Playing

# Loaded as any test module, not by the plugin loader, which would give it another name.
tpu_capacity: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.tpu_capacity")

PLACE = {"zone": "us-west1-c", "accelerator_type": "v5litepod-8"}
PRICES = {
    "currency": "USD",
    "date": "2026-01-01",
    "source": "a list",
    "chip_hour": {"v5e": {"us-west1": {"on-demand": 1.2, "spot": 0.3}}},
    "disk_gb_month": {"pd-balanced": {"us-west1": 0.1}},
}


class Action(Playing, tpu_capacity.ActionModule):  # type: ignore[misc]
    """The task."""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(tpu_capacity.display, "display", lines.append)
    return lines


def play(cloud: FakeCloud, check: bool = False, **args: Any) -> Json:
    disk = {"name": "d", "size_gb": 730}
    usual = {"name": "n", "candidates": [PLACE], "disk": disk, "owner": "me", "prices": PRICES}
    result: Json = Action(cloud, {**usual, **args}, check).run()
    return result


def test_lines_tell_how_it_goes(shown: list[str]) -> None:
    cloud = FakeCloud(refuses={("us-west1-c", "on-demand"): "stockout"})
    result = play(cloud, candidates=[{**PLACE, "timeout": 600}, {**PLACE, "provisioning": "spot"}])
    assert result["candidate"]["provisioning"] == "spot"
    assert shown == [
        "n  us-west1-c v5litepod-8 on-demand: asking, for up to 10 min",
        "n  us-west1-c v5litepod-8 on-demand: stockout. Google said stockout",
        "n  us-west1-c v5litepod-8 spot: asking, for up to 30 min",
        "n  us-west1-c v5litepod-8 spot: ready",
        "n  us-west1-c v5litepod-8 spot: 2.500 USD an hour (node 2.400, disk 0.100)",
    ]


def test_a_second_run_has_nothing_to_tell(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud)
    shown.clear()
    assert (play(cloud)["changed"], shown) == (False, [])


def test_a_check_run_prints_the_plan(shown: list[str]) -> None:
    elsewhere = {
        "zone": "us-west4-a",
        "accelerator_type": "v5litepod-8",
        "provisioning": "queued",
        "spot": True,
    }
    result = play(FakeCloud(), check=True, candidates=[PLACE, elsewhere])
    assert shown == [
        "n  would be created by the first of these that has capacity:",
        "  1. us-west1-c v5litepod-8 on-demand: 9.700 USD an hour (node 9.600, disk 0.100)",
        "  2. us-west4-a v5litepod-8 queued spot: no price known for v5litepod-8 (spot) in us-west4 and "
        "pd-balanced in us-west4 (give chip_hour.v5e.us-west4.spot and disk_gb_month.pd-balanced.us-west4 in "
        "tpu_vm_prices)",
        "  create the disk d in us-west1-c",
        "  create the TPU VM n in us-west1-c",
        "  (prices of 2026-01-01 from tpu_vm_prices, without taxes and discounts; check them)",
    ]
    assert result["plan"]["candidates"][0]["total_hour"] == pytest.approx(9.7)


def test_a_user_without_a_login_name_is_told_to_give_one(
    shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a container may have it: no account, and no variable that names one."""

    def nobody(uid: int | None = None) -> Any:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(AnsibleActionFail, match="owner: this user has no login name"):
        play(FakeCloud(), owner=None)


def test_a_plan_names_only_what_can_be_tried(shown: list[str]) -> None:
    cloud = FakeCloud()
    cloud.add_disk("us-west1-c")
    elsewhere = {"zone": "us-west4-a", "accelerator_type": "v5litepod-8"}
    result = play(cloud, check=True, candidates=[elsewhere, PLACE])
    assert [line["zone"] for line in result["plan"]["candidates"]] == ["us-west1-c"]
    assert len(result["warnings"]) == 1


def test_a_plan_of_what_is_there(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud)
    shown.clear()
    play(cloud, check=True)
    assert shown[0] == "n  us-west1-c v5litepod-8 on-demand: is there, nothing is to be created"


def test_a_failure_tells_its_kind_and_the_refusals(shown: list[str]) -> None:
    cloud = FakeCloud(refuses={("us-west1-c", "on-demand"): "stockout"})
    result = play(cloud)
    assert (result["failed"], result["msg"]) == (True, "Google said stockout")
    assert result["failure"]["kind"] == "stockout"
    assert [refusal["kind"] for refusal in result["refusals"]] == ["stockout"]


def test_only_the_checks_are_played_as_in_a_check_run(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud)
    assert [(name, check) for name, _, check in cloud.calls] == [
        ("tpu_vm_info", False),
        ("tpu_queued_resource_info", False),
        ("gcp_disk_info", False),
        ("tpu_vm", True),
        ("gcp_disk", False),
        ("tpu_vm", False),
    ]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"candidates": []}, "candidates: there is none"),
        ({"candidates": [{**PLACE, "provisioning": "cheap"}]}, "must be one of: on-demand, spot"),
        ({"candidates": [{**PLACE, "spot": True}]}, "A spot node has provisioning=spot"),
        ({"candidates": [{"zone": "us-west1-c"}]}, "accelerator_type"),
        ({"labels": {"Team": "a"}}, "labels: Team=a is not valid"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_input_is_named_before_anything_is_asked(args: Json, said: str) -> None:
    cloud = FakeCloud()
    with pytest.raises(AnsibleActionFail, match=said):
        play(cloud, **args)
    assert cloud.calls == []


def test_of_a_type_that_is_not_known_here_tpu_vm_says_whether_the_zone_has_it(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud, candidates=[{"zone": "us-west1-c", "accelerator_type": "v9x-8"}])
    asked = [arguments for name, arguments, _ in cloud.calls if name == "tpu_vm"]
    assert asked and not [arguments for arguments in asked if "runtime_version" in arguments]


def test_down(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud)
    assert play(cloud, state="absent", wait_timeout=77)["changed"] is True
    assert [call["wait_timeout"] for name, call, _ in cloud.calls if name == "tpu_vm"][-1] == 77
    assert (cloud.nodes, list(cloud.disks)) == ({}, ["us-west1-c"])
    assert play(cloud, state="absent", delete_disk="d")["changed"] is True
    assert (cloud.disks, play(cloud, state="absent", delete_disk="d")["changed"]) == ({}, False)


def test_stopped(shown: list[str]) -> None:
    cloud = FakeCloud()
    play(cloud)
    assert play(cloud, check=True, state="stopped")["changed"] is True
    result = play(cloud, state="stopped", wait_timeout=77)
    assert (result["changed"], cloud.nodes["us-west1-c"]["state"]) == (True, "STOPPED")
    assert [call["wait_timeout"] for name, call, _ in cloud.calls if name == "tpu_vm"][-1] == 77
    assert play(cloud, state="stopped")["changed"] is False


def test_a_node_that_is_not_there_cannot_be_stopped(shown: list[str]) -> None:
    result = play(FakeCloud(), state="stopped")
    assert (result["failed"], result["failure"]["kind"]) == (True, "not_found")
