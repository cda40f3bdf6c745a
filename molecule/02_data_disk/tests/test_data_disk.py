# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from testinfra.host import Host


def test_the_disk_is_mounted_with_discard(vm: Host, mount_point: str) -> None:
    mount = vm.mount_point(mount_point)
    assert mount.exists
    assert mount.filesystem == "ext4"
    assert "discard" in mount.options


def test_the_mount_comes_back_at_boot(vm: Host) -> None:
    unit = vm.service("mnt-disks-checkpoints.mount")
    assert unit.is_enabled
    assert unit.is_running


def test_no_blocks_are_reserved_and_the_label_is_set(vm: Host) -> None:
    report = vm.check_output("sudo -n dumpe2fs -h /dev/disk/by-id/google-persistent-disk-1")
    fields = dict(line.split(":", 1) for line in report.splitlines() if ":" in line)
    assert fields["Reserved block count"].strip() == "0"
    assert fields["Filesystem volume name"].strip() == "checkpoints"


def test_the_tree_belongs_to_the_user(vm: Host, mount_point: str) -> None:
    for directory in ("", "/maxtext", "/huggingface", "/env", "/cache"):
        assert vm.file(mount_point + directory).user == "tpu"
