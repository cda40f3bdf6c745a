#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_filesystem
short_description: Format a disk with ext4, only when it is blank, and let the file system grow with the disk
version_added: 0.1.0
description:
  - Makes an ext4 file system on a disk that holds nothing, and leaves every other disk as it is.
  - Blank means that C(blkid) finds no signature and that the first and the last MiB read as zeros, as on a
    new disk of Compute Engine.
  - A disk with another file system, a partition table or unknown data is refused with an error, never
    formatted.
  - Of two controllers at once one formats; the other waits and finds the file system.
  - When the disk has become larger than its ext4 file system, the file system grows with it, online when it
    is mounted. One that is not mounted is checked first (C(e2fsck)), as C(resize2fs) wants it. Where root may
    not grow a mounted one (a container without C(CAP_SYS_RESOURCE)), it is unmounted for that when it is not
    in use.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  device:
    description:
      - The disk, by a name that does not change with the order of attachment.
      - On a TPU VM the first data disk is C(/dev/disk/by-id/google-persistent-disk-1).
    type: path
    required: true
  label:
    description: Label of a new file system, at most 16 bytes. An existing label stays.
    type: str
    default: checkpoints
  mkfs_options:
    description:
      - Options of C(mkfs.ext4).
      - By default no blocks are reserved for root, the tables are written at once, free blocks are discarded.
    type: list
    elements: str
    default: ['-m', '0', '-E', 'lazy_itable_init=0,lazy_journal_init=0,discard']
  wait:
    description: How long to wait for the device to appear, in seconds.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Format the data disk when it is new
  tpuops.maxtext.disk_filesystem:
    device: /dev/disk/by-id/google-persistent-disk-1
    label: checkpoints
  become: true
"""

RETURN = r"""
grown_from_bytes:
  description: Size of the file system before it grew; null when it did not.
  returned: success
  type: int
  sample: 34359738368
device:
  description: The disk behind the name.
  returned: success
  type: str
  sample: /dev/sdb
uuid:
  description: UUID of the file system; empty in check mode when it would be made.
  returned: success
  type: str
label:
  description: Label of the file system.
  returned: success
  type: str
size_bytes:
  description: Size of the disk in bytes.
  returned: success
  type: int
  sample: 68719476736
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import Any

from ansible.module_utils.basic import AnsibleModule

BY_ID = "/dev/disk/by-id"
MOUNTS = "/proc/self/mountinfo"
#: Bytes that are read at one place, and the number of places.
SAMPLE = 4096
SAMPLES = 256
#: Block groups in which ext4 keeps copies of its superblock (sparse_super); groups have 128 MiB, or 8 MiB in
#: a small file system.
COPIES = (1, 3, 5, 7, 9, 25, 27, 49, 81)
MIB = 1024 * 1024
# What asks the kernel to look at a disk's size again, below /sys/class/block/NAME; SCSI and NVMe.
RESCANS = ("device/rescan", "device/rescan_controller")


def is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


class DiskError(Exception):
    """What is wrong with the disk, and what to do about it."""


class NotOnline(DiskError):
    """The kernel does not let a mounted file system grow."""


