# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud of the tests' own, and ansible-playbook on it."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from localcloud.config import CloudConfig
from localcloud.exchanges import ExchangeFile
from localcloud.state import Store
from tests.exchanges import judge
from tests.machines.support import traces

from . import leftovers

SO_RCVBUFFORCE, NLMSG_DONE = 33, 3  # of Linux; Python has no names for them
ROOT = Path(__file__).resolve().parent.parent.parent
MOUNT = "/mnt/disks/checkpoints"  # the data disk of the TPU VM
RECORDS = f"{MOUNT}/.tpuops/jobs"


@dataclass(frozen=True)
class PlayResult:
    """One ansible-playbook run: what it printed, and the sums over its hosts in the recap."""

    status: int
    output: str

    @property
    def recap(self) -> dict[str, int]:
        recap = self.output.rpartition("PLAY RECAP")[2]
        sums: dict[str, int] = {}
        for key, value in re.findall(r"(\w+)=(\d+)", recap):
            sums[key] = sums.get(key, 0) + int(value)
        return sums

    @property
    def tasks(self) -> list[str]:
        """Those that ran, for some host at least."""
        told = re.split(r"^(?=TASK \[|PLAY )", self.output, flags=re.MULTILINE)
        skipped = re.compile(r"TASK .*\n(?:skipping: .*\n|\s*\n)+")
        return [
            part.splitlines()[0] for part in told if part.startswith("TASK ") and not skipped.fullmatch(part)
        ]


class CommandLines:
    """Every command line that a process of this machine starts with, those of its guests included.

    The kernel reports each exec (the process connector, linux/cn_proc.h). A process that ends before its
    command line is read is missed. error: why the watch ended before its time.
    """

    NETLINK_CONNECTOR, PROCESSES, LISTEN, EXEC = 11, 1, 1, 2
    HEADERS = struct.Struct("=IHHII IIIIHH")  # nlmsghdr and cn_msg
    EVENT = struct.Struct("=II8xI")  # of proc_event: what, cpu, timestamp, and the process of an exec

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self.error: OSError | None = None
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self.NETLINK_CONNECTOR)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self.socket.bind((0, self.PROCESSES))
        order = struct.pack("=I", self.LISTEN)
        size = self.HEADERS.size + len(order)
        channel = (self.PROCESSES, 1, 0, 0, len(order), 0)
        self.socket.send(self.HEADERS.pack(size, NLMSG_DONE, 0, 0, os.getpid(), *channel) + order)
        self.socket.settimeout(0.2)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.stopped.is_set():
            try:
                message = self.socket.recv(4096)
            except TimeoutError:
                continue
            except OSError as error:  # such as ENOBUFS: reports were lost
                self.error = error
                return
            what, _cpu, pid = self.EVENT.unpack_from(message, self.HEADERS.size)
            if what == self.EXEC:
                with suppress(OSError):  # it is over already
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_text(errors="replace"))

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join()
        self.socket.close()


@dataclass(frozen=True)
class Cloud:
    """The local cloud and the environment in which commands find it."""

    settings: dict[str, Any]
    environment: dict[str, str]
    told: list[str] = field(default_factory=list)  # what every playbook printed
    inventories: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the nodes that there were

    @property
    def hf_token(self) -> str:
        return Path(self.settings["hf_token_file"]).read_text().strip()

    def play(self, *arguments: str, playbook: str = "site.yml", **environment: str) -> PlayResult:
        done = self.command(["ansible-playbook", playbook, *arguments], **environment)
        self.told.append(done.stdout + done.stderr)
        return PlayResult(done.returncode, self.told[-1])

    def command(
        self, argv: Sequence[str], stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=ROOT,
            env={**self.environment, **environment},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    def ssh(self, command: str, stdin: str = "") -> str:
        """Output of a shell command on the TPU VM, as the user of the run."""
        inventory = self.inventory()
        key = Path(self.settings["state_dir"]) / "ssh" / "id_ed25519"
        done = self.command(
            [
                "ssh",
                *("-i", str(key), *shlex.split(inventory["ansible_ssh_common_args"])),
                f"{inventory['ansible_user']}@{inventory['ansible_host']}",
                command,
            ],
            stdin,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inventory(self) -> dict[str, Any]:
        """The variables of the TPU VM in the inventory. Reading them takes a second: once for each node."""
        store = Store(Path(self.settings["state_dir"]) / "state.db")
        nodes = json.dumps([(name, node["state"], node.get("id")) for name, node in store.items("node")])
        store.close()
        if nodes not in self.inventories:
            listed = self.command(["ansible-inventory", "--host", "tpu-v5e-8"])
            self.inventories[nodes] = json.loads(listed.stdout)
        return self.inventories[nodes]

    def records(self) -> dict[str, dict[str, Any]]:
        """The records of all jobs of the data disk, by name."""
        text = self.ssh(f"sudo -n sh -c 'cat {RECORDS}/*.json | tr -d \"\\n\"'")
        decoder, found = json.JSONDecoder(), {}
        while text := text.lstrip():
            record, end = decoder.raw_decode(text)
            found[record["name"]] = record
            text = text[end:]
        return found

    def leaks(self, *but: str) -> list[str]:
        """Where the token of the Hub is and should not be, here and on the TPU VM.

        Directories of these names are left out.
        """
        token, state = self.hf_token, Path(self.settings["state_dir"])
        assert len(token) > 20
        assert leftovers.files(token, [str(state / "hf-token")], []), "the search finds what is there"
        here = [self.environment["ANSIBLE_HOME"], str(state / "machines"), str(state / "ssh")]
        program = Path(leftovers.__file__).read_text()
        there = self.ssh(shlex.join(["sudo", "-n", "python3", "-I", "-c", program, *but]), token)
        return leftovers.files(token, here, but) + leftovers.command_lines(token) + there.splitlines()

    def judge(self) -> None:
        """AssertionError where an exchange with Google's APIs is not as Google defines them."""
        exchanges = list(ExchangeFile(Path(self.settings["state_dir"])).read())
        assert exchanges
        judge(exchanges)


#: Where the clouds of heavy stages come up, one after the other: the Hub's address is an input of the jobs,
#: so a finished run stays finished only there. No other cloud takes this place by itself so soon.
PLACE = {"LOCALCLOUD_PORT": "19370", "LOCALCLOUD_SUBNET": "10.128.90.0/24"}


@contextmanager
def local_cloud(base: Path, place: Mapping[str, str] | None = None) -> Iterator[Cloud]:
    """A cloud with its state, and Ansible's, below `base`; it is down again at the end, without a trace.

    place: PLACE, by default the first one that is free.

    Before that every exchange with Google's APIs is held against Google's own definitions.
    """
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(ROOT / "inventories" / "local"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_HOME": str(base / "ansible"),
        "LOCALCLOUD_STATE_DIR": str(base / "cloud"),
        "LOCALCLOUD_SERVE_RECORD": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **(place or {}),
    }
    localcloud = [sys.executable, "-m", "localcloud"]
    try:
        subprocess.run([*localcloud, "up"], cwd=ROOT, env=environment, check=True)
        settings = json.loads((base / "cloud" / "localcloud.json").read_text())
        cloud = Cloud(settings, environment)
        yield cloud
        cloud.judge()
    finally:
        subprocess.run([*localcloud, "down"], cwd=ROOT, env=environment, check=True)
    left = traces(CloudConfig(base / "cloud"))
    assert left == {}, "the cloud is down and has left something"
