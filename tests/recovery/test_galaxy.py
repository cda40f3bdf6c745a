# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as Galaxy's users have it: the artifact alone, the inventory of the README, no clone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import artifact, readme, versions
from tests.e2e.support import ROOT

from .support import Site, words

Play = Callable[..., str]
#: What Ansible and Google say before there is anything.
BEFORE = re.compile("provided hosts list is empty|API has not been used in project")


@pytest.fixture(scope="module", params=["locked", "oldest"])
def user(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> artifact.GalaxyUser:
    """A user with a version of ansible-core, the artifact and the README's inventory.

    What `localcloud env` exports is the cloud.
    """
    base = tmp_path_factory.mktemp("galaxy")
    exports = subprocess.run(
        ["sh", "-c", 'eval "$("$0" -m localcloud env)" && env -0', sys.executable],
        cwd=ROOT,
        env=site.cloud.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    environment = dict(line.split("=", 1) for line in exports.split("\0") if line)
    programs = Path(sys.executable).parent
    if request.param != "locked":
        programs = versions.environment(request.param)
    user = artifact.GalaxyUser(base / "home", environment, programs)
    user.install(artifact.build(base))
    for name, text in readme.galaxy_inventory().items():
        (user.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (user.directory / name).write_text(
            text.replace("my-project", site.cloud.settings["project"]).replace(
                ": me\n", f": {site.cloud.settings['hf_username']}\n"
            )
        )
    return user


@pytest.fixture(scope="module")
def play(user: artifact.GalaxyUser) -> Play:
    def play(name: str, *arguments: str, status: int = 0) -> str:
        done = user.run("ansible-playbook", "-i", "inventory", f"tpuops.maxtext.{name}", *arguments)
        told = done.stdout + done.stderr
        assert done.returncode == status, told
        assert [line for line in told.splitlines() if "[WARNING]" in line and not BEFORE.search(line)] == []
        return told

    return play


def test_galaxy_from_nothing_to_nothing(site: Site, user: artifact.GalaxyUser, play: Play) -> None:
    site.absent()
    before = site.disks()
    hub = [
        *("-e", f"@{ROOT}/inventories/local/group_vars/all/run.yml"),
        *("-e", f"hf_endpoint={site.cloud.settings['hub']}", "-e", "platform=cpu"),
    ]
    plan = play("plan")
    assert "an hour" in plan
    assert (site.nodes(), site.disks()) == ([], before)
    assert not (user.home / ".ssh").exists()
    play("site", "--tags", "preflight", *hub)
    assert site.nodes() == []

    made = play("site", "--tags", "tpu_vm,data_disk", *hub)
    assert "Gathering Facts" not in made
    assert site.nodes() == ["READY"]
    again = play("site", "--tags", "tpu_vm,data_disk", *hub)
    assert not re.search(r"changed=[1-9]", again)
    assert "No job is running" in play("follow")
    told = words(play("stop", status=2))
    assert "ansible-playbook -i inventory tpuops.maxtext.follow" in told

    assert "tpu-v5e-8" in play("leftovers")
    play("stop_node")
    assert site.nodes() == ["STOPPED"]
    deleted = play("teardown", "-e", "tpu_vm_delete_disk=tpu-data-disk")
    assert "tpu-v5e-8" in deleted
    assert site.nodes() == []
    assert "tpu-data-disk" not in site.disks()
