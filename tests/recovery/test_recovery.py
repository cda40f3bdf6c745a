# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are taken away under the playbooks, with real machines and fake programs. Needs root.

The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.support import RECORDS, ROOT, Cloud, local_cloud

from . import fakes

pytestmark = pytest.mark.machines

NODE = "tpu-v5e-8"
SECURITY = ROOT / "docs" / "security.md"
RUN = f"{fakes.DISK}/maxtext/qwen3-4b-sft"
TAGS = "preflight,tpu_vm,data_disk,maxtext_env,convert,sft"
# A dead connection is noticed within seconds.
SSH = (
    "-o ControlMaster=auto -o ControlPersist=60s "
    "-o ServerAliveInterval=1 -o ServerAliveCountMax=3 -o ConnectTimeout=3"
)
STEPS, PERIOD, LOST_AT = 40, 5, 17


@dataclass
class Site:
    cloud: Cloud
    home: Path

    def start(self, laptop: Path | None = None, **values: Any) -> tuple[subprocess.Popen[bytes], Path]:
        """site.yml up to training, with fake programs, from another `laptop`; its process and its words."""
        own = {"HOME": str(laptop), "ANSIBLE_HOME": f"{laptop}/.ansible"} if laptop else {}
        return self.begin("site.yml", "--tags", TAGS, given=values, **own)

    def begin(
        self, playbook: str, *arguments: str, given: dict[str, Any] | None = None, **environment: str
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """A playbook that goes on beside the test; its process and what it prints."""
        number = len(list(self.home.glob("*.log")))
        log, extra = self.home / f"{number}.log", self.home / f"{number}.json"
        extra.write_text(json.dumps(given or {}))
        with log.open("w") as out:
            process = subprocess.Popen(
                ["ansible-playbook", playbook, *arguments, "-e", f"@{extra}"],
                cwd=ROOT,
                env={**self.cloud.environment, "ANSIBLE_SSH_ARGS": SSH, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return process, log

    def preempt(self) -> None:
        done = self.cloud.command([sys.executable, "-m", "localcloud", "preempt", NODE])
        assert done.returncode == 0, done.stderr

    def finished(self) -> list[str]:
        """The programs that came to their end, in turn."""
        return self.cloud.ssh(f"cat {fakes.FINISHED}").split()

    def status(self) -> dict[str, Any]:
        found = self.cloud.command([sys.executable, "-m", "localcloud", "status", "--json"])
        status: dict[str, Any] = json.loads(found.stdout)
        return status

    def made(self) -> datetime:
        """When the node was made."""
        settings = self.cloud.settings
        place = f"projects/{settings['project']}/locations/{settings['zone']}/nodes/{NODE}"
        token = Path(settings["access_token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        node = requests.get(f"{settings['endpoints']['tpu']}/v2/{place}", headers=headers, timeout=60).json()
        return datetime.fromisoformat(node["createTime"])

    def nodes(self) -> list[str]:
        return [node["state"] for node in self.status()["nodes"]]

    def wait_until_gone(self) -> None:
        for _ in range(1200):
            if not self.nodes():
                return
            time.sleep(0.1)
        raise AssertionError(f"the nodes are {self.nodes()} still")

    def disks(self) -> list[str]:
        return [disk["name"].rpartition("/")[2] for disk in self.status()["disks"]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("recovery")
    with local_cloud(base) as cloud:
        yield Site(cloud, base)


def wait_until_told(process: subprocess.Popen[bytes], log: Path, pattern: str) -> None:
    while not re.search(pattern, log.read_text(), re.MULTILINE):
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)


def words(log: Path) -> str:
    return " ".join(log.read_text().split())


def test_another_stage_says_what_to_do(site: Site) -> None:
    values = fakes.variables(steps=STEPS, period=PERIOD, convert_seconds=600)
    process, log = site.start(**values)
    wait_until_told(process, log, r"TASK \[tpuops.maxtext.convert : Download")
    site.cloud.ssh("until systemctl is-active --quiet tpuops-convert-qwen3-4b; do sleep 0.1; done")
    site.preempt()
    assert process.wait() == 2
    told = words(log)
    assert "the TPU VM tpu-v5e-8 is PREEMPTED. Run the same command again" in told
    assert site.nodes() == ["PREEMPTED"]


def test_a_run_ends_by_itself_when_its_node_is_preempted(site: Site) -> None:
    process, log = site.start(**fakes.variables(steps=STEPS, period=PERIOD, still=[LOST_AT]))
    wait_until_told(process, log, f"step {LOST_AT}/{STEPS}")
    before = records(site)
    refused = site.cloud.play(playbook="playbooks/teardown.yml")
    assert refused.status == 2, refused.output
    assert "there is a job that runs: sft-qwen3-4b-sft." in refused.output
    assert site.nodes() == ["READY"]
    site.preempt()
    assert process.wait() == 0, log.read_text()

    # The test before lost the node while it converted: that was begun again, what had ended was not.
    assert site.finished() == ["install", "convert", "train"]
    assert records(site) == before
    assert site.nodes() == ["READY"]
    trained = [int(step) for step in site.cloud.ssh(f"cat {RUN}/history").split()]
    resumed_at = LOST_AT // PERIOD * PERIOD
    assert trained == [*range(1, LOST_AT + 1), *range(resumed_at + 1, STEPS + 1)]
    told = words(log)
    assert f"tpu-v5e-8 is PREEMPTED; its last word was step {LOST_AT}. Recovery 1 of 3" in told
    assert "tpu-v5e-8 is there again: us-west1-c, v5litepod-8, on-demand" in told
    assert f"qwen3-4b-sft goes on from step {resumed_at}; {LOST_AT - resumed_at} steps were lost" in told


def recovering(site: Site, *tasks: dict[str, Any]) -> Path:
    """A playbook of some tasks, whose failure is rescued as that of training is."""
    recover = {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "recover"}
    rescue = {"name": "Recover", "ansible.builtin.include_role": recover}
    block = {"name": "Try", "block": tasks, "rescue": [rescue]}
    book = site.home / "recover.json"
    book.write_text(json.dumps([{"hosts": "tpu_vm", "gather_facts": False, "tasks": [block]}]))
    return book


def looked_into(site: Site, *, lost: bool) -> tuple[int, str]:
    """A task fails for a reason that says nothing of the node, which was deleted before, if `lost`."""
    connection = "{{ {'project': project, 'zone': zone} | combine(gcp_auth) }}"
    delete = {
        "name": "Delete the node",
        "tpuops.maxtext.tpu_vm": {"name": NODE, "state": "absent"},
        "module_defaults": {"group/tpuops.maxtext.gcp": connection},
        "delegate_to": "localhost",
        "when": lost,
    }
    fail = {"name": "Fail", "ansible.builtin.fail": {"msg": "a disk cannot be mounted"}}
    played = site.cloud.play(playbook=str(recovering(site, delete, fail)))
    return played.status, " ".join(played.output.split())


def test_whatever_failed_google_is_asked_about_the_node(site: Site) -> None:
    status, told = looked_into(site, lost=False)
    assert status == 2
    assert told.count("Recovery") == 0
    assert told.count("a disk cannot be mounted") > 1
    status, told = looked_into(site, lost=True)
    assert status == 0, told
    assert "tpu-v5e-8 is gone. Recovery 1 of 3" in told
    assert site.nodes() == ["READY"]


def test_a_silent_machine_whose_node_is_unwell_is_replaced(site: Site) -> None:
    job = {
        "name": "silent",
        "argv": ["/bin/sh", "-c", "echo asleep; sleep 600"],
        "records_dir": "/var/tmp/jobs",
        "reconnect_timeout": 5,
        "node": {
            "name": "{{ tpu_node }}",
            "zone": "{{ tpu_zone }}",
            "project": "{{ project }}",
            "auth": "{{ gcp_auth }}",
        },
    }
    book = recovering(site, {"name": "Wait", "tpuops.maxtext.job": job, "become": True})
    before = site.made()
    process, log = site.begin(str(book))
    wait_until_told(process, log, "asleep")
    for strike in (["health", NODE, "TIMEOUT"], ["machine", "cut", NODE]):
        done = site.cloud.command([sys.executable, "-m", "localcloud", *strike])
        assert done.returncode == 0, done.stderr
    assert process.wait() == 0, log.read_text()
    assert "tpu-v5e-8 is TIMEOUT. Recovery 1 of 3" in words(log)
    assert site.nodes() == ["READY"]
    assert site.made() > before


def records(site: Site) -> list[Any]:
    """Those of the jobs that must not run again."""
    paths = [f"{fakes.DISK}/.tpuops/jobs/{name}.json" for name in ("env-train", "convert-qwen3-4b")]
    return [json.loads(site.cloud.ssh(f"sudo -n cat {path}")) for path in paths]


def limited(site: Site, seconds: float) -> tuple[str, ...]:
    """A run that leaves the node so many seconds."""
    age = datetime.now(UTC) - site.made()
    return ("--tags", "tpu_vm", "-e", f"tpu_vm_max_hours={(age.total_seconds() + seconds) / 3600:.5f}")


def test_a_node_whose_time_is_up_deletes_itself(site: Site) -> None:
    """Long after the controller has gone; running again does not move the moment."""
    later = limited(site, 600)
    for changed in (True, False):
        played = site.cloud.play(*later)
        assert played.status == 0, played.output
        assert (played.recap["changed"] > 0) == changed
    told = site.cloud.ssh("systemd-analyze security --no-pager tpuops-guard.service")
    exposure = re.search(r"Overall exposure level for tpuops-guard.service: ([\d.]+)", told)
    documented = re.search(r"^\| the timer's service .* \| ([\d.]+) \|$", SECURITY.read_text(), re.MULTILINE)
    assert exposure and documented
    assert float(exposure[1]) <= float(documented[1])
    # How this ends is no matter: on a busy machine the node is gone by then.
    site.cloud.play(*limited(site, 45))
    site.wait_until_gone()
    assert site.disks() == ["tpu-data-disk"]


def test_a_node_that_nobody_prepared_deletes_itself_too(site: Site) -> None:
    """Whoever made it was gone before the timer could be set over SSH: the node's startup script armed it."""
    made = site.cloud.play("-e", f"tpu_vm_max_hours={120 / 3600}", playbook="playbooks/provision.yml")
    assert made.status == 0, made.output
    assert site.nodes() == ["READY"]
    site.wait_until_gone()
    assert site.disks() == ["tpu-data-disk"]


def test_training_ends_with_the_node_whose_time_is_up(site: Site) -> None:
    """The timer wins over a job that hangs, and no recovery makes the node again."""
    for seconds in (60, 300):  # on a busy machine the shorter time may be up before training is
        run = {**fakes.variables(steps=STEPS, period=PERIOD, still=[7]), "run_name": f"timed-{seconds}"}
        process, log = site.start(**run, tpu_vm_max_hours=seconds / 3600)
        assert process.wait() == 2
        site.wait_until_gone()
        told = words(log)
        if f"step 7/{STEPS}" in told:
            break
    assert re.search(r"It deleted itself, [\d.]+ hours after it was made \(tpu_vm_max_hours\)\.", told), told
    assert "Recovery" not in told
    assert site.disks() == ["tpu-data-disk"]


def test_a_run_recovers_as_often_as_it_may_and_ends_then(site: Site) -> None:
    """The same run with one recovery and with none; each stands still where its node is taken away."""
    run = {**fakes.variables(steps=STEPS, period=PERIOD, still=[7, 17, 27]), "run_name": "limited"}
    process, log = site.start(**run, tpu_vm_max_recoveries=1)
    for step in (7, 17):
        wait_until_told(process, log, f"step {step}/{STEPS}")
        site.preempt()
    assert process.wait() == 2
    told = words(log)
    assert "Recovery 1 of 1" in told
    assert told.count("Recovery") == 1
    assert "That was tried 1 times (tpu_vm_max_recoveries)." in told
    assert site.nodes() == ["PREEMPTED"]

    process, log = site.start(**run, tpu_vm_max_recoveries=0)
    wait_until_told(process, log, f"step 27/{STEPS}")
    site.preempt()
    assert process.wait() == 2
    told = words(log)
    assert "the TPU VM tpu-v5e-8 is PREEMPTED. Run the same command again" in told
    assert "goes on from what is there. The TPU VM" not in told  # once is enough
    assert "Recovery" not in told
    assert site.nodes() == ["PREEMPTED"]

    process, log = site.start(**run, tpu_vm_max_recoveries=0)
    assert process.wait() == 0, log.read_text()


def test_a_stopped_node_is_started_and_trains_on(site: Site) -> None:
    run = {**fakes.variables(steps=STEPS, period=PERIOD, still=[7]), "run_name": "stopped"}
    process, log = site.start(**run)
    wait_until_told(process, log, f"step 7/{STEPS}")
    connection = "{{ {'project': project, 'zone': zone} | combine(gcp_auth) }}"
    stop = {
        "name": "Stop the node",
        "tpuops.maxtext.tpu_vm": {"name": NODE, "state": "stopped"},
        "module_defaults": {"group/tpuops.maxtext.gcp": connection},
    }
    book = site.home / "stop.json"
    book.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [stop]}]))
    stopped = site.cloud.play(playbook=str(book))
    assert stopped.status == 0, stopped.output
    assert process.wait() == 0, log.read_text()
    # A watch that asks while the machine still goes down hears so, and that is a loss already.
    assert re.search(r"tpu-v5e-8 is STOPP(ING|ED); its last word was step 7\. Recovery 1 of 3", words(log))


def test_a_node_is_stopped_by_its_playbook(site: Site) -> None:
    stop = "playbooks/stop_node.yml"
    predicted = site.cloud.play("--check", playbook=stop)
    assert (predicted.status, predicted.recap["changed"], site.nodes()) == (0, 1, ["READY"])
    stopped = site.cloud.play(playbook=stop)
    assert (stopped.status, stopped.recap["changed"], site.nodes()) == (0, 1, ["STOPPED"]), stopped.output
    again = site.cloud.play(playbook=stop)
    assert (again.status, again.recap["changed"], site.nodes()) == (0, 0, ["STOPPED"]), again.output


def test_a_running_job_is_followed_and_stopped(site: Site) -> None:
    run = {**fakes.variables(steps=STEPS, period=PERIOD, still=[7]), "run_name": "followed"}
    process, log = site.start(**run)
    wait_until_told(process, log, f"step 7/{STEPS}")
    follower, followed = site.begin("playbooks/follow.yml")
    wait_until_told(follower, followed, "Running: sft-followed")
    wait_until_told(follower, followed, f"step 7/{STEPS}")
    # Somebody else's run does not take the node with it.
    more = fakes.variables(steps=STEPS + 1, period=PERIOD)
    other, refused = site.start(**more, run_name="followed", tpu_vm_ephemeral=True)
    assert other.wait() == 2
    assert "The node is kept, although tpu_vm_ephemeral is set, as a job runs on it: sft-followed." in words(
        refused
    )
    # Nor does whoever tidies up.
    leftovers = f"leftovers_delete=us-west1-c/{NODE},tpu-data-disk"
    kept = site.cloud.play("-e", leftovers, playbook="playbooks/leftovers.yml")
    assert kept.status == 2, kept.output
    assert "On tpu-v5e-8 there is a job that runs: sft-followed." in " ".join(kept.output.split())
    assert "playbooks/stop.yml -e tpu_vm_name=tpu-v5e-8 -e job_name=sft-followed" in " ".join(
        kept.output.split()
    )
    stop = site.cloud.play(playbook="playbooks/stop_node.yml")
    assert stop.status == 2, stop.output
    assert "On tpu-v5e-8 there is a job that runs: sft-followed." in " ".join(stop.output.split())
    assert (site.nodes(), site.disks()) == (["READY"], ["tpu-data-disk"])
    stopped = site.cloud.play("-e", "job_name=sft-followed", playbook="playbooks/stop.yml")
    assert stopped.status == 0, stopped.output
    assert stopped.recap["changed"] == 1
    for each, told in ((follower, followed), (process, log)):
        assert each.wait() == 2
        assert "job sft-followed was stopped after" in words(told)
    assert site.nodes() == ["READY"]


@pytest.mark.parametrize("playbook", ["stop_node", "teardown", "leftovers"])
def test_a_node_goes_under_a_running_job_where_that_is_forced(site: Site, playbook: str) -> None:
    run = {**fakes.variables(steps=STEPS, period=PERIOD, still=[17]), "run_name": playbook}
    process, log = site.start(**run)
    wait_until_told(process, log, f"step 17/{STEPS}")
    forced = ("-e", "tpu_vm_force=true", "-e", f"leftovers_delete={NODE}")
    deleted = site.cloud.play(*forced, playbook=f"playbooks/{playbook}.yml")
    assert deleted.status == 0, deleted.output
    assert process.wait() == 2
    told = words(log)
    assert f"job sft-{playbook} was stopped after" in told  # and not lost: nobody makes the node again
    assert "Recovery" not in told
    left = ["STOPPED"] if playbook == "stop_node" else []
    assert (site.nodes(), site.disks()) == (left, ["tpu-data-disk"])


def test_the_node_of_an_ephemeral_run_goes_with_it(site: Site) -> None:
    """Well or badly, also where it fails before there is a worker to play on."""
    run = {**fakes.variables(steps=STEPS, period=PERIOD), "run_name": "brief", "tpu_vm_ephemeral": True}
    process, log = site.start(**run)
    assert process.wait() == 0, log.read_text()
    assert "The node is deleted, as tpu_vm_ephemeral says; its disk is kept." in words(log)
    assert (site.nodes(), site.disks()) == ([], ["tpu-data-disk"])

    badly = {**run, "run_name": "bad", "sft_argv": ["/bin/false"]}
    process, log = site.start(**badly)
    assert process.wait() == 2
    told = words(log)
    assert "job sft-bad failed after" in told
    assert "The node is deleted, as tpu_vm_ephemeral says; its disk is kept." in told
    assert (site.nodes(), site.disks()) == ([], ["tpu-data-disk"])

    # The node is made, and the inventory has no such zone.
    elsewhere = site.home / "elsewhere"
    shutil.copytree(ROOT / "inventories" / "local", elsewhere)
    hosts = elsewhere / "tpu_vm.yml"
    hosts.write_text(re.sub("^zones:.*$", "zones: [us-central1-a]", hosts.read_text(), flags=re.MULTILINE))
    process, log = site.begin("site.yml", "--tags", TAGS, given=run, ANSIBLE_INVENTORY=str(elsewhere))
    assert process.wait() == 2, log.read_text()
    told = words(log)
    assert "The inventory has no worker of the node tpu-v5e-8." in told
    assert "The node is deleted, as tpu_vm_ephemeral says" in told
    assert (site.nodes(), site.disks()) == ([], ["tpu-data-disk"])


# As long as it can be: a busy machine takes its time to look.
MAINTENANCE = "{program} maintenance {node} --seconds 40"
CUT = "{program} machine cut {node}; sleep 20; {program} machine heal {node}"


def silenced(strike: str, address: str) -> list[dict[str, Any]]:
    """Tasks of the controller: strike the machine at an address, and go on once it is silent."""
    command = {"cmd": strike.format(program=f"{sys.executable} -m localcloud", node=NODE), "chdir": str(ROOT)}
    silent = {"host": address, "port": 22, "state": "stopped"}
    return [
        {"name": "Take the machine away", "ansible.builtin.shell": command, "async": 60, "poll": 0},
        {"name": "See it go", "ansible.builtin.wait_for": silent},
    ]


@pytest.mark.parametrize("strike", [CUT, MAINTENANCE], ids=["cut", "maintenance"])
def test_a_new_machine_that_does_not_answer_yet_is_waited_for(site: Site, strike: str) -> None:
    """It falls silent before the inventory was read, so that SSH does not know the host key yet."""
    gone = site.cloud.play(playbook="playbooks/teardown.yml")
    assert gone.status == 0, gone.output
    role = {"name": "tpuops.maxtext.tpu_vm"}
    make = [
        {"name": "Make the node", "ansible.builtin.import_role": role},
        *silenced(strike, "{{ tpu_vm_made.workers[0].address }}"),
        {"name": "Read the inventory", "ansible.builtin.meta": "refresh_inventory"},
    ]
    reach = [
        {"name": "Wait for it", "ansible.builtin.import_role": {**role, "tasks_from": "reached"}},
        {"name": "Use it", "ansible.builtin.ping": {}},
    ]
    plays = [{"hosts": "localhost", "tasks": make}, {"hosts": "tpu_vm", "tasks": reach}]
    book = site.home / "silent.json"
    book.write_text(json.dumps([{**play, "gather_facts": False} for play in plays]))
    played = site.cloud.play(playbook=str(book))
    assert played.status == 0, played.output


def test_a_run_that_ends_under_maintenance_says_that_the_node_comes_back(site: Site) -> None:
    fail = {"name": "Fail", "ansible.builtin.fail": {"msg": "the machine falls silent"}}
    end = {"name": "End", "ansible.builtin.include_tasks": f"{ROOT}/playbooks/tasks/ended.yml"}
    strike = [{**task, "delegate_to": "localhost"} for task in silenced(MAINTENANCE, "{{ ansible_host }}")]
    block = {"name": "Try", "block": [*strike, fail], "rescue": [end]}
    book = site.home / "ended.json"
    book.write_text(json.dumps([{"hosts": "tpu_vm", "gather_facts": False, "tasks": [block]}]))
    played = site.cloud.play(playbook=str(book))
    assert played.status == 2, played.output
    told = " ".join(played.output.split())
    assert "the machine falls silent. The TPU VM tpu-v5e-8 is REPAIRING: Google brings it back" in told


def test_google_is_not_blamed_where_nobody_asked_it(site: Site) -> None:
    """Beside a role that knows the node's state, after a failure that says what it was."""
    reach = {
        "name": "Reach",
        "ansible.builtin.import_role": {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "reached"},
    }
    refused = {
        "name": "Be refused",
        "tpuops.maxtext.tpu_vm_info": {
            "project": site.cloud.settings["project"],
            "zones": [site.cloud.settings["zone"]],
            "auth_kind": "accesstoken",
            "access_token": "expired",
        },
        "delegate_to": "localhost",
    }
    end = {"name": "End", "ansible.builtin.include_tasks": f"{ROOT}/playbooks/tasks/ended.yml"}
    block = {"name": "Try", "block": [refused], "rescue": [end]}
    book = site.home / "refused.json"
    book.write_text(json.dumps([{"hosts": "tpu_vm", "gather_facts": False, "tasks": [reach, block]}]))
    played = site.cloud.play(playbook=str(book))
    assert played.status == 2, played.output
    assert "TASK [Say how the run ended]" in played.output
    assert "Google did not say" not in played.output


def test_a_run_whose_module_was_killed_says_that_jobs_go_on(site: Site) -> None:
    """As a machine does when it shuts down; the module is the parent of its shell."""
    wait = {"name": "Wait until it is back", "ansible.builtin.wait_for_connection": {"timeout": 300}}
    killed = {"name": "Be killed", "ansible.builtin.shell": "kill -KILL $PPID"}
    end = {"name": "End", "ansible.builtin.include_tasks": f"{ROOT}/playbooks/tasks/ended.yml"}
    book = site.home / "killed.json"
    block = {"name": "Try", "block": [killed], "rescue": [end]}
    book.write_text(json.dumps([{"hosts": "tpu_vm", "gather_facts": False, "tasks": [wait, block]}]))
    played = site.cloud.play(playbook=str(book))
    assert played.status == 2, played.output
    told = " ".join(played.output.split())
    assert "The machine did not answer in time. Jobs on it go on: run the same command again." in told


def test_two_controllers_at_once_from_nothing(site: Site) -> None:
    """Two laptops, each with its own SSH key and host keys: both end well, and nothing runs twice."""
    gone = site.cloud.play("-e", "tpu_vm_delete_disk=tpu-data-disk", playbook="playbooks/teardown.yml")
    assert gone.status == 0, gone.output
    assert (site.nodes(), site.disks()) == ([], [])
    run = fakes.variables(steps=STEPS, period=PERIOD, convert_seconds=5)
    laptop = site.home / "laptop"
    laptop.mkdir()
    begun = [site.start(**run), site.start(laptop, **run, tpu_vm_ssh_key_file=f"{laptop}/key")]
    for process, log in begun:
        assert process.wait() == 0, log.read_text()
    assert sorted(site.finished()) == ["convert", "install", "train"]
    assert (site.nodes(), site.disks()) == (["READY"], ["tpu-data-disk"])


def test_a_node_whose_jobs_cannot_be_read_is_deleted_only_by_force(site: Site) -> None:
    broken = f"{RECORDS}/broken.json"
    site.cloud.ssh(f"sudo touch {broken}")
    refused = site.cloud.play(playbook="playbooks/teardown.yml")
    assert refused.status == 2, refused.output
    assert f"{broken}: is not the record of a job" in refused.output
    process, log = site.begin("site.yml", "--tags", "preflight", given={"tpu_vm_ephemeral": True})
    assert process.wait() == 0, log.read_text()
    told = words(log)
    assert "The node is kept, although tpu_vm_ephemeral is set, as its jobs could not be read: " in told
    assert "teardown.yml -e tpu_vm_force=true stops what runs and deletes the node." in told
    forced = site.cloud.play("--check", "-e", "tpu_vm_force=true", playbook="playbooks/teardown.yml")
    assert (forced.status, forced.recap["changed"]) == (0, 1), forced.output
    assert site.nodes() == ["READY"]
    site.cloud.ssh(f"sudo rm {broken}")


def test_a_machine_that_does_not_answer_is_torn_down(site: Site) -> None:
    cut = site.cloud.command([sys.executable, "-m", "localcloud", "machine", "cut", NODE])
    assert cut.returncode == 0, cut.stderr
    leftovers = ("--check", "-e", f"leftovers_delete={NODE}")
    named = site.cloud.play(*leftovers, playbook="playbooks/leftovers.yml", ANSIBLE_SSH_ARGS=SSH)
    assert (named.status, named.recap["changed"]) == (0, 1), named.output
    deleted = site.cloud.play(playbook="playbooks/teardown.yml", ANSIBLE_SSH_ARGS=SSH)
    assert deleted.status == 0, deleted.output
    assert (site.nodes(), site.disks()) == ([], ["tpu-data-disk"])
