# SPDX-License-Identifier: GPL-3.0-or-later
"""A finished run for other tests to start from: a local cloud's state, with its data disk, without its node.

The disk has both environments, the converted model, the last checkpoints, the export and the compilers'
caches; the Hub has the upload. The product builds it: `tests/e2e` saves what its run from nothing left. A
test that runs alone builds it first, by the same commands. It is built again when anything changes that a run
depends on.

As a program, `python -m tests.prepared STATE_DIR` gives a cloud a copy, in place of what it had.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.e2e.support import PLACE, ROOT, Cloud, local_cloud

DIRECTORY = ROOT / "build" / "prepared"
#: What a run depends on.
SOURCES = (
    "ansible.cfg",
    "environments",
    "inventories",
    "localcloud",
    "playbooks",
    "plugins",
    "pyproject.toml",
    "roles",
    "site.yml",
)
#: What belongs to one life of a cloud at one place.
OF_ONE_CLOUD = ("localcloud.json", "server.*", "exchanges.jsonl", "machines", "state.db*")


def key() -> str:
    """A name for everything that a run depends on."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = ROOT / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def finish(cloud: Cloud, name: str) -> None:
    """Delete the node of a cloud whose run has finished, and keep its state. Call it inside `alone`.

    name: the `key` before the run. AssertionError when what it depends on has changed since.
    """
    assert name == key(), "the sources have changed during the run"
    played = cloud.play(playbook="playbooks/teardown.yml")
    assert played.status == 0, played.output[-5000:]
    source, target = Path(cloud.settings["state_dir"]), DIRECTORY / name
    assert not list((source / "machines").iterdir()), "a machine may still write to its disk"
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    draft = target.with_name("draft")
    copy(source, draft)
    with (
        closing(sqlite3.connect(source / "state.db")) as live,
        closing(sqlite3.connect(draft / "state.db")) as kept,
    ):
        live.backup(kept)
    draft.rename(target)


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(*OF_ONE_CLOUD, "disks"))
    # The holes of the disks stay holes, and where the file system can, nothing is copied at all.
    command = ["cp", "--archive", "--sparse=always", "--reflink=auto", str(source / "disks"), str(target)]
    subprocess.run(command, check=True)


def load(state_dir: Path) -> None:
    """Give a cloud that is not up yet a copy, built now where there is none."""
    with alone():
        source = DIRECTORY / key()
        if not source.exists():
            build()
        copy(source, state_dir)
        shutil.copyfile(source / "state.db", state_dir / "state.db")


def build() -> None:
    """As tests/e2e/test_pipeline.py does it, on a cloud of its own."""
    name = key()
    with tempfile.TemporaryDirectory() as base, local_cloud(Path(base), PLACE) as cloud:
        played = cloud.play()
        assert played.status == 0, played.output[-5000:]
        finish(cloud, name)


@contextmanager
def alone() -> Iterator[None]:
    """Only one process builds or copies at a time."""
    DIRECTORY.parent.mkdir(parents=True, exist_ok=True)
    with DIRECTORY.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def prepared_cloud(base: Path) -> Iterator[Cloud]:
    """A local cloud whose data disk has a finished run. There is no node yet."""
    load(base / "cloud")
    with local_cloud(base, PLACE) as cloud:
        yield cloud


@contextmanager
def disk_of(cloud: Cloud) -> Iterator[Path]:
    """The content of the data disk, while no machine has it."""
    (image,) = (Path(cloud.settings["state_dir"]) / "disks").iterdir()
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-o", "loop", str(image), place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def main(state_dir: Path) -> None:
    if state_dir.exists():  # a run that was killed left it
        subprocess.run(
            [sys.executable, "-m", "localcloud", "--state-dir", str(state_dir), "down"], cwd=ROOT, check=True
        )
    load(state_dir)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
