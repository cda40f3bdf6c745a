# SPDX-License-Identifier: GPL-3.0-or-later
"""Teardown ends with a true statement, wherever it is started, and forgets nothing that costs money."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.advice import advised
from tests.contract.conftest import ROOT, Description
from tests.contract.served import Served

A, B = "us-west1-c", "us-west4-a"
V5E = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite"}


@dataclass
class Elsewhere:
    """The collection's playbooks, started in an empty directory, without the settings of this checkout."""

    served: Served
    run_module: Callable[..., Any]
    directory: Path
    name: str
    owner: str
    printed: str = ""  # by the last command

    def play(self, playbook: str, *arguments: str, zones: tuple[str, ...] = (A,)) -> tuple[int, str]:
        """The exit status and what it printed, however its lines are wrapped."""
        places = [{"zone": zone, "accelerator_type": V5E["accelerator_type"]} for zone in zones]
        values = {
            "tpu_vm_name": self.name,
            "tpu_vm_owner": self.owner,
            "tpu_vm_disk_name": f"{self.name}-disk",
            "tpu_vm_candidates": places,
        }
        inventory = str(ROOT / "inventories" / "local")
        command = [
            "ansible-playbook",
            "-i",
            inventory,
            f"tpuops.maxtext.{playbook}",
            "-e",
            json.dumps(values),
        ]
        return self.run([*command, *arguments])

    def follow(self, *words: str) -> tuple[int, str]:
        """The same of the one command with these words that the last one printed, as it was printed."""
        return self.run(["bash", "-c", advised(self.printed, *words)])

    def run(self, command: list[str]) -> tuple[int, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        own = {
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "LOCALCLOUD_STATE_DIR": self.served.description["state_dir"],
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=kept | own,
            capture_output=True,
            text=True,
            check=False,
        )
        self.printed = done.stdout + done.stderr
        return done.returncode, " ".join(self.printed.split())

    def make(self, zone: str = A, owner: str = "", disk: bool = False) -> None:
        labels = {"created-by": "tpuops-maxtext", "owner": owner or self.owner}
        place = {"name": self.name, "zone": zone, "labels": labels}
        assert self.run_module("tpu_vm", **place, **V5E)["changed"]
        if disk:
            assert self.run_module("gcp_disk", **{**place, "name": f"{self.name}-disk"}, size_gb=10)[
                "changed"
            ]

    def there(self) -> list[str]:
        """KIND:ZONE of the nodes and disks that are this test's."""
        found = [name.split("/") for name in self.served.records()]
        return [f"{path[4]}:{path[3]}" for path in found if path[5].startswith(self.name)]


@pytest.fixture
def elsewhere(
    served: Served,
    cloud: Description,
    run_module: Callable[..., Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Elsewhere]:
    name = f"down-{zlib.crc32(request.node.name.encode()):08x}"
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    made = Elsewhere(served, run_module, tmp_path, name, "ann")
    yield made
    served.clear()
    for zone in (A, B):
        run_module("tpu_vm", name=name, zone=zone, state="absent")
        run_module("gcp_disk", name=f"{name}-disk", zone=zone, state="absent")
    assert made.there() == []


def test_a_node_whose_machine_does_not_answer_is_deleted_from_an_empty_directory(
    elsewhere: Elsewhere,
) -> None:
    elsewhere.make()
    status, told = elsewhere.play("teardown")
    assert "UNREACHABLE" in told
    assert (status, elsewhere.there()) == (0, []), told


def test_a_zone_that_cannot_be_reached_is_named_and_the_other_is_cleared(elsewhere: Elsewhere) -> None:
    elsewhere.make(A)
    elsewhere.make(B, disk=True)
    elsewhere.served.fault("unreachable", {"zone": A})
    status, told = elsewhere.play("teardown", "-e", f"tpu_vm_delete_disk={elsewhere.name}-disk", zones=(A, B))
    assert f"TPU VM {elsewhere.name} in {B}, disk {elsewhere.name}-disk in {B}." in told
    assert f"Whether there is a TPU VM {elsewhere.name} in {A} is not known" in told
    assert (status, elsewhere.there()) == (2, [f"nodes:{A}"]), told


def test_a_node_of_somebody_else_stays_and_is_no_success(elsewhere: Elsewhere) -> None:
    elsewhere.make(owner="bob")
    status, told = elsewhere.play("teardown")
    assert "is not ours" in told
    assert (status, elsewhere.there()) == (2, [f"nodes:{A}"]), told
    named = f"leftovers_delete={elsewhere.name}"
    status, told = elsewhere.play("leftovers", "-e", named)
    assert "has owner=bob, yours have owner=ann" in told
    assert (status, elsewhere.there()) == (2, [f"nodes:{A}"]), told


def test_a_node_where_no_candidate_is_is_no_success_and_the_command_that_is_told_deletes_it(
    elsewhere: Elsewhere,
) -> None:
    elsewhere.make(B)
    for playbook in ("stop_node", "teardown"):
        status, told = elsewhere.play(playbook)
        assert f"Your TPU VM {elsewhere.name} is in {B}, READY, where no candidate is, and stays." in told
        assert (status, elsewhere.there()) == (2, [f"nodes:{B}"]), told
    status, told = elsewhere.follow("leftovers")
    assert (status, elsewhere.there()) == (0, []), told


def test_what_is_where_no_candidate_is_has_the_command_that_deletes_it(elsewhere: Elsewhere) -> None:
    """The report names a node there with it, too; a disk, and a queued resource whose node costs money."""
    elsewhere.make(B, disk=True)
    status, told = elsewhere.play("status")
    assert f"Node {elsewhere.name} in {B}: READY" in told
    assert (elsewhere.follow("leftovers", "node:")[0], elsewhere.there()) == (0, [f"disks:{B}"])
    status, told = elsewhere.play("teardown", "-e", f"tpu_vm_delete_disk={elsewhere.name}-disk")
    assert f"The disk {elsewhere.name}-disk is in {B}, where no candidate is, and stays." in told
    assert (status, elsewhere.follow("leftovers")[0], elsewhere.there()) == (2, 0, [])
    labels = {"created-by": "tpuops-maxtext", "owner": elsewhere.owner}
    queued = {"name": elsewhere.name, "zone": B, "labels": labels, **V5E}
    assert elsewhere.run_module("tpu_queued_resource", **queued)["changed"]
    status, told = elsewhere.play("plan")
    assert f"The queued resource {elsewhere.name} in {B}, where no candidate is, has its node" in told
    assert (elsewhere.follow("leftovers")[0], elsewhere.there()) == (0, [])


def test_a_second_teardown_is_told_from_one_of_a_wrong_name(elsewhere: Elsewhere) -> None:
    elsewhere.make(A)
    assert elsewhere.play("teardown")[0] == 0
    elsewhere.make(B)
    right, wrong = elsewhere.name, f"{elsewhere.name}-other"
    status, told = elsewhere.play("teardown", "-e", f"tpu_vm_name={wrong}")
    assert f"tpu_vm_name: Google has no TPU VM {wrong} in {A}, and remembers none." in told
    assert f"You have: {right} in {B}, READY." in told
    assert (status, elsewhere.there()) == (2, [f"nodes:{B}"]), told
    # What was deleted is no wrong name, also beside a node that stays.
    labels = {"created-by": "tpuops-maxtext", "owner": elsewhere.owner}
    elsewhere.run_module("tpu_vm", name=right, zone=B, state="absent")
    assert elsewhere.run_module("tpu_vm", name=wrong, zone=B, labels=labels, **V5E)["changed"]
    status, told = elsewhere.play("teardown")
    elsewhere.run_module("tpu_vm", name=wrong, zone=B, state="absent")
    nothing = f"Deleted nothing: there is no TPU VM {right} of yours in any zone."
    assert f"{nothing} Google remembers that it was deleted in {A} at" in told
    assert "It does not say whose it was." not in told
    assert f"You have: {wrong} in {B}, READY." in told
    assert status == 0, told


def test_a_name_that_was_somebody_elses_is_no_name_of_ones_own(elsewhere: Elsewhere) -> None:
    """Google's operations go by name. The answer to a creation says whose it was."""
    elsewhere.make(A, owner="bob")
    elsewhere.run_module("tpu_vm", name=elsewhere.name, zone=A, state="absent")
    mine = f"{elsewhere.name}-mine"
    labels = {"created-by": "tpuops-maxtext", "owner": elsewhere.owner}
    assert elsewhere.run_module("tpu_vm", name=mine, zone=B, labels=labels, **V5E)["changed"]
    status, told = elsewhere.play("teardown")
    elsewhere.run_module("tpu_vm", name=mine, zone=B, state="absent")
    assert "It was not yours: it had owner=bob, yours have owner=ann." in told
    assert f"You have: {mine} in {B}, READY." in told
    assert status == 2, told


@pytest.mark.parametrize("playbook", ["site", "follow"])
def test_a_tag_that_nothing_has_is_refused(elsewhere: Elsewhere, playbook: str) -> None:
    """Ansible would do nothing and end well. One playbook with tags, one without: the others begin alike."""
    status, told = elsewhere.play(playbook, "--tags", "vllm-serve")
    assert "--tags: vllm-serve is no tag of this playbook, and nothing would be done." in told
    assert status == 2, told


def test_the_end_of_an_ephemeral_run_cannot_be_skipped(elsewhere: Elsewhere) -> None:
    ephemeral = ("-e", "tpu_vm_ephemeral=true")
    status, told = elsewhere.play("site", "--skip-tags", "tpu_vm", *ephemeral)
    assert "--skip-tags: tpu_vm cannot be skipped here. Tags that can: convert, data_disk," in told
    assert status == 2, told


def test_a_node_is_made_where_a_zone_answers(elsewhere: Elsewhere) -> None:
    elsewhere.served.fault("unreachable", {"zone": A})
    key = f"tpu_vm_ssh_key_file={elsewhere.directory}/key"
    status, told = elsewhere.play("provision", "-e", key, "-e", "tpu_vm_disk_size_gb=10", zones=(A, B))
    assert f"The candidates in {A} are not tried" in told
    assert (status, sorted(elsewhere.there())) == (0, [f"disks:{B}", f"nodes:{B}"]), told


def test_a_limit_is_refused_before_anything_is_done(elsewhere: Elsewhere) -> None:
    """It would leave out the controller, or the worker whose jobs are to be spared.

    The other playbooks begin with the same one: tests/unit/test_playbooks.py.
    """
    elsewhere.make()
    for limit in (elsewhere.name, "localhost"):
        status, told = elsewhere.play("teardown", "--limit", limit)
        assert f"--limit: is {limit}, and this playbook takes none" in told
        assert (status, elsewhere.there()) == (2, [f"nodes:{A}"]), told


STRANGERS = ["all", "ungrouped", "localhost", "workers", "tpu-vm", "twin-0"]


@pytest.fixture
def strangers(elsewhere: Elsewhere) -> Iterator[None]:
    """Nodes of others: with names that Ansible has a meaning for, and two workers with one name."""
    labels = {"created-by": "tpuops-maxtext", "owner": "bob"}
    for name in STRANGERS:
        made = elsewhere.run_module("tpu_vm", name=name, zone=A, labels=labels, **V5E)
        assert made["changed"], made
    slices = {**V5E, "accelerator_type": "v5litepod-16"}
    assert elsewhere.run_module("tpu_vm", name="twin", zone=A, labels=labels, **slices)["changed"]
    yield
    for name in [*STRANGERS, "twin"]:
        elsewhere.run_module("tpu_vm", name=name, zone=A, state="absent")


@pytest.mark.parametrize("listed", [[], ["-e", '{"tpu_vm_listed": []}']], ids=["as it is", "with all nodes"])
def test_other_peoples_nodes_are_in_no_play(elsewhere: Elsewhere, strangers: None, listed: list[str]) -> None:
    elsewhere.make(A)
    elsewhere.make(B, owner="bob")
    status, told = elsewhere.play("teardown", *listed, zones=(A, B))
    recap = told.partition("PLAY RECAP")[2]
    assert sorted(re.findall(r"(\S+) : ok=", recap)) == [f"{elsewhere.name}.{A}", "localhost"], told
    assert (status, elsewhere.there()) == (0, [f"nodes:{B}"]), told
    assert len(elsewhere.served.records()) == len(STRANGERS) + 2


def test_no_run_works_on_the_node_of_somebody_else(elsewhere: Elsewhere) -> None:
    elsewhere.make(owner="bob")
    status, told = elsewhere.play("follow")
    assert "is not ours" in told
    assert "UNREACHABLE" not in told
    assert status == 2, told
