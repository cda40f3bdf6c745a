# SPDX-License-Identifier: GPL-3.0-or-later
"""disk_filesystem on image files: the real blkid and mkfs.ext4, without root."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.modules import disk_filesystem

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def files_stand_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_filesystem, "is_block_device", os.path.exists)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.touch()
    os.truncate(path, 64 * MIB)
    return path


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        disk_filesystem.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_blank_disk_is_formatted_once(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, device=str(disk))
    assert first["changed"] is True
    assert first["label"] == "checkpoints"
    assert first["size_bytes"] == 64 * MIB

    second = run(capsys, device=str(disk))
    assert second["changed"] is False
    assert second["uuid"] == first["uuid"] != ""


def formatted(disk: Path) -> dict[str, Any]:
    """In a process of its own, as another controller's task is."""
    told = io.StringIO()
    with (
        contextlib.redirect_stdout(told),
        patch_module_args({"device": str(disk)}),
        contextlib.suppress(SystemExit),
    ):
        disk_filesystem.main()
    result: dict[str, Any] = json.loads(told.getvalue())
    return result


def test_of_two_controllers_at_once_one_formats(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "mkfs.ext4"
    slow.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which("mkfs.ext4")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as controllers:
        results = list(controllers.map(formatted, [disk, disk]))
    assert sorted(result["changed"] for result in results) == [False, True]
    assert results[0]["uuid"] == results[1]["uuid"] != ""


def test_check_mode_only_says_so(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, device=str(disk), _ansible_check_mode=True)
    assert result["changed"] is True
    assert "ext4" in result["diff"]["after"]
    assert not disk.read_bytes().strip(b"\0")


def test_the_label_of_an_existing_file_system_stays(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, device=str(disk), label="mine")
    before = disk.read_bytes()
    result = run(capsys, device=str(disk), label="other")
    assert (result["changed"], result["label"]) == (False, "mine")
    assert disk.read_bytes() == before


@pytest.mark.parametrize(
    ("holds", "named"),
    [
        ({0: b"LUKS\xba\xbe\0\1"}, "crypto_LUKS"),
        ({446: b"\0\0\2\0\x83\0\0\0\0\x08\0\0\0\x08", 510: b"\x55\xaa"}, "dos"),
        ({0: b"precious"}, "data that blkid does not know"),
    ],
    ids=["an encrypted disk", "a partition table", "unknown data"],
)
def test_anything_else_is_refused_untouched(
    disk: Path, capsys: pytest.CaptureFixture[str], holds: dict[int, bytes], named: str
) -> None:
    with disk.open("r+b") as file:
        for offset, data in holds.items():
            file.seek(offset)
            file.write(data)
    before = disk.read_bytes()
    result = run(capsys, device=str(disk))
    assert result["failed"]
    assert named in result["msg"]
    assert "wipefs" in result["msg"]
    assert disk.read_bytes() == before


def test_data_at_the_end_of_the_disk_counts(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with disk.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"precious")
    assert "is not blank" in run(capsys, device=str(disk))["msg"]


@pytest.mark.parametrize("zeroed", [1, 8, 200])
def test_a_file_system_that_lost_its_beginning_is_not_formatted(
    disk: Path, capsys: pytest.CaptureFixture[str], zeroed: int
) -> None:
    """blkid finds nothing there, and a copy of the superblock repairs it."""
    with disk.open("r+b") as file:
        file.truncate(2 << 30)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(disk)], check=True)
    with disk.open("r+b") as file:
        file.write(bytes(zeroed << 20))
    assert "is not blank" in run(capsys, device=str(disk))["msg"]


def test_a_device_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, device=str(tmp_path / "google-persistent-disk-1"), wait=0)
    assert "google-persistent-disk-1 did not appear" in result["msg"]
    assert "data_disks" in result["msg"]


