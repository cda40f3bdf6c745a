# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run and playbooks/status.yml print of a real node, with a small server in place of vLLM. Needs root.

The commands are run as they are printed, but those that need a terminal. The playbooks are called as a user
of Galaxy does: by their full names, in an empty directory, without any settings of this checkout.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.support import ROOT
from tests.openai_server import KEY, KEY_FILE, installation

from . import fakes
from .support import DISK, NODE, PERIOD, STEPS, Site

pytestmark = pytest.mark.machines

STATUS = f"ansible-playbook -i {ROOT}/inventories/local tpuops.maxtext.status"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def served(site: Site) -> Site:
    """A node that has trained, and a model that it serves."""
    site.ready()
    site.train(run_name="reported").succeed()  # one that no other test has begun
    site.cloud.ssh(installation(f"{site.cloud.settings['hf_username']}/qwen3-4b-sft"))
    return site


def run(site: Site, command: str, where: Path) -> str:
    """What a shell does with a command that was printed, for a user who installed the collection."""
    kept = {name: value for name, value in site.cloud.environment.items() if name != "ANSIBLE_CONFIG"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=where,
        env={**kept, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert KEY not in done.stdout + done.stderr or command.endswith(KEY_FILE)
    return done.stdout


def printed(text: str, name: str) -> str:
    """The command behind a name in what was printed."""
    found = re.search(rf"^ *{re.escape(name)}: +(.*)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def test_the_status_and_the_commands_that_it_prints(served: Site, empty: Path) -> None:
    told = run(served, STATUS, empty)
    project, user = served.cloud.settings["project"], served.cloud.settings["hf_username"]
    for expected in (
        rf"Project {project}, account \S+@\S+",
        rf"Node {NODE} in us-west1-c: READY, v5litepod-8, created .* ago",
        r"  Cost:     9\.60 USD an hour, at most \d+\.\d\d USD so far",
        r"  Job:      none runs",
        r"    Training: finished in \d+ s, step 40 of 40, loss 8 \(step 1\) -> 0\.2",
        rf"  Served:   {user}/qwen3-4b-sft, of run qwen3-4b-sft, on port 8000 of the node alone",
        rf"Disk {DISK} in us-west1-c: 0\.\d+ USD an hour, about .* so far",
    ):
        assert re.search(f"^{expected}$", told, re.MULTILINE), (expected, told)
    assert told.count("tpu_vm_prices") == 1

    assert run(served, printed(told, "Key"), empty) == f"{KEY}\n"
    assert "1 messages, the last: Hello" in run(served, printed(told, "Ask"), empty)
    tunnel = subprocess.Popen(["bash", "-c", f"exec {printed(told, 'Tunnel')}"])
    try:
        wait = "until curl -s -o /dev/null http://127.0.0.1:8000/health; do sleep 0.1; done; "
        assert "1 messages, the last: Hello" in run(served, wait + printed(told, "curl"), empty)
    finally:
        tunnel.terminate()
        tunnel.wait()

    run(served, printed(told, f"stop {NODE}, keep it"), empty)
    assert served.nodes() == ["STOPPED"]
    stopped = run(served, STATUS, empty)
    assert "  Cost:     nothing now, as it is STOPPED; its disks cost money" in stopped
    run(served, printed(stopped, f"delete {NODE}, keep its data disk"), empty)
    assert (served.nodes(), served.disks()) == ([], [DISK])
    run(served, printed(told, f"delete the disk {DISK} and the checkpoints on it, after its node"), empty)
    assert served.disks() == []
    assert "There is nothing of yours" in run(served, STATUS, empty)


def test_a_run_begins_and_ends_with_what_it_costs(site: Site) -> None:
    """Badly too: then the node still costs money."""
    variables = {**fakes.variables(steps=STEPS, period=PERIOD), "_sft_argv": ["/bin/false"]}
    failed = site.start("tpu_vm,data_disk,maxtext_env,convert,sft", **variables)
    failed.fail()
    user = site.cloud.settings["hf_username"]
    teardown = "ansible-playbook -i inventories/local playbooks/teardown.yml"
    begin, _, end = failed.text.partition("TASK [tpuops.maxtext.sft")
    for line in ("Project:   ", "Account:   ", f"Node:      {NODE}, ", "Price:     9.6", "Publishes: "):
        assert line in begin
    assert f"/{user}/qwen3-4b-sft" in begin
    assert f"delete {NODE}, keep its data disk: {teardown}" in end
    assert failed.text.count("without taxes and discounts") == 1
