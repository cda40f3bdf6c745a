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


def test_the_tree_belongs_to_the_user_of_the_jobs_and_the_disk_to_root(vm: Host, mount_point: str) -> None:
    def state(directory: str) -> tuple[str, str, int]:
        file = vm.file(mount_point + directory)
        return file.user, file.group, file.mode

    for directory in ("/maxtext", "/huggingface"):
        assert state(directory)[0] == "tpuops"
    for directory in ("/env", "/cache"):
        assert state(directory) == ("root", "tpuops", 0o1775)
    for directory in ("", "/env/programs", "/cache/vllm"):
        assert state(directory) == ("root", "root", 0o755)


def test_the_users_have_their_numbers_and_cannot_log_in(vm: Host) -> None:
    for name, number in (("tpuops", 60801), ("tpuops-serve", 60802)):
        user = vm.user(name)
        assert (user.uid, user.gid, user.shell) == (number, number, "/usr/sbin/nologin")
        assert (user.home, user.groups) == (f"/var/lib/{name}", [name])
        assert vm.run(f"sudo -n -u {name} sudo -n true").failed


def test_the_files_of_a_former_user_become_the_users(
    vm: Host, mount_point: str, play: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """As an older version left it, whose jobs ran as the user who logs in."""
    tops = [f"{mount_point}/{name}" for name in ("maxtext", "env", "cache")]
    files = [f"{top}/of-a-former-user" for top in tops]
    vm.check_output(f"sudo -n touch {' '.join(files)} && sudo -n chown tpu {' '.join(files + tops)}")
    played = play("--tags=data_disk")
    assert played.returncode == 0, played.stdout[-5000:]
    assert {vm.file(file).user for file in files} == {"tpuops"}
    assert [vm.file(top).user for top in tops] == ["tpuops", "root", "root"]
    vm.check_output(f"sudo -n rm {' '.join(files)}")
    again = play("--tags=data_disk")
    assert "changed=0" in again.stdout.rpartition("PLAY RECAP")[2]


def test_the_user_cannot_put_other_records_in_the_place_of_roots(vm: Host, mount_point: str) -> None:
    """Nor other programs, or a place of its own for the server's cache, which root makes."""
    vm.check_output(f"sudo -n mkdir -p {mount_point}/.tpuops")
    vm.check_output(f"sudo -n touch {mount_point}/env/programs/x.py")
    for path in (".tpuops", "env", "env/programs", "env/programs/x.py", "cache", "cache/vllm"):
        assert vm.run(f"sudo -n -u tpuops mv {mount_point}/{path} {mount_point}/maxtext/old").failed, path
    # Not env and cache: what the jobs wrote into them is the user's own, and the next scenarios need it.
    for path in (".tpuops", "env/programs", "env/programs/x.py", "cache/vllm"):
        assert vm.run(f"sudo -n -u tpuops rm -rf {mount_point}/{path}").failed, path
    assert vm.run(f"sudo -n -u tpuops sh -c 'echo >> {mount_point}/env/programs/x.py'").failed
    vm.check_output(f"sudo -n -u tpuops sh -c 'mkdir {mount_point}/env/x && rmdir {mount_point}/env/x'")
    vm.check_output(f"sudo -n rm {mount_point}/env/programs/x.py")


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
