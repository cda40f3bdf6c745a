# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine's process is known by number and start, so that no other one is ever taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.machines.process import ProcessIdentity, find_by_argument, hierarchies, spawn


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def identity_of(pid: int) -> ProcessIdentity:
    identity = ProcessIdentity.of(pid)
    assert identity is not None
    return identity


def test_a_pid_file_gives_back_the_process(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    identity_of(sleeper.pid).save(tmp_path / "pid")
    loaded = ProcessIdentity.load(tmp_path / "pid")
    assert loaded == identity_of(sleeper.pid)
    assert loaded.alive


@pytest.mark.parametrize("text", [None, "", '{"pid": 1', "[]", '{"pid": 1}'])
def test_a_missing_or_torn_pid_file_is_no_process(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "pid").write_text(text)
    assert ProcessIdentity.load(tmp_path / "pid") is None


@pytest.mark.parametrize("change", [{"started": 1}, {"boot_id": "another"}])
def test_a_later_process_of_the_same_number_is_left_alone(
    sleeper: subprocess.Popen[bytes], change: dict[str, object]
) -> None:
    stale = replace(identity_of(sleeper.pid), **change)  # type: ignore[arg-type]
    assert not stale.alive
    stale.send(signal.SIGKILL)
    assert identity_of(sleeper.pid).alive


def test_a_process_that_ended_is_not_alive_even_before_it_is_reaped(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identity_of(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert ProcessIdentity.of(sleeper.pid) is None
    assert not identity.alive


def test_a_spawned_process_has_a_session_a_clean_environment_and_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = spawn(["sh", "-c", "env; exec sleep 600"], {"PATH": "/usr/bin:/bin", "ONLY": "this"}, log, [])
    try:
        assert os.getsid(process.pid) == process.pid
        while "ONLY=this" not in log.read_text():
            assert process.alive
        assert "HOME=" not in log.read_text()
    finally:
        process.send(signal.SIGKILL)
    assert process.wait(60)


def test_waiting_for_a_process_that_stays_gives_up(sleeper: subprocess.Popen[bytes]) -> None:
    assert not identity_of(sleeper.pid).wait(0.05)


def test_only_systemd_nspawn_is_found_by_argument(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    nspawn = tmp_path / "systemd-nspawn"
    nspawn.symlink_to("/usr/bin/tail")
    argument = f"--pid={sleeper.pid}"
    with (
        subprocess.Popen([nspawn, "-f", argument, "/dev/null"]) as found,
        subprocess.Popen(["tail", "-f", argument, "/dev/null"]) as other,
    ):
        try:
            assert [process.pid for process in find_by_argument(argument)] == [found.pid]
            assert find_by_argument(f"{argument}x") == []
        finally:
            found.kill()
            other.kill()


HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime shared:5 - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "paths"),
    [
        (HYBRID, ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]),
        (UNIFIED, ["/sys/fs/cgroup"]),
    ],
)
def test_control_groups_are_made_where_systemd_manages_them(mountinfo: str, paths: list[str]) -> None:
    assert hierarchies(mountinfo) == [Path(path) for path in paths]
