# SPDX-License-Identifier: GPL-3.0-or-later
"""Leftovers as a user finds and deletes them, on a local cloud."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.conftest import Description, Play
from tests.contract.served import Served

NAME = "left-over"
DISK, FOREIGN = f"{NAME}-disk", f"{NAME}-foreign"
LABELS = {"created-by": "tpuops-maxtext", "owner": NAME, "run": "demo"}
Leftovers = Callable[..., str]


@pytest.fixture
def leftovers(play: Play) -> Leftovers:
    def leftovers(*arguments: str, status: int = 0) -> str:
        return play("playbooks/leftovers.yml", "-e", f"tpu_vm_owner={NAME}", *arguments, status=status)

    return leftovers


@pytest.fixture
def left(
    run_module: Callable[..., Any], cloud: Description, served: Served
) -> Iterator[Callable[[], list[str]]]:
    """A disk of ours, one without our label, and a queued resource with its node; says which are there."""
    place: dict[str, Any] = {"zone": cloud["zone"]}
    disks = {DISK: LABELS, FOREIGN: {"owner": NAME}}
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    for name, labels in disks.items():
        run_module("gcp_disk", name=name, size_gb=73, labels=labels, **place)
    made = run_module(
        "tpu_queued_resource",
        name=NAME,
        accelerator_type="v5litepod-1",
        runtime_version="v2-alpha-tpuv5-lite",
        labels=LABELS,
        data_disks=[{"source": DISK}],
        **place,
    )
    assert not made.get("failed"), made

    def there() -> list[str]:
        found = [name.split("/")[-2:] for name in served.records()]
        return [name for kind, name in found if kind != "queuedResources" and name.startswith(NAME)]

    yield there
    run_module("tpu_queued_resource", name=NAME, state="absent", force=True, **place)
    for name in disks:
        run_module("gcp_disk", name=name, state="absent", **place)


def test_what_is_left_is_listed_and_what_is_named_is_deleted(
    leftovers: Leftovers, left: Callable[[], list[str]]
) -> None:
    """Deletions that fail are in test_actions.py."""
    everything = [NAME, DISK, FOREIGN]
    assert left() == everything
    listed = leftovers("-e", f"leftovers_owner={NAME}")
    assert "node:us-west1-c/left-over  READY  0 min old  1.200 USD an hour" in listed
    assert "queued:us-west1-c/left-over  ACTIVE" in listed
    assert re.search(r"disk:us-west1-c/left-over-disk  READY, attached to \S+  0 min old  0.010 USD", listed)
    assert "all of it: 1.210 USD an hour" in listed
    assert FOREIGN not in listed
    assert "changed=0" in listed

    named = ("-e", f"leftovers_delete={NAME},us-west1-c/{DISK}")
    predicted = leftovers(*named, "--check", "--diff")
    for path in (f"queued:us-west1-c/{NAME}", f"disk:us-west1-c/{DISK}"):
        assert f"{path}  would be deleted" in predicted
        assert f"--- before: {path}" in predicted
    assert left() == everything
    assert "changed=1" in leftovers(*named)
    assert left() == [FOREIGN]


def test_only_the_machine_of_a_node_that_is_named_is_asked_for_its_jobs(
    leftovers: Leftovers, left: Callable[[], list[str]], run_module: Callable[..., Any]
) -> None:
    elsewhere = {"name": NAME, "zone": "us-west4-a"}
    made = run_module(
        "tpu_vm",
        accelerator_type="v5litepod-1",
        runtime_version="v2-alpha-tpuv5-lite",
        labels=LABELS,
        **elsewhere,
    )
    assert not made.get("failed"), made
    zones = [{"zone": zone, "accelerator_type": "v5litepod-1"} for zone in ("us-west1-c", "us-west4-a")]
    both = ("-e", json.dumps({"tpu_vm_candidates": zones}))
    assert "UNREACHABLE" not in leftovers(*both)
    told = leftovers(*both, "-e", f"leftovers_delete=us-west1-c/{NAME}", "--check")
    run_module("tpu_vm", state="absent", **elsewhere)
    assert re.findall(r"^fatal: \[(\S+)\]: UNREACHABLE!", told, re.MULTILINE) == [NAME]
    assert f"queued:us-west1-c/{NAME}  would be deleted" in told
