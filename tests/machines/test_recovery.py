# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that are taken away under the playbooks, with real machines and fake programs. Needs root.

The tests build on each other, in this order.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e import fakes
from tests.e2e.support import ROOT, Cloud, local_cloud

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

    def start(self, **values: Any) -> tuple[subprocess.Popen[bytes], Path]:
        """site.yml up to training, with fake programs; its process and what it prints."""
        number = len(list(self.home.glob("*.log")))
        log, given = self.home / f"{number}.log", self.home / f"{number}.json"
        given.write_text(json.dumps(values))
        with log.open("w") as out:
            process = subprocess.Popen(
                ["ansible-playbook", "site.yml", "--tags", TAGS, "-e", f"@{given}"],
                cwd=ROOT,
                env={**self.cloud.environment, "ANSIBLE_SSH_ARGS": SSH},
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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("recovery")
    with local_cloud(base) as cloud:
        yield Site(cloud, base)


def wait_until_told(process: subprocess.Popen[bytes], log: Path, pattern: str) -> None:
    for _ in range(1200):
        if re.search(pattern, log.read_text(), re.MULTILINE):
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    raise AssertionError(f"{pattern} was never told:\n{log.read_text()}")


def test_another_stage_says_what_to_do(site: Site) -> None:
    values = fakes.variables(steps=STEPS, period=PERIOD, convert_seconds=600)
    process, log = site.start(**values)
    wait_until_told(process, log, r"TASK \[tpuops.maxtext.convert : Download")
    time.sleep(2)  # until the job runs
    site.preempt()
    assert process.wait() == 2
    told = " ".join(log.read_text().split())
    assert "the TPU VM tpu-v5e-8 is PREEMPTED. Run the same command again" in told
    assert site.nodes() == ["PREEMPTED"]


def test_a_run_ends_by_itself_when_its_node_is_preempted(site: Site) -> None:
    process, log = site.start(**fakes.variables(steps=STEPS, period=PERIOD, still=LOST_AT))
    wait_until_told(process, log, f"step {LOST_AT}/{STEPS}")
    before = records(site)
    refused = site.cloud.play(playbook="playbooks/teardown.yml")
    assert refused.status == 2
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
    told = " ".join(log.read_text().split())
    assert f"tpu-v5e-8 is PREEMPTED; its last word was step {LOST_AT}. Recovery 1 of 3" in told
    assert "tpu-v5e-8 is there again: us-west1-c, v5litepod-8, on-demand" in told
    assert f"qwen3-4b-sft goes on from step {resumed_at}; {LOST_AT - resumed_at} steps were lost" in told


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
    recover = {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "recover"}
    rescue = {"name": "Recover", "ansible.builtin.include_role": recover}
    block = {"name": "Try", "block": [delete, fail], "rescue": [rescue]}
    book = site.home / "recover.json"
    book.write_text(json.dumps([{"hosts": "tpu_vm", "gather_facts": False, "tasks": [block]}]))
    played = site.cloud.play(playbook=str(book))
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


def records(site: Site) -> list[Any]:
    """Those of the jobs that must not run again."""
    paths = [f"{fakes.DISK}/.tpuops/jobs/{name}.json" for name in ("env-train", "convert-qwen3-4b")]
    return [json.loads(site.cloud.ssh(f"sudo -n cat {path}")) for path in paths]


def test_a_node_whose_time_is_up_deletes_itself(site: Site) -> None:
    """Long after the controller has gone; running again does not move the moment."""
    age = datetime.now(UTC) - site.made()
    hours = (age + timedelta(seconds=60)).total_seconds() / 3600
    limited = ("--tags", "tpu_vm", "-e", f"tpu_vm_max_hours={hours:.5f}")
    for changed in (True, False):
        played = site.cloud.play(*limited)
        assert played.status == 0, played.output
        assert (played.recap["changed"] > 0) == changed
    told = site.cloud.ssh("systemd-analyze security --no-pager tpuops-guard.service")
    exposure = re.search(r"Overall exposure level for tpuops-guard.service: ([\d.]+)", told)
    documented = re.search(r"^\| the timer's service .* \| ([\d.]+) \|$", SECURITY.read_text(), re.MULTILINE)
    assert exposure and documented
    assert float(exposure[1]) <= float(documented[1])
    for _ in range(1200):
        if not site.nodes():
            break
        time.sleep(0.1)
    assert site.nodes() == []
    assert [disk["name"].rpartition("/")[2] for disk in site.status()["disks"]] == ["tpu-data-disk"]
