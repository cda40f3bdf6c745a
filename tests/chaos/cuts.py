# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens to a run: every cut, which stages it can hit, and why it cannot hit the others."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import requests
from click.testing import CliRunner

from localcloud.cli import main
from tests.e2e.support import Cloud

NODE = "tpu-v5e-8"
#: The plays of site.yml in their order, and the stages of each: roles. Other plays belong to the one before.
PLAYS = {
    "Preflight": ("preflight",),
    "Provision": ("tpu_vm",),
    "Prepare": ("data_disk", "maxtext_env"),
    "Convert": ("convert",),
    "Train": ("sft",),
    "Export and upload": ("export",),
    "Serve": ("vllm_serve",),
    "Evaluate": ("evaluate",),
}
STAGES = tuple(stage for stages in PLAYS.values() for stage in stages)


class Struck(Protocol):
    """A run as a cut sees it."""

    cloud: Cloud
    stage: str

    @property
    def process(self) -> subprocess.Popen[bytes]: ...


def localcloud(run: Struck, *arguments: str) -> str:
    """A command of the local cloud, in this process: until another had started, a stage may be over."""
    done = CliRunner().invoke(main, arguments, env=run.cloud.environment)
    if done.exit_code:
        raise CutError(done.stderr.strip() or str(done.exception))
    return done.stdout


class CutError(Exception):
    """There was nothing to cut: the message says what was missing."""


def command(*arguments: str) -> Callable[[Struck], object]:
    """A cut, or its healing, that is one command of the local cloud."""
    return lambda run: localcloud(run, *arguments)


def signalled(number: signal.Signals) -> Callable[[Struck], object]:
    return lambda run: os.killpg(run.process.pid, number)


#: Command lines of what a stage runs on the node, as a regular expression.
PROCESSES = {
    "maxtext_env": "install_environment",
    "convert": r"convert\.py",
    "sft": "train_sft",
    "export": r"export\.py|to_huggingface|hub\.py upload ",
    "vllm_serve": "vllm|install_environment",
    "evaluate": "vllm",
}


def kill_process(run: Struck) -> None:
    localcloud(run, "machine", "kill", NODE, "--pattern", PROCESSES[run.stage])


def delete_node(run: Struck) -> None:
    """As somebody does in the console."""
    settings = run.cloud.settings
    path = f"projects/{settings['project']}/locations/{settings['zone']}/nodes/{NODE}"
    token = Path(settings["access_token_file"]).read_text(encoding="utf-8").strip()
    response = requests.delete(
        f"{settings['endpoints']['tpu']}/v2/{path}", headers={"Authorization": f"Bearer {token}"}, timeout=60
    )
    if not response.ok:
        raise CutError(response.text)


NO_NODE = {"preflight": "Nothing is created yet."}
NO_MACHINE = {**NO_NODE, "tpu_vm": "The machine boots within this stage; nothing of ours runs on it yet."}
ASKS_NO_HUB = dict.fromkeys(("tpu_vm", "data_disk", "maxtext_env"), "It asks nothing of the Hub.")
ASKS_NO_GOOGLE = dict.fromkeys(
    ("preflight", *STAGES[2:]),
    "It asks nothing of Google while its node answers; the inventory was read before.",
)
NO_PROCESS = {**NO_MACHINE, "data_disk": "It runs no job."}


@dataclass(frozen=True)
class Cut:
    """name: as the table calls it; spares: stage -> why the cut cannot hit there.

    heal: returns whether the strike met anything; lasts: seconds from the strike to the healing, None where
    it heals when its stage is over.
    """

    name: str
    strike: Callable[[Struck], object]
    spares: Mapping[str, str] = field(default_factory=dict)
    heal: Callable[[Struck], bool] | None = None
    lasts: float | None = None


def heal_machine(run: Struck) -> bool:
    localcloud(run, "machine", "heal", NODE)
    return True


def heal_disk(run: Struck) -> bool:
    """A file system that met a bad disk takes no more writes until the machine has booted again."""
    heal_machine(run)
    localcloud(run, "machine", "reboot", NODE)
    return True


def clear(run: Struck) -> bool:
    """A fault that is used up is gone; of one that is still there it is said how often it struck."""
    return all("struck=" in fault for fault in localcloud(run, "fault", "clear").splitlines())


def armed(name: str, spares: Mapping[str, str], *arguments: str, lasts: float | None = None) -> Cut:
    """A fault of the local cloud that is armed, and cleared when the stage is over."""
    return Cut(name, command("fault", *arguments), spares, clear, lasts)


CUTS = {
    cut.name: cut
    for cut in (
        Cut("controller killed (kill -9)", signalled(signal.SIGKILL)),
        Cut("Ctrl-C", signalled(signal.SIGINT)),
        Cut("network cut for 20 s", command("machine", "cut", NODE), NO_NODE, heal_machine, 20),
        Cut("network cut for 3 min", command("machine", "cut", NODE), NO_NODE, heal_machine, 180),
        Cut(
            "network slow for 30 s",
            command("machine", "slow", NODE, "--rate", "200"),
            NO_MACHINE,
            heal_machine,
            30,
        ),
        Cut("machine rebooted", command("machine", "reboot", NODE), NO_NODE),
        Cut("node under maintenance for 20 s", command("maintenance", NODE, "--seconds", "20"), NO_NODE),
        Cut("process killed", kill_process, NO_PROCESS),
        Cut("node preempted", command("preempt", NODE), NO_NODE),
        Cut("node deleted", delete_node, NO_NODE),
        Cut("disk full for 20 s", command("machine", "fill-disk", NODE), NO_MACHINE, heal_machine, 20),
        Cut("disk failing for 20 s", command("machine", "io-error", NODE), NO_MACHINE, heal_disk, 20),
        armed("Hub 503, three times", ASKS_NO_HUB, "hub-error-503", "--count", "3"),
        armed("Hub 500, three times", ASKS_NO_HUB, "hub-error-500", "--count", "3"),
        armed("Hub 429, three times", ASKS_NO_HUB, "hub-rate-limit", "--count", "3"),
        armed("Hub slow (5 s), three times", ASKS_NO_HUB, "hub-slow", "--count", "3"),
        armed("Hub drops an answer", ASKS_NO_HUB, "hub-drop", "--count", "1"),
        armed(
            "Hub drops an upload",
            dict.fromkeys((*STAGES[:6], *STAGES[7:]), "It uploads nothing."),
            # Xet sends no weights that an earlier run's export had too; the commit is larger than that.
            *("hub-drop-upload", "--count", "1", "--bytes", "50000"),
        ),
        armed("token revoked for 1 min", ASKS_NO_HUB, "hub-unauthorized", lasts=60),
        armed("Google 503, three times", ASKS_NO_GOOGLE, "error-503", "--count", "3"),
        armed("Google 429, three times", ASKS_NO_GOOGLE, "rate-limit", "--count", "3"),
        armed("answer of Google lost", ASKS_NO_GOOGLE, "drop", "--count", "1"),
        armed("no capacity, once", ASKS_NO_GOOGLE, "stockout", "--count", "1"),
        armed("operation fails", ASKS_NO_GOOGLE, "failing-operation", "--count", "1"),
        armed("preempted while being created", ASKS_NO_GOOGLE, "preempted-while-creating", "--count", "1"),
        Cut("access token expired", command("token", "expire"), ASKS_NO_GOOGLE),
    )
}


def cells() -> list[tuple[Cut, str]]:
    """Every cut with every stage that it can hit."""
    return [(cut, stage) for cut in CUTS.values() for stage in STAGES if stage not in cut.spares]
