#!/usr/bin/python
# -*- coding: utf-8 -*-
# Copyright: (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_filesystem
short_description: Format a disk with ext4, only when it is blank
version_added: 0.1.0
description:
  - Makes an ext4 file system on a disk that holds nothing, and leaves every other disk as it is.
  - Blank means that C(blkid) finds no signature and that the first and the last MiB read as zeros, as on a new disk of Compute Engine.
  - A disk with another file system, a partition table or unknown data is refused with an error, never formatted.
author:
  - The tpuops.maxtext maintainers
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
    description: Label of a new file system, at most 16 bytes. An existing label is left alone.
    type: str
    default: checkpoints
  mkfs_options:
    description: Options of C(mkfs.ext4). By default no blocks are reserved for root, the tables are written at once and free blocks are discarded.
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
"""

import os
import stat
import time

from ansible.module_utils.basic import AnsibleModule

BY_ID = "/dev/disk/by-id"
MIB = 1024 * 1024


def is_block_device(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False


def wait_for_device(module: AnsibleModule, path: str, seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while not is_block_device(path):
        if time.monotonic() >= deadline:
            present = sorted(os.listdir(BY_ID)) if os.path.isdir(BY_ID) else []
            module.fail_json(
                msg=f"device: {path} did not appear within {seconds} s. {BY_ID} holds: {', '.join(present) or 'nothing'}. "
                "Attach the disk to the node (data_disks of tpuops.maxtext.tpu_vm) or name another device."
            )
        time.sleep(0.5)


def probe(module: AnsibleModule, device: str) -> dict[str, str]:
    """Signature on the disk as blkid's low-level probe reports it; empty when it knows none."""
    rc, out, err = module.run_command(["blkid", "--probe", "--output", "export", device])
    if rc == 0:
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    if rc == 2:  # nothing recognised; an unreadable disk also ends here, so the caller reads it
        return {}
    module.fail_json(
        msg=f"device: blkid cannot tell what {device} holds (exit status {rc}): {err.strip() or out.strip()}"
    )


def size_and_blank(device: str) -> tuple[int, bool]:
    with open(device, "rb", buffering=0) as disk:
        size = disk.seek(0, os.SEEK_END)
        for offset in (0, max(0, size - MIB)):
            disk.seek(offset)
            if disk.read(MIB).strip(b"\0"):
                return size, False
    return size, True


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
    path, label = module.params["device"], module.params["label"]
    if len(label.encode()) > 16:
        module.fail_json(msg=f"label: {label!r} is longer than the 16 bytes of an ext4 label; choose a shorter one.")

    wait_for_device(module, path, module.params["wait"])
    device = os.path.realpath(path)
    try:
        size, blank = size_and_blank(device)
    except OSError as error:
        module.fail_json(msg=f"device: {path} ({device}) cannot be read: {error.strerror}. Run with become: true.")
    found = probe(module, device)
    result = {"device": device, "size_bytes": size}

    if found.get("TYPE") == "ext4":
        module.exit_json(changed=False, uuid=found.get("UUID", ""), label=found.get("LABEL", ""), **result)
    if found or not blank:
        holds = found.get("TYPE") or found.get("PTTYPE") or "data that blkid does not know"
        module.fail_json(
            msg=f"device: {path} ({device}) is not blank, it holds {holds}. Nothing was changed. "
            f"Attach another disk, or, if nothing on it is needed, erase it by hand: wipefs --all {device}"
            + ("" if found else f" && blkdiscard {device}"),
            **result,
        )

    diff = {"before": f"{device}: blank\n", "after": f"{device}: ext4, label {label}\n"}
    if not module.check_mode:
        command = ["mkfs.ext4", "-q", *module.params["mkfs_options"], "-L", label, device]
        rc, out, err = module.run_command(command)
        if rc != 0:
            module.fail_json(msg=f"mkfs.ext4 on {device} failed with exit status {rc}: {err.strip() or out.strip()}")
        found = probe(module, device)
    module.exit_json(changed=True, uuid=found.get("UUID", ""), label=label, diff=diff, **result)


if __name__ == "__main__":
    main()
