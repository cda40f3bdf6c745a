# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testinfra.host import Host

ROOT = Path(__file__).resolve().parents[3]


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


def test_the_file_system_grows_with_the_disk(vm: Host, mount_point: str) -> None:
    """By the two roles, as a user does it whose disk is full."""
    size = f"df --block-size=1 --output=size {mount_point}"
    before = int(vm.check_output(size).split()[-1])
    vm.check_output(f"sudo -n sh -c 'echo precious > {mount_point}/mine'")
    command = ["ansible-playbook", f"--inventory={ROOT}/inventories/local", f"{ROOT}/site.yml"]
    command += ["--tags=tpu_vm,data_disk", "--extra-vars=tpu_vm_disk_size_gb=40"]
    environment = {name: value for name, value in os.environ.items() if name != "ANSIBLE_RUN_TAGS"}
    played = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout[-5000:]
    grown = int(vm.check_output(size).split()[-1]) - before
    assert abs(grown - 8 * 2**30) < 2**28, "what the disk grew, less ext4's own"
    assert vm.check_output(f"cat {mount_point}/mine") == "precious"
    vm.check_output(f"sudo -n rm {mount_point}/mine")
