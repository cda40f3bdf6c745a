# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk that a job writes to: what it needs of it, and how much was written.

Part of a record as ``disk``: path (of the directory whose file system it is), used (bytes, when the job
started) and needed (bytes that it is expected to write, or None).
"""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import records
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths

BLOCK = 512  # bytes, the unit of st_blocks
GIGABYTE = 1e9
#: What to do about a full disk.
GROW = (
    "Delete what is not needed, or set a higher tpu_vm_disk_size_gb and run the whole playbook again. The "
    "disk and its file system grow, and the job goes on from what is there."
)
#: What to do about a disk that fails.
RESTART = (
    "The disk failed, and nobody may write to it any more; `sudo dmesg` on the machine says why. "
    "Restart the machine (sudo reboot) and run the same command again: what it holds is kept."
)
#: What to do about ENOMEM without a file: the truth, or ext4 that cannot read a directory.
RESTART_UNSURE = (
    "The disk failed, or the machine is out of memory; `sudo dmesg` on the machine says which. "
    "Restart the machine (sudo reboot) and run the same command again: what the disk holds is kept."
)


def check(paths: Paths, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The record's ``disk``.

    Raises JobError where the disk has less free space than is wanted: bytes, and times the size of the
    directory ``like``, less what is there already (``present``). What other jobs that run have still to write
    is not free.
    """
    where = paths.records_dir
    needed = estimate(wanted)
    state = os.statvfs(where)
    free = state.f_bavail * state.f_frsize
    others = pending(paths) if needed else {}
    if needed > free - sum(others.values()):
        more = "".join(
            f" and job {name}, which runs, {gigabytes(size)} more," for name, size in others.items()
        )
        raise JobError(
            f"job {paths.name} is about to write {gigabytes(needed)},{more} but the disk of {where} has "
            f"{gigabytes(free)} left. Delete what is not needed. Or set a higher tpu_vm_disk_size_gb and run "
            "the whole playbook again: the disk and its file system grow"
        )
    return {"path": where, "used": used(where), "needed": needed or None}


def trouble(error: OSError) -> JobError:
    """What a user has to know of a disk that takes no more writes. Raises any other error again."""
    if error.errno == errno.ENOMEM and not error.filename:
        return JobError(f"{error.strerror}. {RESTART_UNSURE}")
    if error.errno in (errno.EROFS, errno.EIO, errno.ENOMEM):
        remedy = RESTART
    elif error.errno == errno.ENOSPC:
        remedy = GROW
    else:
        raise error
    return JobError(f"{error.filename or 'the disk'}: {error.strerror}. {remedy}")


def estimate(wanted: Mapping[str, Any]) -> int:
    """Bytes still to be written, 0 where nothing is known of it."""
    total = float(wanted.get("bytes") or 0)
    if wanted.get("like"):
        total += float(wanted.get("times", 1)) * size_of(str(wanted["like"]))
    return max(0, int(total) - sum(size_of(str(path)) for path in wanted.get("present") or []))


def pending(paths: Paths) -> dict[str, int]:
    """Bytes that each other job which runs has still to write, by its name, as far as that is known."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(paths.records_dir), "*.json")):
        try:
            record = records.current(path) if path != paths.record else None
        except JobError:  # a file that is no record
            continue
        disk = (record or {}).get("disk") or {}
        if record and record["status"] == "running" and disk.get("needed"):
            left = int(disk["needed"]) - (written(disk) or 0)
            found.update({record["name"]: left} if left > 0 else {})
    return found


def used(path: str) -> int:
    """Bytes that are taken on the file system of a directory."""
    state = os.statvfs(path)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def written(disk: Mapping[str, Any] | None) -> int | None:
    """Bytes that the disk got since the job started; None where nobody noted how much it had."""
    if not disk or not os.path.isdir(str(disk["path"])):
        return None
    return max(0, used(str(disk["path"])) - int(disk["used"]))


def size_of(path: str) -> int:
    """Bytes that a file, or a directory with everything in it, takes on its disk; 0 where there is none."""
    if not os.path.lexists(path):
        return 0
    total = os.lstat(path).st_blocks * BLOCK
    for directory, folders, files in os.walk(path):
        for name in folders + files:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * BLOCK
            except FileNotFoundError:  # a running program's temporary file
                continue
    return total


def gigabytes(size: float) -> str:
    return f"{size / GIGABYTE:.1f} GB"
