# SPDX-License-Identifier: GPL-3.0-or-later
"""The TPU VM of the scenarios, over plain SSH with the address, user and host key of the inventory plugin."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.conftest import pytest_collection_modifyitems, pytest_configure

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]  # the marks mean the same here

ROOT = Path(__file__).resolve().parent.parent
INVENTORY = ROOT / "inventories" / "local"
NODE = "tpu-v5e-8"

Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """The worker of the node.

    testinfra could read the inventory itself, but takes the marks of ansible-inventory --list for values.
    """
    command = ["ansible-inventory", f"--inventory={INVENTORY}", "--host", NODE]
    facts = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    options = [word for word in shlex.split(facts["ansible_ssh_common_args"]) if word != "-o"]
    options += [
        f"HostName={facts['ansible_host']}",
        f"User={facts['ansible_user']}",
        f"IdentityFile={os.environ['LOCALCLOUD_STATE_DIR']}/ssh/id_ed25519",
    ]
    config = tmp_path_factory.mktemp("ssh") / "config"
    config.write_text("\n".join([f"Host {NODE}", *(f"  {option}" for option in options)]) + "\n")
    return testinfra.get_host(f"ssh://{NODE}?ssh_config={config}")


@pytest.fixture(scope="session")
def play() -> Play:
    """Plays site.yml with these arguments, as a user does it, without the tags of the scenario."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", f"--inventory={INVENTORY}", f"{ROOT}/site.yml", *arguments]
        environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_RUN_TAGS"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def mount_point() -> str:
    return "/mnt/disks/checkpoints"
