# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from collections.abc import Callable

from testinfra.host import Host


def test_the_disk_is_mounted_with_the_options(vm: Host, mount_point: str) -> None:
    mount = vm.mount_point(mount_point)
    assert mount.exists
    assert mount.filesystem == "ext4"
    assert {"discard", "nodelalloc"} <= set(mount.options)


def test_the_mount_comes_back_at_boot(vm: Host) -> None:
    unit = vm.service("mnt-disks-checkpoints.mount")
    assert unit.is_enabled
    assert unit.is_running


def test_no_blocks_are_reserved_and_the_label_is_set(vm: Host) -> None:
    report = vm.check_output("sudo -n dumpe2fs -h /dev/disk/by-id/google-persistent-disk-1")
    fields = dict(line.split(":", 1) for line in report.splitlines() if ":" in line)
    assert fields["Reserved block count"].strip() == "0"
    assert fields["Filesystem volume name"].strip() == "checkpoints"


def test_the_tree_belongs_to_the_user_and_the_disk_to_root(vm: Host, mount_point: str) -> None:
    for directory in ("/maxtext", "/huggingface", "/env", "/cache"):
        assert vm.file(mount_point + directory).user == "tpu"
    assert (vm.file(mount_point).user, vm.file(mount_point).mode) == ("root", 0o755)


def test_the_files_of_a_former_user_become_the_users(
    vm: Host, mount_point: str, play: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """As on a disk that another machine had, where the user had another number."""
    file = f"{mount_point}/maxtext/of-a-former-user"
    vm.check_output(f"sudo -n touch {file} && sudo -n chown 54321 {file} {mount_point}/maxtext")
    played = play("--tags=data_disk")
    assert played.returncode == 0, played.stdout[-5000:]
    assert vm.file(file).user == "tpu"
    vm.check_output(f"rm {file}")


def test_the_user_cannot_put_other_records_in_the_place_of_roots(vm: Host, mount_point: str) -> None:
    vm.check_output(f"sudo -n mkdir -p {mount_point}/.tpuops")
    assert vm.run(f"mv {mount_point}/.tpuops {mount_point}/old").failed


def test_the_file_system_grows_with_the_disk(
    vm: Host, mount_point: str, play: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """By the two roles, as a user does it whose disk is full.

    Whether it stays mounted is left open: the kernel lets a mounted ext4 grow with CAP_SYS_RESOURCE alone,
    which a machine of the local cloud has where its host has it. Elsewhere the role unmounts it for that;
    tests/machines/test_growth.py sees it grow mounted.
    """
    size = f"df --block-size=1 --output=size {mount_point}"
    before = int(vm.check_output(size).split()[-1])
    vm.check_output(f"sudo -n sh -c 'echo precious > {mount_point}/mine'")
    played = play("--tags=tpu_vm,data_disk", "--extra-vars=tpu_vm_disk_size_gb=40")
    assert played.returncode == 0, played.stdout[-5000:]
    grown = int(vm.check_output(size).split()[-1]) - before
    assert abs(grown - 8 * 2**30) < 2**28, "what the disk grew, less ext4's own"
    assert vm.check_output(f"cat {mount_point}/mine") == "precious"
    vm.check_output(f"sudo -n rm {mount_point}/mine")
