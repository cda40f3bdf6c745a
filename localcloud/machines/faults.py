# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with a machine: its network cut or slow, its disks full or failing, its processes killed.

What lasts is written down beside the machine, so that it also holds after a reboot and for a new server.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .commands import MachineError
from .disk import DiskAttachment, Disks
from .network import Network

FILLER = ".localcloud-filler"  # on a disk that was filled
SMALLEST_PIECE = 4096

# linux/loop.h: a loop device that ends after its first sector fails every access with an I/O error, also for
# a file system that is mounted on it, and its file stays as it is.
_GET_STATUS, _SET_STATUS, _STATUS_SIZE, _SIZE_LIMIT = 0x4C05, 0x4C04, 232, 32
_SECTOR = 512


@dataclass(frozen=True)
class Lasting:
    """What lasts until it is healed. rate: of the network in kbit/s each way; failing: names of disks."""

    cut: bool = False
    rate: int | None = None
    failing: tuple[str, ...] = ()

    @classmethod
    def load(cls, file: Path) -> Lasting:
        try:
            fields = json.loads(file.read_text())
        except FileNotFoundError:
            return cls()
        return cls(**fields | {"failing": tuple(fields["failing"])})

    def save(self, file: Path) -> None:
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        draft.replace(file)


class MachineFaults:
    """The faults of one machine. home: its directory; number: its host number in the subnet."""

    def __init__(self, home: Path, number: int, network: Network, disks: Disks) -> None:
        self._file = home / "faults.json"
        self._number = number
        self._network = network
        self._disks = disks

    def set(self, change: Callable[[Lasting], Lasting]) -> None:
        """Change what lasts, and make the machine so."""
        before = Lasting.load(self._file)
        after = change(before)
        after.save(self._file)
        self._make(before, after)

    def apply(self) -> None:
        """Make a machine that has just booted as it is written down."""
        self._make(Lasting(), Lasting.load(self._file))

    def _make(self, before: Lasting, after: Lasting) -> None:
        if before.rate != after.rate:
            self._network.limit(self._number, after.rate)
        if before.cut != after.cut:
            self._network.plug(self._number, in_=not after.cut)
        for disk in {*before.failing, *after.failing}:
            for loop in self._disks.loops(disk):
                limit_loop(loop.path, _SECTOR if disk in after.failing else 0)


def cut(lasting: Lasting) -> Lasting:
    return replace(lasting, cut=True)


def slow(rate: int) -> Callable[[Lasting], Lasting]:
    """rate: kbit/s."""
    return lambda lasting: replace(lasting, rate=rate)


def fail(disks: Iterable[str]) -> Callable[[Lasting], Lasting]:
    return lambda lasting: replace(lasting, failing=tuple(sorted({*lasting.failing, *disks})))


def heal(_: Lasting) -> Lasting:
    return Lasting()


def limit_loop(path: str, size: int) -> None:
    """Let a loop device end after `size` bytes, 0: where its file ends."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        status = bytearray(_STATUS_SIZE)
        fcntl.ioctl(descriptor, _GET_STATUS, status)
        struct.pack_into("<Q", status, _SIZE_LIMIT, size)
        fcntl.ioctl(descriptor, _SET_STATUS, bytes(status))
    finally:
        os.close(descriptor)


def mount_point(leader: int, number: tuple[int, int]) -> Path | None:
    """Where a machine has a device (major, minor) mounted, as the host reaches it; None where it has not."""
    for line in Path(f"/proc/{leader}/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[2] == f"{number[0]}:{number[1]}":
            point = re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), fields[4])
            return Path(f"/proc/{leader}/root{point}")
    return None


def fill(directory: Path) -> int:
    """Take all the room of a file system, also what is kept for root; returns how many bytes that was."""
    descriptor = os.open(directory / FILLER, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        before = size = os.fstat(descriptor).st_size
        room = os.statvfs(directory)
        piece = room.f_bfree * room.f_frsize
        while piece >= SMALLEST_PIECE:
            try:
                os.posix_fallocate(descriptor, size, piece)
                size += piece
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                piece //= 2  # a file system needs some room for itself
    finally:
        os.close(descriptor)
    return size - before


def free(directory: Path) -> None:
    """Give back what `fill` took. A file system that cannot be written to keeps it."""
    with suppress(OSError):
        (directory / FILLER).unlink()


def kill(pids: Iterable[int], *, unit: str = "", pattern: str = "") -> list[str]:
    """End by SIGKILL those of a machine's processes that belong to a unit or whose command line matches.

    unit: of the machine's systemd, with its suffix; pattern: a regular expression. Returns the command lines;
    the machine's first process is never among them. MachineError where there is none.
    """
    if bool(unit) == bool(pattern):
        raise MachineError("say which processes: by a unit or by a pattern, not by both")
    killed = []
    for pid in sorted(pids):
        with suppress(OSError):  # ended in the meantime
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            chosen = _in_unit(pid, unit) if unit else re.search(pattern, command)
            if chosen and _inside(pid):
                os.kill(pid, signal.SIGKILL)
                killed.append(command.strip())
    if not killed:
        raise MachineError(f"no process of the machine is of {unit or f'the pattern {pattern!r}'}")
    return killed


def _in_unit(pid: int, unit: str) -> bool:
    groups = Path(f"/proc/{pid}/cgroup").read_text()
    return any(unit in line.split("/") for line in groups.splitlines())


def _inside(pid: int) -> bool:
    """Whether a process runs inside a machine, and is not its first."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] != "1"
    return False


def chosen_disks(attached: Iterable[DiskAttachment], disk: str | None) -> list[str]:
    """Names of the disks that are meant: one, or all of a machine. MachineError where there is none."""
    names = [each.disk for each in attached if disk in (None, each.disk)]
    if not names:
        raise MachineError(f"the machine has no disk {disk!r}" if disk else "the machine has no data disk")
    return names
