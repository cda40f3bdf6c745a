# SPDX-License-Identifier: GPL-3.0-or-later
"""A chat and a tunnel through real SSH to a machine with a small server in place of vLLM. Needs root.

The playbooks are called as a user of Galaxy does: by their full names, in an empty directory, without any
settings of this checkout. Every command that is printed is run as it is printed.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcloud.machines import MachineSpec
from tests.openai_server import KEY, installation

from .support import USER, CloudFactory

pytestmark = pytest.mark.machines

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CHAT = "ansible-playbook -i hosts.json tpuops.maxtext.chat"


@dataclass
class Screen:
    """A terminal on which a command runs."""

    process: subprocess.Popen[bytes]
    descriptor: int
    text: str = ""
    seen: str = ""

    def types(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def sees(self, text: str) -> str:
        """Wait until the text is on the screen; what came before it."""
        while text not in self.seen:
            try:
                piece = os.read(self.descriptor, 4096).decode("utf-8", "replace")
            except OSError:  # the command has ended
                piece = ""
            assert piece, self.text
            self.text += piece
            self.seen += piece
        before, _, self.seen = self.seen.partition(text)
        return before

    def ends(self, status: int = 0) -> None:
        self.sees("PLAY RECAP")
        assert self.process.wait() == status, self.text
        assert KEY not in self.text


@dataclass
class Controller:
    """An empty directory with an inventory, as the inventory plugin gives it, of a machine."""

    home: Path

    def run(self, command: str, status: int = 0) -> str:
        """What a shell does with a command that was printed."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        assert KEY not in done.stdout + done.stderr
        return done.stdout

    def start(self, command: str, opened: list[Screen]) -> Screen:
        """The same on a terminal."""
        controller, device = pty.openpty()
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.home,
            env={**self.environment, "TERM": "xterm"},
            stdin=device,
            stdout=device,
            stderr=device,
            start_new_session=True,
        )
        os.close(device)
        opened.append(Screen(process, controller))
        return opened[-1]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
        }


