# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every lock, and how a resolution becomes one."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

ENVIRONMENTS = Path(__file__).resolve().parents[3] / "environments"
LOCKS = sorted(ENVIRONMENTS.glob("*.txt"))
PIN = re.compile(r"[a-z0-9]+(?:[-.][a-z0-9]+)*(?:\[[a-z,-]+\])?==[^\s;]+")


def test_there_is_one_lock_for_each_accelerator_and_use() -> None:
    assert [lock.stem for lock in LOCKS] == ["serve-cpu", "serve-tpu", "train-cpu", "train-tpu"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.stem))
class TestLock:
    def test_pins_everything_by_hash_but_the_builds_for_the_cpu(self, lock: Path, locker: ModuleType) -> None:
        entries = list(locker.entries(lock.read_text()))
        assert len(entries) > 100
        for entry in entries:
            assert PIN.match(entry), entry
            assert ("--hash=sha256:" in entry) == ("+cpu" not in entry), entry

    def test_names_no_place(self, lock: Path) -> None:
        body = lock.read_text().partition("\n")[2]
        assert "/" not in body
        assert "@" not in body

    def test_leaves_out_what_only_cuda_needs(self, lock: Path, locker: ModuleType) -> None:
        assert not [entry for entry in locker.entries(lock.read_text()) if locker.CUDA_ONLY.match(entry)]

    def test_tells_its_python_and_pins_the_installer(
        self, lock: Path, installer: ModuleType, locker: ModuleType
    ) -> None:
        read = installer.Lock(lock)
        assert read.python == locker.PYTHON[lock.stem]
        assert re.fullmatch(r"\d+\.\d+\.\d+", read.version("uv"))


RESOLVED = """\
filelock==3.20.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
# a comment
nvidia-cublas==13.1.1.3 \\
    --hash=sha256:cc
torch==2.13.0 \\
    --hash=sha256:dd
torchax==0.0.13 \\
    --hash=sha256:ee
triton==3.7.1 \\
    --hash=sha256:ff
"""


def test_torch_becomes_its_build_for_the_cpu(locker: ModuleType) -> None:
    assert locker.for_cpu_torch(RESOLVED) == (
        "filelock==3.20.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "torch==2.13.0+cpu\n"
        "torchax==0.0.13 \\\n    --hash=sha256:ee\n"
    )
