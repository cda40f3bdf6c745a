# SPDX-License-Identifier: GPL-3.0-or-later
"""The faults of machines, as far as they need none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localcloud.machines import DiskAttachment, MachineError, faults
from localcloud.machines.faults import Lasting


def test_what_lasts_is_kept_and_healed(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    assert Lasting.load(file) == Lasting()
    struck = faults.fail(["b"])(faults.fail(["a"])(faults.slow(8)(faults.cut(Lasting()))))
    assert struck == Lasting(cut=True, rate=8, failing=("a", "b"))
    struck.save(file)
    assert Lasting.load(file) == struck
    assert faults.heal(struck) == Lasting()


def test_the_disks_meant_are_one_or_all() -> None:
    attached = [DiskAttachment("a", 1), DiskAttachment("b", 2)]
    assert faults.chosen_disks(attached, None) == ["a", "b"]
    assert faults.chosen_disks(attached, "b") == ["b"]
    with pytest.raises(MachineError, match="no disk 'c'"):
        faults.chosen_disks(attached, "c")
    with pytest.raises(MachineError, match="no data disk"):
        faults.chosen_disks([], None)


@pytest.mark.parametrize(("unit", "pattern"), [("", ""), ("a.service", "a")])
def test_processes_are_meant_in_one_way(unit: str, pattern: str) -> None:
    with pytest.raises(MachineError, match="by a unit or by a pattern"):
        faults.kill([], unit=unit, pattern=pattern)


def test_a_process_outside_of_machines_is_never_killed() -> None:
    with pytest.raises(MachineError, match="no process of the machine"):
        faults.kill([os.getpid()], pattern=".")
