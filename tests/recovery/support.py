# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on a local cloud with real machines, fake programs and nodes that are preempted or lost."""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from click.testing import CliRunner

from localcloud import lifecycle
from localcloud.cli import main
from localcloud.config import CloudConfig
from tests import advice
from tests.e2e.support import ROOT, Cloud, PlayResult

from . import fakes

NODE, DISK = "tpu-v5e-8", "tpu-data-disk"
# The stages of a node with its data disk mounted, and what training needs on the disk.
MOUNTED = "tpu_vm,data_disk,maxtext_env,convert"
ALL = "preflight,tpu_vm,data_disk,maxtext_env,convert,sft"  # the stages that have fake programs
SKIP_PREFLIGHT = ("--skip-tags", "preflight")
STEPS, PERIOD = 40, 5  # of the fake training
# A dead connection is noticed within seconds.
SSH = (
    "-o ControlMaster=auto -o ControlPersist=60s "
    "-o ServerAliveInterval=1 -o ServerAliveCountMax=3 -o ConnectTimeout=3"
)


@dataclass
class Running:
    """A playbook that runs beside the test, and what it has printed."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text()

    @property
    def words(self) -> str:
        """What it printed, however its lines are wrapped."""
        return words(self.text)

    def wait_until_told(self, pattern: str) -> None:
        while not re.search(pattern, self.text, re.MULTILINE):
            assert self.process.poll() is None, self.text
            time.sleep(0.1)

    def wait(self) -> int:
        return self.process.wait()

    def succeed(self) -> None:
        assert self.wait() == 0, self.text

    def fail(self) -> None:
        assert self.wait() == 2, self.text


def words(text: str) -> str:
    return " ".join(text.split())


@dataclass
class Site:
    cloud: Cloud
    home: Path

    # ---- playbooks

    def begin(
        self, playbook: str, *arguments: str, given: dict[str, Any] | None = None, **environment: str
    ) -> Running:
        """A playbook that goes on beside the test. given: extra variables."""
        extra = self.home / f"{len(list(self.home.glob('*.log')))}.json"
        extra.write_text(json.dumps(given or {}))
        return self.run(["ansible-playbook", playbook, *arguments, "-e", f"@{extra}"], **environment)

    def begin_as_printed(self, command: str) -> Running:
        """A command that was printed, as it is, which goes on beside the test."""
        return self.run(["bash", "-c", f"exec {command}"])

    def run(self, command: list[str], **environment: str) -> Running:
        log = self.home / f"{len(list(self.home.glob('*.log')))}.log"
        with log.open(
            "a"
        ) as out:  # as a terminal takes it: where the last one ended, whichever process writes
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**self.cloud.environment, "ANSIBLE_SSH_ARGS": SSH, **environment},
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        return Running(process, log)

    def start(self, tags: str, *, checked: bool = False, **values: Any) -> Running:
        """Stages of site.yml. checked: as users run them, after preflight, which costs seconds of a core."""
        unchecked = () if checked or "preflight" in tags else SKIP_PREFLIGHT
        return self.begin("site.yml", "--tags", tags, *unchecked, given=values)

    def train(
        self, *still: int, steps: int = STEPS, tags: str = "sft", checked: bool = False, **values: Any
    ) -> Running:
        """A fake training that stands still at some steps, the first time that it comes there."""
        run = fakes.variables(steps=steps, period=PERIOD, still=still)
        return self.start(tags, checked=checked, **{**run, **values})

    def book(self, *tasks: dict[str, Any], hosts: str = "tpu_vm", rescue: str = "") -> str:
        """A playbook of these tasks. rescue: what follows a failure: recover, as in training, or ended."""
        rescues: dict[str, dict[str, Any]] = {
            "recover": {"ansible.builtin.include_role": recover_role()},
            "ended": {"ansible.builtin.include_tasks": f"{ROOT}/playbooks/tasks/ended.yml"},
        }
        block: dict[str, Any] = {"name": "Try", "block": [{"name": "Do", **task} for task in tasks]}
        if rescue:
            block["rescue"] = [{"name": "Rescue"} | rescues[rescue]]
        path = self.home / f"book-{len(list(self.home.glob('book-*')))}.json"
        path.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": [block]}]))
        return str(path)

    def play(self, playbook: str, *arguments: str, status: int = 0, **environment: str) -> PlayResult:
        played = self.cloud.play(*arguments, playbook=playbook, **environment)
        assert played.status == status, played.output
        return played

    def follow(self, command: str, status: int = 0) -> str:
        """Run a command that was printed, as it is; what it prints."""
        environment = {**self.cloud.environment, "ANSIBLE_SSH_ARGS": SSH}
        return advice.follow(command, environment, status=status)

    # ---- what a test starts from

    def ready(self, tags: str = MOUNTED) -> None:
        """There is a node with the data disk mounted; with more tags, also what those stages leave."""
        if not self.mounted() or tags != MOUNTED:
            self.start(tags, **fakes.variables(steps=STEPS, period=PERIOD)).succeed()
        assert self.nodes() == ["READY"]

    def mounted(self) -> bool:
        """Whether there is a node that has the data disk mounted."""
        check = f"mountpoint --quiet {fakes.DISK} && echo mounted || true"
        return self.nodes() == ["READY"] and self.cloud.ssh(check) == "mounted\n"

    def absent(self) -> None:
        """There is no node."""
        if self.nodes():
            self.play("playbooks/teardown.yml", "-e", "tpu_vm_force=true")
        assert self.nodes() == []

    # ---- the cloud

    def localcloud(self, *arguments: str) -> None:
        """A command of the local cloud, in this process: another one costs most of a second to start."""
        done = CliRunner().invoke(main, arguments, env=self.cloud.environment)
        assert done.exit_code == 0, done.output

    def preempt(self) -> None:
        self.localcloud("preempt", NODE)

    def google(self, method: str, verb: str = "") -> dict[str, Any]:
        """A call of the TPU API about the node."""
        settings = self.cloud.settings
        place = f"projects/{settings['project']}/locations/{settings['zone']}/nodes/{NODE}{verb}"
        token = Path(settings["access_token_file"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{settings['endpoints']['tpu']}/v2/{place}"
        response = requests.request(method, url, headers=headers, timeout=60)
        assert response.ok, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def made(self) -> datetime:
        """When the node was made."""
        return datetime.fromisoformat(self.google("GET")["createTime"])

    def hours(self, seconds: float) -> str:
        """The tpu_vm_max_hours that leaves the node so many seconds from now."""
        return f"{((datetime.now(UTC) - self.made()).total_seconds() + seconds) / 3600:.5f}"

    def status(self) -> dict[str, Any]:
        return lifecycle.status(CloudConfig(Path(self.cloud.settings["state_dir"])))

    def nodes(self) -> list[str]:
        return [node["state"] for node in self.status()["nodes"]]

    def disks(self) -> list[str]:
        return [disk["name"].rpartition("/")[2] for disk in self.status()["disks"]]

    def wait_until_no_node(self) -> None:
        while self.nodes():
            time.sleep(0.1)

    # ---- the node

    def finished(self) -> list[str]:
        """The programs that came to their end, in turn."""
        return self.cloud.ssh(f"cat {fakes.FINISHED} 2>/dev/null || true").split()


def recover_role() -> dict[str, str]:
    return {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "recover"}