def wait_for_device(path: str, seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while not is_block_device(path):
        if time.monotonic() >= deadline:
            present = sorted(os.listdir(BY_ID)) if os.path.isdir(BY_ID) else []
            raise DiskError(
                f"{path} did not appear within {seconds} s. {BY_ID} holds: {', '.join(present) or 'nothing'}."
                " Attach the disk to the node (data_disks of tpuops.maxtext.tpu_vm) or name another device."
            )
        time.sleep(0.5)


def probe(module: AnsibleModule, device: str) -> dict[str, str]:
    """Signature on the disk as blkid's low-level probe reports it; empty when it knows none."""
    rc, out, err = module.run_command(["blkid", "--probe", "--output", "export", device])
    if rc == 0:
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if rc == 2:  # nothing recognised; an unreadable disk also ends here, so the caller reads it
        return {}
    raise DiskError(
        f"blkid cannot tell what {device} holds (exit status {rc}): {err.strip() or out.strip()}. "
        "Nothing was changed."
    )


def format_disk(module: AnsibleModule, device: str) -> str:
    """Make the file system; its UUID."""
    command = ["mkfs.ext4", "-q", *module.params["mkfs_options"], "-L", module.params["label"], device]
    rc, out, err = module.run_command(command)
    if rc != 0:
        raise DiskError(f"mkfs.ext4 on {device} failed (exit status {rc}): {err.strip() or out.strip()}")
    return probe(module, device)["UUID"]


def size_and_blank(device: str) -> tuple[int, bool]:
    """The size in bytes, and whether nothing was found on it: at both ends, at the copies that ext4 keeps of
    its superblock, and at 256 places between. A disk whose first bytes were lost still has data.
    """
    with open(device, "rb", buffering=0) as disk:
        size = disk.seek(0, os.SEEK_END)
        for offset in sorted({0, max(0, size - MIB)} | set(samples(size))):
            disk.seek(offset)
            if disk.read(MIB if offset in (0, size - MIB) else SAMPLE).strip(b"\0"):
                return size, False
    return size, True


def samples(size: int) -> list[int]:
    """Offsets of the samples, in bytes."""
    groups = [group * 128 * MIB for group in COPIES] + [(8192 * group + 1) * 1024 for group in COPIES]
    between = [size // SAMPLES * number for number in range(SAMPLES)]
    return [offset - offset % SAMPLE for offset in groups + between if offset + SAMPLE <= size]


def look_at_size_again(device: str) -> None:
    """Let the kernel notice that the disk has grown, where it did not by itself and lets itself be asked."""
    for name in RESCANS:
        path = f"/sys/class/block/{os.path.basename(device)}/{name}"
        with contextlib.suppress(OSError), open(path, "w") as rescan:
            rescan.write("1")


def extent(module: AnsibleModule, device: str) -> tuple[int, int]:
    """Size of an ext4 file system, and of one of its block groups, in bytes."""
    command = ["dumpe2fs", "-h", device]
    rc, out, err = module.run_command(command, environ_update={"LC_ALL": "C"})
    if rc != 0:
        raise DiskError(f"the ext4 file system of {device} cannot be read (exit status {rc}): {err.strip()}")
    fields = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    block = int(fields["Block size"])
    return int(fields["Block count"]) * block, int(fields["Blocks per group"]) * block


def mount_of(device: str) -> tuple[str, str] | None:
    """Where a file system of this disk is mounted, under whatever name of the disk, and all its options.

    See proc_pid_mountinfo(5): those of the mount and those of the file system, as discard is, stand apart.
    """
    number = os.stat(device).st_rdev
    with open(MOUNTS, encoding="utf-8") as mounts:
        for line in mounts:
            fields = line.split()
            if fields[2] == f"{os.major(number)}:{os.minor(number)}":
                return fields[4].encode().decode("unicode_escape"), f"{fields[5]},{fields[-1]}"
    return None


def resize(module: AnsibleModule, device: str) -> None:
    rc, out, err = module.run_command(["resize2fs", device], environ_update={"LC_ALL": "C"})
    if rc == 0:
        return
    text = err.strip() or out.strip()
    raise (NotOnline if "Permission denied" in text else DiskError)(
        f"resize2fs on {device} failed (exit status {rc}): {text}"
    )


def grow_unmounted(module: AnsibleModule, device: str) -> None:
    rc, out, err = module.run_command(["e2fsck", "-f", "-p", device])
    if rc > 1:  # 1: it found something and mended it
        raise DiskError(
            f"the file system of {device} has errors that e2fsck does not mend by itself, so it was not "
            f"grown (exit status {rc}): {out.strip()} {err.strip()}. Look at it with: e2fsck {device}"
        )
    resize(module, device)


def grow_between_mounts(module: AnsibleModule, device: str, where: str, options: str) -> None:
    """Unmount the disk for as long as it takes, where nothing uses it."""
    rc, _out, err = module.run_command(["umount", where])
    if rc != 0:
        raise DiskError(
            f"{device} has grown, and this machine does not let its file system grow while it is mounted. It "
            f"cannot be unmounted for that ({err.strip().rstrip('.')}): end what uses it, and run this again"
        )
    try:
        grow_unmounted(module, device)
    finally:
        rc, _out, err = module.run_command(["mount", "-o", options, device, where])
    if rc != 0:
        raise DiskError(f"{device} cannot be mounted on {where} again: {err.strip()}")


def grow(module: AnsibleModule, device: str) -> None:
    """Let the file system fill the disk; online when it is mounted."""
    mounted = mount_of(device)
    if mounted is None:
        grow_unmounted(module, device)
        return
    try:
        resize(module, device)
    except NotOnline:
        grow_between_mounts(module, device, *mounted)


def ensure_grown(module: AnsibleModule, device: str, size: int, act: bool) -> dict[str, Any]:
    """The fields of the result that tell whether the file system grew, or would.

    What is less than a block group stays unused, as it may be after mkfs.ext4 as well.
    """
    before, group = extent(module, device)
    if size - before < group:
        return {"grown_from_bytes": None}
    if act:
        grow(module, device)
    return {
        "changed": True,
        "grown_from_bytes": before,
        "diff": {"before": f"{device}: ext4, {before} bytes\n", "after": f"{device}: ext4, {size} bytes\n"},
    }


def ensure_filesystem(module: AnsibleModule) -> dict[str, Any]:
    """The module's result."""
    path = module.params["device"]
    wait_for_device(path, module.params["wait"])
    device = os.path.realpath(path)
    look_at_size_again(device)
    try:
        with locked(device, "rb"):
            result = ensure(module, device, act=False)
        if not result["changed"] or module.check_mode:
            return result
        # It lets udev look at the disk again in the end, which only a file does that was open for writing.
        with locked(device, "r+b"):
            return ensure(module, device, act=True)
    except OSError as error:
        raise DiskError(
            f"{path} ({device}) cannot be read: {error.strerror}. Run with become: true."
        ) from error


@contextlib.contextmanager
def locked(device: str, mode: str) -> Iterator[None]:
    """Keep another controller, and udev, from the disk. What is half made looks like unknown data."""
    with open(device, mode, buffering=0) as disk:
        fcntl.flock(disk, fcntl.LOCK_EX)
        yield


def ensure(module: AnsibleModule, device: str, act: bool) -> dict[str, Any]:
    """The module's result. act: do what is to be done, and not only say so."""
    path, label = module.params["device"], module.params["label"]
    size, blank = size_and_blank(device)
    found = probe(module, device)
    result = {"device": device, "size_bytes": size, "changed": False}

    if found.get("TYPE") == "ext4":
        result = {**result, "uuid": found["UUID"], "label": found.get("LABEL", "")}
        return {**result, **ensure_grown(module, device, size, act)}
    if found or not blank:
        holds = found.get("TYPE") or found.get("PTTYPE") or "data that blkid does not know"
        raise DiskError(
            f"{path} ({device}) is not blank, it holds {holds}. Nothing was changed. Attach another disk, "
            f"or, if nothing on it is needed, erase it by hand: wipefs --all {device}; blkdiscard {device}"
        )
    return {
        **result,
        "changed": True,
        "uuid": format_disk(module, device) if act else "",
        "label": label,
        "grown_from_bytes": None,
        "diff": {"before": f"{device}: blank\n", "after": f"{device}: ext4, label {label}\n"},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "device": {"type": "path", "required": True},
            "label": {"type": "str", "default": "checkpoints"},
            "mkfs_options": {
                "type": "list",
                "elements": "str",
                "default": ["-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,discard"],
            },
            "wait": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    label = module.params["label"]
    if len(label.encode()) > 16:
        module.fail_json(
            msg=f"label: {label!r} is longer than the 16 bytes of an ext4 label; choose a shorter one."
        )
    try:
        module.exit_json(**ensure_filesystem(module))
    except DiskError as error:
        module.fail_json(msg=f"device: {error}")


if __name__ == "__main__":
    main()
