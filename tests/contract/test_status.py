# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of what one person has in the project, on a local cloud without machines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.advice import advised
from tests.contract.conftest import Description, Follow, Play

OWNER = "status-reader"
DISK, NODE = f"{OWNER}-disk", f"{OWNER}-node"
LABELS = {"created-by": "tpuops-maxtext", "owner": OWNER, "run": "demo"}


@pytest.fixture
def there(run_module: Callable[..., Any], cloud: Description) -> Iterator[None]:
    """A disk and a node of ours, and a disk of somebody else."""
    place: dict[str, Any] = {"zone": cloud["zone"]}
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    for name, labels in ((DISK, LABELS), (f"{OWNER}-foreign", {**LABELS, "owner": "other"})):
        run_module("gcp_disk", name=name, size_gb=73, labels=labels, **place)
    made = run_module(
        "tpu_vm",
        name=NODE,
        accelerator_type="v5litepod-1",
        runtime_version="v2-alpha-tpuv5-lite",
        labels=LABELS,
        **place,
    )
    assert not made.get("failed"), made
    yield
    run_module("tpu_vm", name=NODE, state="absent", **place)
    for name in (DISK, f"{OWNER}-foreign"):
        run_module("gcp_disk", name=name, state="absent", **place)


def test_the_status_of_ones_own_and_the_command_that_ends_the_cost(
    play: Play, follow: Follow, there: None, cloud: Description
) -> None:
    told = play("playbooks/status.yml", "-e", f"tpu_vm_owner={OWNER}", "-e", "tpu_vm_name=elsewhere")
    for expected in (
        rf"Project {cloud['project']}, account \S+@\S+",
        rf"Node {NODE} in us-west1-c: READY, v5litepod-1, created \d+ s ago",
        r"  Cost:     1\.20 USD an hour, at most 0\.0\d USD so far",
        rf"  Runs:     ansible-playbook -i inventories/local playbooks/status\.yml -e tpu_vm_owner={OWNER} "
        rf"-e tpu_vm_name={NODE}",
        rf"Disk {DISK} in us-west1-c: 0\.010 USD an hour, about 0\.00 USD so far",
    ):
        assert re.search(f"^{expected}$", told, re.MULTILINE), (expected, told)
    assert "foreign" not in told
    assert "changed=0" in told
    assert told.count("without taxes and discounts") == 1
    assert f"Node {NODE} in us-west1-c: READY" in follow(advised(told, "status.yml"))
    follow(advised(told, "teardown.yml"))
    gone = follow(advised(told, "leftovers.yml"))
    assert f"disk:us-west1-c/{DISK}  deleted" in gone
    assert "There is nothing of yours" in follow(advised(told, "status.yml"))


def test_a_run_begins_with_what_it_is_about_to_do(play: Play, cloud: Description) -> None:
    """Before anything is asked: the model is not known here, which ends the run in preflight."""
    told = play("site.yml", "--tags", "preflight", "-e", "model=nothing", "-e", "hf_repo=me/x", status=None)
    begin, _, _ = told.partition("PLAY [Preflight]")
    for expected in (
        rf"Project:   {cloud['project']}",
        r"Account:   \S+@\S+",
        r"Node:      tpu-v5e-8, us-west1-c v5litepod-8 on-demand",
        r"Price:     9\.\d+ USD an hour \(node 9\.600, disk 0\.\d+\)",
        rf"Publishes: {cloud['hub']}/me/x",
    ):
        assert re.search(f"^{expected}$", begin, re.MULTILINE), (expected, told)
    assert told.count("without taxes and discounts") == 1


LIMITS = ("-e", "tpu_vm_max_hours=2", "-e", "tpu_vm_max_idle_minutes=30")
UNUSED = "30 minutes without a job, a request or a login"


def test_a_run_and_a_plan_begin_with_the_limit_of_the_node(play: Play) -> None:
    run = ("site.yml", "--tags", "preflight", "-e", "model=nothing", "-e", "hf_repo=me/x")
    begin = play(*run, *LIMITS, status=None).partition("PLAY [Preflight]")[0]
    limit = f"deletes itself 2 hours after its creation, and after {UNUSED}"
    assert f"\nLimit:     it {limit}\n" in begin
    assert f"\n  It {limit}.\n" in play("playbooks/plan.yml", *LIMITS)


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/plan.yml"])
def test_an_action_that_google_refuses_ends_the_run_before_anything_is_created(
    play: Play, playbook: str
) -> None:
    given = (*LIMITS, "-e", "tpu_vm_idle_action=stopped", "-e", "tpu_vm_spot=true")
    told = " ".join(play(playbook, *given, status=2).split())
    assert "tpu_vm_idle_action: is stopped, and Google does not start a spot node again" in told
    assert "PLAY [Preflight]" not in told


@pytest.fixture
def ended(run_module: Callable[..., Any], cloud: Description) -> Callable[[str], None]:
    """A node that labelled itself, as its guard does, and was stopped or deleted."""

    def end(state: str) -> None:
        node = {
            "name": NODE,
            "zone": cloud["zone"],
            "accelerator_type": "v5litepod-1",
            "runtime_version": "v2-alpha-tpuv5-lite",
        }
        run_module("gcp_services", services=["tpu.googleapis.com"])
        for labels in (LABELS, {**LABELS, "tpuops-ended": "idle-30"}):
            made = run_module("tpu_vm", labels=labels, **node)
            assert made.get("changed"), made
        place = {"name": NODE, "zone": cloud["zone"]}
        assert run_module("tpu_vm", state=state, **place)["changed"]

    return end


def test_status_and_teardown_say_that_the_node_ended_itself(
    play: Play, ended: Callable[[str], None], cloud: Description
) -> None:
    """Google's operations have the label when the node is gone."""
    own = ("-e", f"tpu_vm_owner={OWNER}", "-e", f"tpu_vm_name={NODE}")
    told = f"TPU VM {NODE} deleted itself after {UNUSED} (tpu_vm_max_idle_minutes), at "
    ended("absent")
    assert told in play("playbooks/status.yml", *own)
    assert told in " ".join(play("playbooks/teardown.yml", *own).split())
    places = '{"tpu_vm_candidates": [{"zone": "us-west1-c", "accelerator_type": "v5litepod-1"}]}'
    assert f"{NODE}  {told}" in play("playbooks/plan.yml", *own, *LIMITS, "-e", places)
    told = f"TPU VM {NODE} stopped itself after {UNUSED} (tpu_vm_max_idle_minutes)."
    ended("stopped")
    assert told in play("playbooks/status.yml", *own)
    assert f"{NODE}  {told}" in play("playbooks/plan.yml", *own, *LIMITS, "-e", places)
    assert told in " ".join(play("playbooks/teardown.yml", *own).split())


def test_a_node_that_was_started_again_did_not_stop_itself(
    run_module: Callable[..., Any], ended: Callable[[str], None], cloud: Description
) -> None:
    place = {"name": NODE, "zone": cloud["zone"]}
    ended("stopped")
    started = run_module("tpu_vm", state="started", labels=LABELS, **place)
    assert (started["node"]["state"], started["node"]["labels"]) == ("READY", LABELS)
    assert run_module("tpu_vm", state="absent", **place)["changed"]
