# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity ladder as a user plays it, on a local cloud whose zones lack capacity.

A playbook takes seconds to start: what the ladder does with each refusal is in test_actions.py.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Play
from tests.contract.served import Served

A, B = "us-west1-c", "us-west4-a"
# One machine each.
HERE = {"zone": A, "accelerator_type": "v5litepod-1"}
THERE = {"zone": B, "accelerator_type": "v5litepod-1"}


@dataclass
class Site:
    """The playbooks, on the inventory of the local cloud."""

    served: Served
    on_the_cloud: Play
    name: str

    def play(self, playbook: str, *arguments: str, candidates: Any = (HERE, THERE), status: int = 0) -> str:
        values = {
            "tpu_vm_name": self.name,
            "tpu_vm_disk_name": f"{self.name}-disk",
            "tpu_vm_disk_size_gb": 10,
            "tpu_vm_candidates": list(candidates),
        }
        return self.on_the_cloud(playbook, "-e", json.dumps(values), *arguments, status=status)

    def where(self) -> dict[str, list[str]]:
        """Zones of the nodes and disks that are this test's."""
        found = [name.split("/") for name in self.served.records()]
        return {
            kind: [path[3] for path in found if path[4] == kind and path[5].startswith(self.name)]
            for kind in ("nodes", "disks")
        }


@pytest.fixture
def site(
    served: Served, play: Play, run_module: Callable[..., Any], request: pytest.FixtureRequest
) -> Iterator[Site]:
    made = Site(served, play, f"ladder-{zlib.crc32(request.node.name.encode()):08x}")
    yield made
    served.clear()
    for zone in (A, B):
        here = {"zone": zone, "state": "absent"}
        run_module("tpu_queued_resource", name=made.name, force=True, **here)
        run_module("tpu_vm", name=made.name, **here)
        run_module("gcp_disk", name=f"{made.name}-disk", **here)
    assert made.where() == {"nodes": [], "disks": []}


def test_a_stock_out_moves_on_and_the_data_pin_the_next_run_to_their_zone(site: Site) -> None:
    site.served.fault("stockout", {"zone": A})
    output = site.play("playbooks/provision.yml")
    assert f"{A} v5litepod-1 on-demand: stockout" in output
    assert f"{B} v5litepod-1 on-demand: ready" in output
    assert site.where() == {"nodes": [B], "disks": [B]}
    site.play("playbooks/teardown.yml")
    assert site.where() == {"nodes": [], "disks": [B]}
    site.served.clear()
    output = site.play("playbooks/provision.yml")
    assert re.search(rf"The disk {site.name}-disk, with its\s+data, is in {B}", output)
    assert site.where() == {"nodes": [B], "disks": [B]}


def test_no_capacity_anywhere_is_one_error_and_leaves_nothing(site: Site) -> None:
    site.served.fault("stockout", {})
    output = site.play("playbooks/provision.yml", status=2)
    assert "No candidate gave a TPU VM" in output
    assert output.count("fatal:") == 1
    assert site.where() == {"nodes": [], "disks": []}


def test_what_still_waits_in_a_queue_goes_with_an_ephemeral_run(site: Site) -> None:
    """Without tpu_vm_ephemeral it is for the next run: test_actions.py."""
    site.served.fault("stockout", {})
    candidates = [{**HERE, "provisioning": "queued", "spot": True, "timeout": 1}]
    output = site.play(
        "playbooks/provision.yml", "-e", "tpu_vm_ephemeral=true", candidates=candidates, status=2
    )
    assert output.count("fatal:") == 1
    assert "The node is deleted, as tpu_vm_ephemeral says; its disk is kept." in output
    assert not [name for name in site.served.records() if "/queuedResources/" in name]
    assert site.where()["nodes"] == []


def test_a_plan_says_what_it_costs_and_a_check_run_writes_nothing(site: Site) -> None:
    before = len(site.served.exchanges)
    plan = site.play("playbooks/plan.yml")
    check = site.play("site.yml", "--check", "--diff", "--skip-tags", "preflight")
    for output in (plan, check):
        assert f"1. {A} v5litepod-1 on-demand: 1.201 USD an hour (node 1.200, disk 0.001)" in output
        assert f"2. {B} v5litepod-1 on-demand: no price known for pd-balanced in us-west4" in output
        assert f"create the TPU VM {site.name} in {A}" in output
        assert "failed=0" in output
    assert {exchange.verb for exchange in site.served.since(before)} == {"GET"}
    assert site.where() == {"nodes": [], "disks": []}


def test_a_plan_says_whether_the_training_fits_and_how_long_a_run_takes(site: Site) -> None:
    real = {"platform": "tpu", "model": "qwen3-14b", "maxtext_arguments": [], "sft_weight_dtype": "bfloat16"}
    plan = " ".join(site.play("playbooks/plan.yml", "-e", json.dumps(real)).split())
    assert "v5litepod-1: too large: qwen3-14b in bfloat16 with 1 sequence of" in plan
    other = json.dumps(real | {"model": "qwen3-0.6b"})
    small = " ".join(site.play("playbooks/plan.yml", "-e", other).split())
    assert "v5litepod-1: unknown: it is not known whether qwen3-0.6b" in small
    assert f"{A} v5litepod-1 on-demand: about " in small
    assert f"{B} v5litepod-1 on-demand: about " in small
    assert "no price known (minutes: node 5, load " in small


def test_a_key_file_in_the_home_is_the_key_of_the_node(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the documentation writes the default. A node with another key costs money, and nobody gets in."""
    monkeypatch.setenv("HOME", str(tmp_path))
    site.play("playbooks/provision.yml", "-e", "tpu_vm_ssh_key_file=~/keys/mine")
    (node,) = [node for name, node in site.served.server.cloud.store.items("node") if site.name in name]
    assert (tmp_path / "keys" / "mine.pub").read_text().split()[1] in node["metadata"]["ssh-keys"]
