# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of systemd, with its answers written down."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.systemd import (
    SystemdError,
    SystemdMissing,
    SystemdSilent,
)

UNIT = "mnt-disks-checkpoints.mount"
PATH = "/mnt/disks/checkpoints/.tpuops/jobs"


@pytest.mark.parametrize(
    ("path", "unit"),  # as systemd-escape --path --suffix=mount prints them
    [
        ("/mnt/disks/checkpoints", UNIT),
        ("/mnt/a-b/c d", "mnt-a\\x2db-c\\x20d.mount"),
        ("/.hidden/ä", "\\x2ehidden-\\xc3\\xa4.mount"),
    ],
)
def test_the_name_of_a_mount_unit(path: str, unit: str) -> None:
    assert systemd.mount_unit(path) == unit


@pytest.mark.parametrize(
    ("load", "active", "started"),
    [
        ("loaded", "inactive", [UNIT]),
        ("loaded", "activating", [UNIT]),
        ("loaded", "failed", [UNIT]),
        ("loaded", "active", []),
        ("not-found", "inactive", []),
    ],
)
def test_a_disk_is_mounted_where_there_is_a_unit_for_it(
    monkeypatch: pytest.MonkeyPatch, load: str, active: str, started: list[str]
) -> None:
    calls: list[list[str]] = []

    def call(command: list[str]) -> str:
        calls.append(command)
        blocks = [
            f"Id={unit}\nLoadState={load if unit == UNIT else 'not-found'}\n"
            f"ActiveState={active if unit == UNIT else 'inactive'}\n"
            for unit in command
            if unit.endswith(".mount")
        ]
        return "\n".join(blocks)

    monkeypatch.setattr(systemd, "call", call)
    monkeypatch.setattr(systemd, "BOOTED", "/")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    systemd.mount(PATH)
    assert [command[-1] for command in calls if command[1] == "start"] == started


def test_a_disk_that_cannot_be_mounted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(command: list[str]) -> str:
        if command[1] == "start":
            raise SystemdError("Dependency failed")
        return f"Id={UNIT}\nLoadState=loaded\nActiveState=inactive\n"

    monkeypatch.setattr(systemd, "call", call)
    monkeypatch.setattr(systemd, "BOOTED", "/")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(SystemdError, match=f"the disk of {PATH} cannot be mounted: Dependency failed"):
        systemd.mount(PATH)


@pytest.mark.parametrize(
    ("state", "error"), [("stopping", SystemdSilent), ("running", SystemdError), ("starting", SystemdError)]
)
def test_what_is_refused_as_the_machine_shuts_down_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, state: str, error: type[SystemdError]
) -> None:
    def call(command: list[str]) -> str:
        if command[1] != "show":
            raise SystemdError("Transaction is destructive (umount.target has 'start' job queued)")
        if "--property=SystemState" in command:
            return f"{state}\n"
        return f"Id={UNIT}\nLoadState=loaded\nActiveState=deactivating\n"

    monkeypatch.setattr(systemd, "call", call)
    monkeypatch.setattr(systemd, "BOOTED", "/")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    orders: list[Callable[[], object]] = [
        lambda: systemd.mount(PATH),
        lambda: systemd.start("tpuops-sft.service", [], ["train"]),
    ]
    for order in orders:
        with pytest.raises(SystemdError, match="Transaction is destructive") as refused:
            order()
        assert type(refused.value) is error


@pytest.mark.parametrize("ask", [lambda: systemd.is_active(UNIT), lambda: systemd.active([UNIT])])
def test_a_systemd_that_does_not_answer_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ask: Callable[[], object]
) -> None:
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect to bus: Connection refused' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemdSilent, match=r"shuts down or has just started: Failed to connect.*again"):
        ask()
    program.unlink()
    with pytest.raises(SystemdMissing, match="systemctl is not there"):
        ask()


def test_running_units_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (
        "vllm.service loaded active running vLLM\ntpuops-sft.service loaded deactivating stop-sigterm job\n"
    )
    monkeypatch.setattr(systemd, "call", lambda command: answer if command[-1] == "tpuops-*" else "")
    assert systemd.active(["vllm.service", "tpuops-*"]) == {
        "vllm.service": "active",
        "tpuops-sft.service": "deactivating",
    }
    assert systemd.active(["other"]) == {}
