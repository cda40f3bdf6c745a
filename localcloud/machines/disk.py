# SPDX-License-Identifier: GPL-3.0-or-later
"""Data disks: sparse files on the host, block devices to the machines."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from .commands import MachineError, run
from .process import text_of, wait_until

_RELEASE_SECONDS = 30.0
_SYS_BLOCK = Path("/sys/block")
_lock = threading.Lock()  # losetup looks for a free device and takes it in two steps


@dataclass(frozen=True)
class DiskAttachment:
    """A disk in a machine.

    index: from 1; the guest sees the disk as /dev/disk/by-id/google-persistent-disk-<index>, and as /dev/sdb
           for 1, /dev/sdc for 2 and so on, as on a TPU VM.
    """

    disk: str
    index: int
    read_only: bool = False

    @property
    def device(self) -> str:
        return f"/dev/sd{chr(ord('a') + self.index)}"

    @property
    def link(self) -> str:
        return f"/dev/disk/by-id/google-persistent-disk-{self.index}"


@dataclass(frozen=True)
class Loop:
    """A loop device of the host. releasing: it goes away when its last user has closed it."""

    path: str
    read_only: bool
    releasing: bool

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor number."""
        device = os.stat(self.path).st_rdev  # noqa: PTH116 - the numbers, not a file's description
        return os.major(device), os.minor(device)


class Disks:
    """The disks of one cloud, each a file of `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, name: str) -> Path:
        return self._directory / f"{name}.img"

    def create(self, name: str, size_gb: int) -> None:
        """Make a blank disk of `size_gb` GiB; one of the same size that is there already is left as it is."""
        file = self.file(name)
        size = size_gb * 2**30
        if file.exists() and file.stat().st_size != size:
            raise MachineError(
                f"disk {name!r} exists with {file.stat().st_size} bytes, not {size}: resize it instead"
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as disk:
            disk.truncate(size)

    def resize(self, name: str, size_gb: int) -> None:
        """Grow a disk to `size_gb` GiB, in running machines too; its file system stays as it is."""
        file = self._existing(name)
        size = size_gb * 2**30
        if size < file.stat().st_size:
            raise MachineError(f"disk {name!r} cannot shrink from {file.stat().st_size} to {size} bytes")
        os.truncate(file, size)
        for loop in self.loops(name):
            run(["losetup", "--set-capacity", loop.path])

    def delete(self, name: str) -> None:
        """Remove a disk and what it holds; idempotent."""
        self.close(name)
        self.file(name).unlink(missing_ok=True)

    def open(self, name: str, read_only: bool) -> Loop:
        """The loop device of a disk, set up when there is none. MachineError if open in the other mode."""
        file = self._existing(name)
        if not wait_until(lambda: not any(loop.releasing for loop in self.loops(name)), _RELEASE_SECONDS):
            # A second device over the same file would let two file systems write to it.
            raise MachineError(f"disk {name!r} is still mounted somewhere: unmount it, or stop that machine")
        with _lock:
            for loop in self.loops(name):
                if loop.read_only != read_only:
                    raise MachineError(
                        f"disk {name!r} is in use {_mode(loop.read_only)}, not {_mode(read_only)}"
                    )
                return loop
            options = ["--read-only"] if read_only else []
            path = run(["losetup", "--find", "--show", *options, str(file)]).strip()
        return Loop(path, read_only, releasing=False)

    def close(self, name: str) -> None:
        """Let a disk's loop device go; one that a guest has mounted still goes with that mount."""
        for loop in self.loops(name):
            if not loop.releasing:
                run(["losetup", "--detach", loop.path])

    def loops(self, name: str) -> list[Loop]:
        """The loop devices of a disk: one, but for the moment in which an old one is released."""
        listing = (
            run(["losetup", "--json", "--list", "--associated", str(self.file(name))])
            if self._has(name)
            else ""
        )
        devices = json.loads(listing)["loopdevices"] if listing else []
        return [Loop(device["name"], device["ro"], device["autoclear"]) for device in devices]

    def teardown(self) -> None:
        """Release every loop device over a file of this directory, also over files that are gone."""
        prefix = f"{self._directory}/"
        for backing in _SYS_BLOCK.glob("loop*/loop/backing_file"):
            if text_of(backing).startswith(prefix):
                run(["losetup", "--detach", f"/dev/{backing.parent.parent.name}"])

    def _has(self, name: str) -> bool:
        return self.file(name).exists()

    def _existing(self, name: str) -> Path:
        if not self._has(name):
            raise MachineError(f"there is no disk {name!r}")
        return self.file(name)


def _mode(read_only: bool) -> str:
    return "read-only" if read_only else "read-write"
