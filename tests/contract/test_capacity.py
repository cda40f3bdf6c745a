# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity ladder as a user plays it, on a local cloud whose zones lack capacity or quota."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.served import Served
from tests.contract.test_gcloud import at

ROOT = Path(__file__).resolve().parents[2]
A, B = "us-west1-c", "us-west4-a"
# One machine each.
HERE = {"zone": A, "accelerator_type": "v5litepod-1"}
THERE = {"zone": B, "accelerator_type": "v5litepod-1"}


@dataclass
class Site:
    """The playbooks, on the inventory of the local cloud."""

    served: Served
    name: str

    def play(self, playbook: str, *arguments: str, candidates: Any = (HERE, THERE), status: int = 0) -> str:
        values = {
            "tpu_vm_name": self.name,
            "tpu_vm_disk_name": f"{self.name}-disk",
            "tpu_vm_disk_size_gb": 10,
            "tpu_vm_candidates": list(candidates),
        }
        command = [
            "ansible-playbook",
            "-i",
            "inventories/local",
            playbook,
            "-e",
            json.dumps(values),
            *arguments,
        ]
        state_dir = self.served.description["state_dir"]
        environment = {**os.environ, "LOCALCLOUD_STATE_DIR": state_dir, "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def where(self) -> dict[str, list[str]]:
        """Zones of the nodes and disks that are this test's."""
        found = [name.split("/") for name in self.served.records()]
        return {
            kind: [path[3] for path in found if path[4] == kind and path[5].startswith(self.name)]
            for kind in ("nodes", "disks")
        }


@pytest.fixture
def site(served: Served, run_module: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(served, f"ladder-{zlib.crc32(request.node.name.encode()):08x}")
    yield made
    served.clear()
    for zone in (A, B):
        here = {"zone": zone, "state": "absent"}
        run_module("tpu_queued_resource", name=made.name, force=True, **here)
        run_module("tpu_vm", name=made.name, **here)
        run_module("gcp_disk", name=f"{made.name}-disk", **here)
    assert made.where() == {"nodes": [], "disks": []}


def words(output: str) -> str:
    """What was told, however its lines are wrapped."""
    return " ".join(output.split())


def test_a_stock_out_moves_on_and_a_second_run_changes_nothing(site: Site) -> None:
    site.served.fault("stockout", {"zone": A})
    output = site.play("playbooks/provision.yml")
    assert f"{A} v5litepod-1 on-demand: stockout" in output
    assert f"{B} v5litepod-1 on-demand: ready" in output
    assert site.where() == {"nodes": [B], "disks": [B]}
    again = site.play("playbooks/provision.yml")
    assert "changed=0" in again
    assert "asking" not in again
    site.play("playbooks/teardown.yml", "-e", f"tpu_vm_delete_disk={site.name}-disk")
    assert site.where() == {"nodes": [], "disks": []}


def test_a_lack_of_quota_moves_on(site: Site) -> None:
    site.served.fault("quota", {"zone": A})
    assert f"{A} v5litepod-1 on-demand: quota" in site.play("playbooks/provision.yml")
    assert site.where() == {"nodes": [B], "disks": [B]}


def test_a_missing_permission_stops_and_leaves_nothing(site: Site) -> None:
    site.served.fault("permission", {"method": "*.nodes.create"})
    output = site.play("playbooks/provision.yml", status=2)
    assert output.count("fatal:") == 1
    assert site.where() == {"nodes": [], "disks": []}


def test_no_capacity_anywhere_is_one_error_and_leaves_nothing(site: Site) -> None:
    site.served.fault("stockout", {})
    output = site.play("playbooks/provision.yml", status=2)
    assert "No candidate gave a TPU VM" in output
    assert output.count("fatal:") == 1
    assert site.where() == {"nodes": [], "disks": []}


def test_data_pin_the_run_to_their_zone(site: Site) -> None:
    site.served.fault("stockout", {"zone": A})
    site.play("playbooks/provision.yml")
    site.play("playbooks/teardown.yml")
    assert site.where() == {"nodes": [], "disks": [B]}
    site.served.clear()
    output = site.play("playbooks/provision.yml")
    assert re.search(rf"The disk {site.name}-disk, with its\s+data, is in {B}", output)
    assert site.where() == {"nodes": [B], "disks": [B]}


def test_a_queued_resource_gives_the_node(site: Site) -> None:
    queued = {**HERE, "provisioning": "queued", "spot": True, "timeout": 120}
    site.play("playbooks/provision.yml", candidates=[queued])
    assert site.where()["nodes"] == [A]
    assert "changed=0" in site.play("playbooks/provision.yml", candidates=[queued])
    site.play("playbooks/teardown.yml", candidates=[queued])
    assert site.where() == {"nodes": [], "disks": [A]}


def test_what_still_waits_is_for_the_next_run_or_goes_with_an_ephemeral_one(site: Site) -> None:
    def waiting() -> int:
        return sum(name.endswith(f"/queuedResources/{site.name}") for name in site.served.records())

    site.served.fault("stockout", {})
    candidates = [{**HERE, "provisioning": "queued", "spot": True, "timeout": 3}]
    site.play("playbooks/provision.yml", candidates=candidates, status=2)
    assert waiting() == 1
    output = site.play(
        "playbooks/provision.yml", "-e", "tpu_vm_ephemeral=true", candidates=candidates, status=2
    )
    assert output.count("fatal:") == 1
    assert "The node is deleted, as tpu_vm_ephemeral says; its disk is kept." in output
    assert (waiting(), site.where()["nodes"]) == (0, [])


NODE = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite"}


@pytest.mark.parametrize(
    ("module", "suffix", "options"), [("tpu_vm", "", NODE), ("gcp_disk", "-disk", {"size_gb": 10})]
)
def test_what_is_somebody_elses_is_left_alone_until_it_is_labelled_as_ours(
    site: Site,
    run_module: Callable[..., Any],
    cloud_environment: dict[str, str],
    tmp_path: Path,
    module: str,
    suffix: str,
    options: dict[str, Any],
) -> None:
    labels = {"created-by": "tpuops-maxtext", "owner": "somebody"}
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    assert run_module(module, name=f"{site.name}{suffix}", zone=A, labels=labels, **options)["changed"]
    before = len(site.served.exchanges)
    refused = words(site.play("playbooks/provision.yml", status=2))
    kept = words(site.play("playbooks/teardown.yml", "-e", f"tpu_vm_delete_disk={site.name}-disk"))
    assert refused.count("fatal:") == 1
    for told in (refused, kept):
        assert re.search(rf" {site.name}{suffix} in {A}(, READY,)? is not ours: ", told)
    asked = [str(each) for each in site.served.since(before) if re.search("/(nodes|disks)", each.path)]
    assert asked
    assert [each for each in asked if not re.match("GET |POST .*:getGuestAttributes ", each)] == []
    (command,) = set(re.findall(r"say so with gcloud (.*?);", refused))
    project = site.served.description["project"]
    at(cloud_environment, tmp_path)(*command.split(), f"--project={project}")
    assert f"{A} v5litepod-1 on-demand: ready" in site.play("playbooks/provision.yml")
    assert site.where() == {"nodes": [A], "disks": [A]}


def test_a_plan_says_what_it_costs_and_a_check_run_writes_nothing(site: Site) -> None:
    before = len(site.served.exchanges)
    plan = site.play("playbooks/plan.yml")
    check = site.play("site.yml", "--check", "--diff")
    for output in (plan, check):
        assert f"1. {A} v5litepod-1 on-demand: 1.201 USD an hour (node 1.200, disk 0.001)" in output
        assert f"2. {B} v5litepod-1 on-demand: no price known for pd-balanced in us-west4" in output
        assert f"make the TPU VM {site.name} in {A}" in output
        assert "failed=0" in output
    assert {exchange.verb for exchange in site.served.since(before)} == {"GET"}
    assert site.where() == {"nodes": [], "disks": []}