def test_a_label_that_ext4_cannot_hold_is_refused(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "16 bytes" in run(capsys, device=str(disk), label="seventeen letters")["msg"]


def extent(disk: Path) -> int:
    """Bytes of the file system."""
    report = subprocess.run(["dumpe2fs", "-h", disk], capture_output=True, text=True, check=True).stdout
    fields = dict(line.split(":", 1) for line in report.splitlines() if ":" in line)
    return int(fields["Block count"]) * int(fields["Block size"])


def test_the_file_system_grows_with_its_disk(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(capsys, device=str(disk))
    os.truncate(disk, 256 * MIB)
    checked = run(capsys, device=str(disk), _ansible_check_mode=True)
    assert (checked["changed"], checked["grown_from_bytes"]) == (True, 64 * MIB)
    assert str(256 * MIB) in checked["diff"]["after"]
    assert extent(disk) == 64 * MIB

    grown = run(capsys, device=str(disk))
    assert (grown["changed"], grown["grown_from_bytes"]) == (True, 64 * MIB)
    assert grown["uuid"] == first["uuid"]
    assert extent(disk) == 256 * MIB
    assert run(capsys, device=str(disk))["changed"] is False


def test_a_rest_that_ext4_cannot_use_is_no_growth(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, device=str(disk))
    os.truncate(disk, 64 * MIB + 4096)
    assert run(capsys, device=str(disk))["changed"] is False


def test_a_damaged_file_system_is_not_grown(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, device=str(disk))
    # The root directory is none: e2fsck mends that only when somebody says yes.
    subprocess.run(["debugfs", "-w", "-R", "clri <2>", disk], capture_output=True, check=True)
    os.truncate(disk, 256 * MIB)
    result = run(capsys, device=str(disk))
    assert result["failed"]
    assert "does not mend by itself" in result["msg"]
    assert extent(disk) == 64 * MIB


@pytest.fixture
def refused_online(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The disk counts as mounted, and the kernel refuses to let it grow until it is not; what was called."""
    programs, calls = tmp_path / "bin", tmp_path / "calls"
    programs.mkdir()
    resize = shutil.which("resize2fs", path=os.environ["PATH"])
    scripts = {
        "resize2fs": f"test -e {tmp_path}/unmounted && exec {resize} $1\n"
        "echo 'resize2fs: Permission denied to resize filesystem' >&2; exit 1",
        "umount": f'echo umount "$@" >> {calls}; touch {tmp_path}/unmounted',
        "mount": f'echo mount "$@" >> {calls}',
    }
    for name, script in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(disk_filesystem, "mount_of", lambda _device: ("/mnt/disk", "rw,discard"))
    return calls


def test_where_it_may_not_grow_mounted_it_is_unmounted_for_that(
    disk: Path, refused_online: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, device=str(disk))
    os.truncate(disk, 256 * MIB)
    assert run(capsys, device=str(disk))["grown_from_bytes"] == 64 * MIB
    assert extent(disk) == 256 * MIB
    calls = refused_online.read_text().splitlines()
    assert calls == ["umount /mnt/disk", f"mount -o rw,discard {disk} /mnt/disk"]


def test_a_disk_in_use_stays_mounted(
    disk: Path, refused_online: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, device=str(disk))
    os.truncate(disk, 256 * MIB)
    umount = refused_online.parent / "bin" / "umount"
    umount.write_text("#!/bin/sh\necho 'umount: target is busy.' >&2; exit 32\n")
    result = run(capsys, device=str(disk))
    assert result["failed"]
    assert "(umount: target is busy). End what uses it" in result["msg"]
    assert not refused_online.exists()
    assert extent(disk) == 64 * MIB


def test_a_mount_is_found_by_the_number_of_its_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        "36 21 1:3 / /mnt/my\\040disk rw,noatime shared:2 - ext4 /dev/sdb rw,discard,stripe=16\n"
    )
    monkeypatch.setattr(disk_filesystem, "MOUNTS", str(mounts))
    found = disk_filesystem.mount_of("/dev/null")  # 1:3
    assert found == ("/mnt/my disk", "rw,noatime,rw,discard,stripe=16")
    assert disk_filesystem.mount_of("/dev/zero") is None