@pytest.fixture(scope="module")
def controller(new_cloud: CloudFactory, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A machine that serves a model, and who may reach it."""
    cloud = new_cloud()
    machine = cloud.boot(MachineSpec("vm", "vm"))
    cloud.ssh(machine, installation("me/qwen3-4b-sft"))
    cloud.ssh(machine, "sudo -n mkdir -p /mnt/disks/checkpoints")
    home = tmp_path_factory.mktemp("home")
    known = home / "known_hosts"
    known.write_text("".join(f"{machine.address} {kind} {key}\n" for kind, key in machine.host_keys.items()))
    worker = {
        "ansible_host": machine.address,
        "ansible_user": USER,
        "ansible_ssh_private_key_file": "{{ key_file }}",  # a template, as in the inventories
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes",
        "tpu_node": "vm",
        "tpu_project": "p",
        "tpu_zone": "us-west1-c",
        "tpu_state": "READY",
        "tpu_labels": {"created-by": "tpuops-maxtext", "owner": "me"},
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    settings = {
        "project": "p",
        "tpu_vm_name": "vm",
        "tpu_vm_owner": "me",
        "tpu_vm_disk_name": "",
        "hf_username": "me",
        "key_file": str(cloud.key),
        # What a source of the inventory plugin says of itself.
        "_tpu_vm_sources": [{"file": "hosts.json", "project": "p", "zones": [], "nodes": []}],
    }
    children = {"node_vm": {"hosts": {"vm": worker}}, "workers": {}}
    everything = {"vars": settings, "hosts": {"localhost": here}, "children": children}
    (home / "hosts.json").write_text(json.dumps({"all": everything}))
    return Controller(home)


@pytest.fixture
def screen() -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for each in opened:
        os.close(each.descriptor)
        each.process.kill()
        each.process.wait()


def test_one_question(controller: Controller) -> None:
    told = controller.run(f"{CHAT} -e prompt='What is a TPU? {{{{ x }}}}'")
    assert "1 messages, the last: What is a TPU? {{ x }}" in told
    told = controller.run(CHAT, status=2)
    assert "prompt: is not set, and there is no terminal to chat on." in " ".join(told.split())


def test_a_chat_on_the_terminal(controller: Controller, screen: list[Screen]) -> None:
    chat = controller.start(CHAT, screen)
    chat.sees("Ctrl-D ends the chat.\r\n> ")
    chat.types("こんにちは\r")
    chat.sees("1 messages, the last: こんにちは\r\n> ")
    chat.types("endless\r")
    chat.sees("3 messages, the last: endless...")
    chat.types("\x03")
    chat.sees("(stopped)\r\n> ")
    chat.types("more\r")
    chat.sees("5 messages, the last: more\r\n> ")
    chat.types("\x04")
    chat.ends()
    assert chat.text.count("messages, the last:") == 3


def test_what_a_client_needs(controller: Controller, screen: list[Screen]) -> None:
    connect = controller.start(CHAT.replace("chat", "connect") + " -e local_port=18765", screen)
    told = connect.sees("The tunnel is open. Ctrl-C closes it.").replace("\r\n", "\n")
    assert "Base URL: http://127.0.0.1:18765/v1" in told
    printed = told.partition("Ask with curl:\n")[2].partition("\n")[0]
    assert "1 messages, the last: Hello" in controller.run(printed)
    client = told.partition("(pip install openai):\n")[2].rstrip("\n")
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", client], env=python, cwd=controller.home, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1 messages, the last: Hello\n", done.stderr
    key_file = re.search(r"in the file (\S+),", told)
    assert key_file
    assert Path(key_file[1]).exists()
    connect.types("\x03")
    connect.ends()
    assert not Path(key_file[1]).parent.exists()
    controller.run(printed, status=7)  # curl: the connection is refused


def test_what_is_read_of_the_runs_of_a_node(controller: Controller) -> None:
    """By the modules alone: a job as training is one, one that runs, and the server."""
    steps = "for i in 1 2; do echo completed step: $i, seconds: 0.1, x, loss: 4.$i; done"
    jobs = [
        {"name": "sft-r", "argv": ["/bin/sh", "-c", steps], "progress": {"format": "maxtext", "total": 2}},
        {"name": "sleeps", "argv": ["/bin/sleep", "infinity"], "state": "started"},
    ]
    read = {"name": "Read", "tpuops.maxtext.run_info": {}, "register": "read"}
    user = {"name": "tpuops", "number": 60801, "home": "/var/lib/tpuops"}
    users = {"name": "Create the user of the jobs", "tpuops.maxtext.system_users": {"users": [user]}}
    tasks = [users, *({"name": "Run", "tpuops.maxtext.job": job} for job in jobs)]
    show: dict[str, object] = {
        "name": "Show",
        "ansible.builtin.copy": {"content": "{{ read | to_json }}", "dest": "read.json"},
    }
    show |= {"delegate_to": "localhost", "become": False}
    play = {"hosts": "vm", "gather_facts": False, "become": True, "tasks": [*tasks, read, show]}
    (controller.home / "read.yml").write_text(json.dumps([play]))
    controller.run("ansible-playbook -i hosts.json read.yml")
    found = json.loads((controller.home / "read.json").read_text())
    (run,) = found["runs"]
    assert (run["name"], run["training"]["status"], run["training"]["steps"]) == ("r", "finished", 2)
    assert (run["training"]["first"]["loss"], run["training"]["last"]["loss"]) == (4.1, 4.2)
    assert [job["name"] for job in found["running"]] == ["sleeps"]
    assert found["server"] == {
        "model": "me/qwen3-4b-sft",
        "port": 8000,
        "run": "qwen3-4b-sft",
        "kind": "hub",
        "key_file": "/etc/tpuops/vllm-api-key",
        "healthy": True,
    }
