# SPDX-License-Identifier: GPL-3.0-or-later
"""Chat, tunnel and status on a real node with a small server in place of vLLM. Needs root.

Every command that is printed is run as it is printed. The playbooks are called as a user of Galaxy does: by
their full names, in an empty directory, without any settings of this checkout.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.support import ROOT

from . import fakes
from .support import DISK, KEY_FILE, NODE, PERIOD, SERVER_KEY, STEPS, Site

pytestmark = pytest.mark.machines

INVENTORY = str(ROOT / "inventories" / "local")
CHAT = f"ansible-playbook -i {INVENTORY} tpuops.maxtext.chat"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def served(site: Site) -> Site:
    """A node that has trained, and a model that it serves."""
    site.ready()
    site.train().succeed()
    site.serve(f"{site.cloud.settings['hf_username']}/qwen3-4b-sft")
    return site


def environment(site: Site) -> dict[str, str]:
    """That of a user who installed the collection."""
    kept = {name: value for name, value in site.cloud.environment.items() if name != "ANSIBLE_CONFIG"}
    return {**kept, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")}


def run(site: Site, command: str, where: Path, status: int = 0) -> str:
    """What a shell does with a command that was printed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=where,
        env=environment(site),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, (command, done.stdout + done.stderr)
    assert SERVER_KEY not in done.stdout + done.stderr or command.endswith(KEY_FILE)
    return done.stdout


@dataclass
class Screen:
    """A terminal on which a command runs."""

    process: subprocess.Popen[bytes]
    descriptor: int
    text: str = ""
    seen: str = field(default="")

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
        assert SERVER_KEY not in self.text


@pytest.fixture
def screen(served: Site, empty: Path) -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for each in opened:
        os.close(each.descriptor)
        each.process.kill()
        each.process.wait()


def start(site: Site, command: str, where: Path, opened: list[Screen]) -> Screen:
    controller, device = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=where,
        env={**environment(site), "TERM": "xterm"},
        stdin=device,
        stdout=device,
        stderr=device,
        start_new_session=True,
    )
    os.close(device)
    opened.append(Screen(process, controller))
    return opened[-1]


def printed(text: str, name: str) -> str:
    """The command behind a name in what was printed."""
    found = re.search(rf"^ *{re.escape(name)}: +(.*)$", text, re.MULTILINE)
    assert found, text
    return found[1]


def test_one_question(served: Site, empty: Path) -> None:
    told = run(served, f"{CHAT} -e prompt=Hello", empty)
    assert "1 messages, the last: Hello" in told
    told = run(served, CHAT, empty, status=2)
    assert "prompt: is not set, and ansible-playbook has no terminal to chat on." in " ".join(told.split())


def test_a_chat_on_the_terminal(served: Site, empty: Path, screen: list[Screen]) -> None:
    chat = start(served, CHAT, empty, screen)
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


def test_what_a_client_needs(served: Site, empty: Path, screen: list[Screen]) -> None:
    connect = start(served, CHAT.replace("chat", "connect") + " -e local_port=18765", empty, screen)
    told = connect.sees("The tunnel is open. Ctrl-C closes it.").replace("\r\n", "\n")
    assert "Base URL: http://127.0.0.1:18765/v1" in told
    curl = told.partition("Ask with curl:\n")[2].partition("\n")[0]
    assert "1 messages, the last: Hello" in run(served, curl, empty)
    client = told.partition("(pip install openai):\n")[2].rstrip("\n")
    python = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", client], env=python, cwd=empty, capture_output=True, text=True, check=False
    )
    assert done.stdout == "1 messages, the last: Hello\n", done.stderr
    key_file = re.search(r"in the file (\S+),", told)
    assert key_file
    assert Path(key_file[1]).exists()
    connect.types("\x03")
    connect.ends()
    assert not Path(key_file[1]).parent.exists()
    run(served, curl, empty, status=7)  # curl: the connection is refused


def test_the_status_and_the_commands_that_it_prints(served: Site, empty: Path) -> None:
    told = run(served, CHAT.replace("chat", "status"), empty)
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

    assert run(served, printed(told, "Key"), empty) == f"{SERVER_KEY}\n"
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
    stopped = run(served, CHAT.replace("chat", "status"), empty)
    assert "  Cost:     nothing now, as it is STOPPED; its disks cost money" in stopped
    run(served, printed(stopped, f"delete {NODE}, keep its data disk"), empty)
    assert (served.nodes(), served.disks()) == ([], [DISK])
    run(served, printed(told, f"delete the disk {DISK} and the checkpoints on it, after its node"), empty)
    assert served.disks() == []
    assert "There is nothing of yours" in run(served, CHAT.replace("chat", "status"), empty)


def test_a_run_begins_and_ends_with_what_it_costs(site: Site) -> None:
    """Badly too: then the node still costs money."""
    variables = fakes.variables(steps=STEPS, period=PERIOD)
    failed = site.start("tpu_vm,data_disk,maxtext_env,convert,sft", **variables, sft_argv=["/bin/false"])
    failed.fail()
    user = site.cloud.settings["hf_username"]
    begin, _, end = failed.text.partition("TASK [tpuops.maxtext.sft")
    for line in ("Project:   ", "Account:   ", f"Node:      {NODE}, ", "Price:     9.6", "Publishes: "):
        assert line in begin
    assert f"/{user}/qwen3-4b-sft" in begin
    assert f"delete {NODE}, keep its data disk: ansible-playbook playbooks/teardown.yml" in end
    assert failed.text.count("without taxes and discounts") == 1
