# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's artifact, as Galaxy has it, and a user who has nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: What says to Ansible where a clone is, and how it is set up.
OF_A_CLONE = ("ANSIBLE_",)


def program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def build(directory: Path) -> Path:
    """The artifact, built from the files that git tracks or would track: what a maintainer publishes."""
    source = directory / "source"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink():  # one that was deleted is listed until the commit
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, source / name)
    command = [program("ansible-galaxy"), "collection", "build", "--output-path", str(directory), str(source)]
    subprocess.run(command, env=without_clone(os.environ), capture_output=True, check=True)
    (artifact,) = directory.glob("*.tar.gz")
    return artifact


def install(artifact: Path, directory: Path) -> Path:
    """The directory, in which Ansible finds the collection now."""
    options = ["--offline", "--collections-path", str(directory)]
    command = [program("ansible-galaxy"), "collection", "install", *options, str(artifact)]
    directory.mkdir(parents=True)
    # Elsewhere the ansible.cfg of a clone would tell that the collection is there already.
    subprocess.run(command, cwd=directory, env=without_clone(os.environ), capture_output=True, check=True)
    assert (directory / "ansible_collections/tpuops/maxtext").is_dir()
    return directory


def without_clone(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OF_A_CLONE)}


@dataclass(frozen=True)
class GalaxyUser:
    """Somebody in an empty directory whose home has the installed collection and nothing else of ours."""

    home: Path
    environment: Mapping[str, str]
    programs: Path = Path(sys.executable).parent

    @property
    def directory(self) -> Path:
        return self.home / "empty"

    @property
    def collection(self) -> Path:
        return self.home / ".ansible/collections/ansible_collections/tpuops/maxtext"

    def install(self, artifact: Path) -> None:
        self.directory.mkdir(parents=True)
        done = self.run("ansible-galaxy", "collection", "install", "--offline", str(artifact))
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.programs / name), *arguments],
            cwd=self.directory,
            env={**without_clone(self.environment), "HOME": str(self.home), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
