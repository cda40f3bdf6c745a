# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine's processes: found by identity, never by name; gathered in a control group of their own."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .commands import MachineError

_PROC = Path("/proc")
_KILL_SECONDS = 15.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from a later one of the same number by its start (clock ticks of that boot)."""

    pid: int
    started: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """Identity of a live process; None for one that is gone or a zombie."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        fields = stat[stat.rindex(")") + 2 :].split()  # the command before may hold blanks and parentheses
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]), _boot_id())

    @classmethod
    def load(cls, file: Path) -> ProcessIdentity | None:
        """The identity in a pid file; None where there is none or it was cut short by a kill."""
        try:
            return cls(**json.loads(file.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def save(self, file: Path) -> None:
        """Write a pid file."""
        file.write_text(json.dumps({"pid": self.pid, "started": self.started, "boot_id": self.boot_id}))

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        with suppress(ChildProcessError):  # not a child of this process: nothing to reap
            os.waitpid(self.pid, os.WNOHANG)
        return ProcessIdentity.of(self.pid) == self

    def send(self, number: signal.Signals) -> None:
        """Send a signal to this very process; nothing happens if it is gone."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it has not in that time."""
        return wait_until(lambda: not self.alive, seconds)


def wait_until(condition: Callable[[], bool], seconds: float, pause: float = 0.02) -> bool:
    """Poll a condition; False if it did not come true in that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def text_of(file: Path) -> str:
    """Text of a file of /proc or /sys; "" when what it tells of has gone in the meantime."""
    try:
        return file.read_text()
    except OSError:
        return ""


def _boot_id() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


class ControlGroup:
    """The control group of one machine, in every hierarchy that its systemd manages.

    Without one of their own, the systemds of two machines would share a tree and end each other's services.
    Made beside systemd's slices, as container engines do, it works under any init and outlives the server.
    """

    def __init__(self, name: str) -> None:
        self._directories = [mount / name for mount in hierarchies((_PROC / "self/mountinfo").read_text())]

    def create(self) -> list[Path]:
        """Make it; returns the files to which a process writes its number to join."""
        for directory in self._directories:
            directory.mkdir(parents=True, exist_ok=True)
            _enable_controllers(directory.parent)
        return [directory / "cgroup.procs" for directory in self._directories]

    def processes(self) -> set[int]:
        """Numbers of all processes in it and below."""
        return {pid for directory in self._directories for pid in _processes(directory)}

    def kill(self) -> None:
        """End every process in it, and it; idempotent. MachineError if one cannot be ended."""

        def kill_all() -> bool:
            pids = self.processes()
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not pids

        if not wait_until(kill_all, _KILL_SECONDS):
            raise MachineError(
                f"processes {sorted(self.processes())} cannot be ended: they hang in the kernel"
            )
        if not wait_until(self._remove, _KILL_SECONDS):
            raise MachineError(f"control group {self._directories[0]} is still in use")

    def _remove(self) -> bool:
        """True when it is gone; the kernel may hold it for a moment after its last process."""
        for directory in self._directories:
            for path in (*sorted(directory.rglob("*/"), reverse=True), directory):
                with suppress(OSError):
                    path.rmdir()
        return not any(directory.exists() for directory in self._directories)


def hierarchies(mountinfo: str) -> list[Path]:
    """Mount points of the unified hierarchy and of systemd's own (version 1), from /proc/self/mountinfo."""
    found = []
    for line in mountinfo.splitlines():
        left, right = line.split(" - ", 1)
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(left.split()[4]))
    return found


def _enable_controllers(directory: Path) -> None:
    """Hand the controllers that a group was given (unified hierarchy only) down to the groups in it."""
    available = directory / "cgroup.controllers"
    if available.exists():
        for name in available.read_text().split():
            with suppress(OSError):  # one that cannot be handed down now (real-time tasks) is no loss
                (directory / "cgroup.subtree_control").write_text(f"+{name}")


def _processes(directory: Path) -> Iterator[int]:
    for file in directory.rglob("cgroup.procs"):
        with suppress(OSError):  # a group that ended in the meantime
            yield from (int(line) for line in file.read_text().split() if line != "0")


def spawn(
    argv: Sequence[str], environment: dict[str, str], log: Path, groups: Sequence[Path]
) -> ProcessIdentity:
    """Start a process that outlives this one: in a session and groups of its own, its output in `log`."""
    join = "".join(f"echo $$ > {shlex.quote(str(file))} && " for file in groups)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        pid = os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", f"{join}exec {shlex.join(argv)}"],
            environment,
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, descriptor, 1),
                (os.POSIX_SPAWN_DUP2, descriptor, 2),
            ],
        )
    finally:
        os.close(descriptor)
    identity = ProcessIdentity.of(pid)
    if identity is None:
        raise MachineError(f"{argv[0]} ended at once: {log.read_text().strip()}")
    return identity


def find_by_argument(prefix: str) -> list[ProcessIdentity]:
    """Live systemd-nspawn processes with an argument that begins with `prefix`: what a lost cloud left."""
    found = []
    for directory in _PROC.glob("[0-9]*"):
        with suppress(OSError):
            arguments = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
            is_nspawn = Path(arguments[0]).name == "systemd-nspawn"
            if is_nspawn and any(argument.startswith(prefix) for argument in arguments):
                found.append(ProcessIdentity.of(int(directory.name)))
    return [identity for identity in found if identity]
