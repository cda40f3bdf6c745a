# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run ends whose machine cannot be reached over SSH. This cloud has no machines: SSH is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.advice import advised
from tests.contract.conftest import ROOT, Follow, Play
from tests.contract.served import Served

NAME = "silent"
EPHEMERAL = ["-e", "tpu_vm_ephemeral=true"]
NAMED = ["-e", f"tpu_vm_name={NAME}", "-e", "tpu_vm_owner=ann", "-e", "tpu_vm_disk_name="]
CHANGES = re.compile(r"^localhost .* changed=[1-9]", re.MULTILINE)
NO_DISK = "-e tpu_vm_disk_name="
KEPT = (
    "The node is kept, although tpu_vm_ephemeral is set, as its machine cannot be reached over SSH and may "
    "run a job: "
)
OWN = f"-e tpu_vm_name={NAME} -e tpu_vm_owner=ann"
FORCE = f"playbooks/teardown.yml {OWN} -e tpu_vm_force=true stops what runs and deletes the node."
DELETED = "The node is deleted, as tpu_vm_ephemeral says; its disk is kept."


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def node(
    served: Served, run_module: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> Iterator[Callable[[], list[str]]]:
    """A node that is READY, silent unless the test names it; gives a function that lists what is there."""
    run_module("gcp_services", services=["compute.googleapis.com", "tpu.googleapis.com"])
    place = {"name": getattr(request, "param", NAME), "zone": served.description["zone"]}
    kind = {"accelerator_type": "v5litepod-8", "runtime_version": "v2-alpha-tpuv5-lite"}
    labels = {"created-by": "tpuops-maxtext", "owner": "ann"}
    assert run_module("tpu_vm", **place, labels=labels, **kind)["changed"]
    yield lambda: [name.rpartition("/")[2] for name in served.records()]
    served.clear()
    run_module("tpu_vm", **place, state="absent")


def test_a_stage_that_loses_its_machine_ends_with_what_costs_money(
    node: Callable[[], list[str]], play: Play, follow: Follow
) -> None:
    """Ansible ends a playbook at once when no host of a play can be reached. The end of the run is played."""
    printed = play("site.yml", "--tags", "convert,sft", *NAMED, status=None)
    told = words(printed)
    assert "PLAY [Prepare]" in told and "UNREACHABLE!" in told, told
    assert f"Node {NAME} in us-west1-c: READY" in told.partition("PLAY [Report]")[2]
    assert node() == [NAME]
    # The advice for a machine that cannot be reached, and the report, say it in the same words.
    follow(advised(printed, "playbooks/teardown.yml"))
    assert node() == []


def test_an_ephemeral_run_keeps_a_node_that_may_run_a_job_and_says_so(
    node: Callable[[], list[str]], play: Play, follow: Follow
) -> None:
    printed = play("site.yml", "--tags", "convert,sft", *NAMED, *EPHEMERAL, status=None)
    told = words(printed)
    assert KEPT in told, told
    assert (
        f"Google says that the node is READY. It costs money. ansible-playbook -i inventories/local {FORCE}"
        in told
    )
    assert node() == [NAME]
    follow(advised(printed, "teardown.yml", "tpu_vm_force=true"))
    assert node() == []


def test_an_ephemeral_run_that_goes_well_keeps_such_a_node_too(
    node: Callable[[], list[str]], play: Play
) -> None:
    """Preflight goes on without a machine that cannot be reached."""
    told = words(play("site.yml", "--tags", "preflight", *NAMED, *EPHEMERAL, status=2))
    assert KEPT in told and FORCE in told, told
    assert node() == [NAME]


def test_an_ephemeral_run_of_a_lost_machine_deletes_its_node(
    node: Callable[[], list[str]], play: Play, served: Served, cloud: dict[str, Any]
) -> None:
    """The inventory of the run has the node as it was."""
    cached = ["-e", "tpu_vm_user=tpu"]
    preempt(cloud)
    told = words(play("site.yml", "--tags", "preflight", *NAMED, *EPHEMERAL, *cached))
    assert "Google says that the node is PREEMPTED. " + DELETED in told, told
    assert node() == []


def test_an_ephemeral_run_that_ends_in_preflight_says_what_became_of_the_node(
    node: Callable[[], list[str]], play: Play
) -> None:
    told = words(play("site.yml", *NAMED, *EPHEMERAL, "-e", "dataset=local/none", status=2))
    assert KEPT in told and FORCE in told, told
    assert node() == [NAME]


def test_an_ephemeral_run_whose_stages_cannot_begin_deletes_its_node(
    node: Callable[[], list[str]], play: Play, cloud: dict[str, Any]
) -> None:
    preempt(cloud)
    told = words(play("site.yml", "--tags", "sft", *NAMED, *EPHEMERAL, status=2))
    assert f"tpu_vm_name: the TPU VM {NAME} is PREEMPTED. Create it again" in told, told
    assert DELETED in told, told
    assert node() == []


def preempt(cloud: dict[str, Any]) -> None:
    command = ["python", "-m", "localcloud", "--state-dir", cloud["state_dir"], "preempt", NAME]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


STAGES = {
    "prepare": "tpu_vm,data_disk,maxtext_env",
    "convert": "convert",
    "sft": "sft",
    "export": "export",
    "serve": "vllm_serve",
    "evaluate": "evaluate",
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone_is_refused_with_the_command_that_plays_it(stage: str, play: Play) -> None:
    """It had no hosts, did nothing and ended well."""
    told = words(play(f"playbooks/{stage}.yml", *NAMED, status=2))
    command = f"ansible-playbook -i inventories/local site.yml {OWN} {NO_DISK} --tags {STAGES[stage]}"
    assert f"{stage}.yml: is a part of site.yml and does nothing alone. Run instead: {command}" in told, told
    assert told.count("fatal:") == 1, told


def test_the_command_that_plays_a_stage_and_the_one_that_creates_its_node(play: Play, follow: Follow) -> None:
    told = follow(advised(play("playbooks/convert.yml", *NAMED, status=2), "--tags convert"), status=2)
    assert f"The inventory has no worker of the node {NAME}." in told
    create = advised(told, "site.yml", "--tags tpu_vm,data_disk")
    assert CHANGES.search(follow(f"{create} --check"))


@pytest.mark.parametrize(
    ("state", "tags"), [("STOPPED", "tpu_vm"), ("PREEMPTED", "tpu_vm,data_disk"), ("UNKNOWN", "")]
)
def test_the_command_for_a_node_that_does_not_run(
    node: Callable[[], list[str]], play: Play, follow: Follow, served: Served, state: str, tags: str
) -> None:
    """Without machines its stages cannot be played: the one that creates or starts it is checked."""
    store = served.server.cloud.store
    [(name, record)] = store.items("node")
    store.put("node", name, {**record, "state": state})
    told = play("playbooks/follow.yml", *NAMED, status=2)
    if tags:
        assert CHANGES.search(follow(f"{advised(told, 'site.yml', f'--tags {tags} ')} --check"))
    else:
        follow(advised(told, "teardown.yml"))
        assert node() == []
        advised(told, "site.yml", "--tags tpu_vm,data_disk")


@pytest.mark.parametrize("node", ["tpu-v5e-8"], indirect=True)
def test_preflight_finds_the_node_by_its_default_name(
    node: Callable[[], list[str]], tmp_path: Path, cloud: dict[str, Any]
) -> None:
    """Without tpu_vm_name in the inventory it compared nothing with what the run keeps, silently."""
    own = tmp_path / "inventory"
    shutil.copytree(ROOT / "inventories" / "local", own)
    settings = own / "group_vars" / "all" / "cloud.yml"
    settings.write_text(settings.read_text().replace("tpu_vm_name: tpu-v5e-8\n", ""))
    command = ["ansible-playbook", "-i", str(own), "playbooks/preflight.yml", "-e", "tpu_vm_owner=ann"]
    environment = {**os.environ, "LOCALCLOUD_STATE_DIR": cloud["state_dir"], "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("UNREACHABLE!") == 1, done.stdout
