# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written into a machine before it boots, and what it borrows from the host."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud.machines import DiskAttachment, MachineError, accounts, guest, runtimes
from localcloud.machines.machine import Record, mounts_below
from localcloud.machines.runtimes import Runtime


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    former = os.umask(0o077)
    yield
    os.umask(former)


@pytest.fixture
def upper(tmp_path: Path, narrow_umask: None) -> Path:
    upper = tmp_path / "upper"
    guest.make_directory(upper, upper)
    return upper


def modes(upper: Path) -> set[int]:
    """Permissions of the directories that the guest's users must pass."""
    return {stat.S_IMODE(path.stat().st_mode) for path in (upper, *upper.rglob("*/"))}


def test_a_machine_knows_its_name_and_the_metadata_server(upper: Path) -> None:
    guest.write_identity(upper, "t1v-n-1-w-0", "10.99.0.7", "nameserver 9.9.9.9\n")
    assert (upper / "etc/hostname").read_text() == "t1v-n-1-w-0\n"
    assert (upper / "etc/resolv.conf").read_text() == "nameserver 9.9.9.9\n"
    hosts = [line.split() for line in (upper / "etc/hosts").read_text().splitlines()]
    assert ["10.99.0.7", "t1v-n-1-w-0"] in hosts
    assert ["169.254.169.254", "metadata.google.internal", "metadata"] in hosts


def test_every_machine_has_its_own_id_and_host_keys_for_life(tmp_path: Path) -> None:
    def identity(upper: Path) -> tuple[str, dict[str, str]]:
        guest.write_identity(upper, "h", "10.99.0.7", "")
        return (upper / "etc/machine-id").read_text(), guest.host_keys(upper)

    first, again, second = (identity(tmp_path / name) for name in ("a", "a", "b"))
    assert first == again
    assert set(first[1]) == {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}
    assert first[0] != second[0]
    assert not set(first[1].values()) & set(second[1].values())


def test_users_can_read_the_machine_whatever_the_servers_umask(upper: Path) -> None:
    guest.write_identity(upper, "h", "10.99.0.7", "")
    assert modes(upper) == {0o755}
    assert stat.S_IMODE((upper / "etc/hosts").stat().st_mode) == 0o644


def test_what_the_guest_put_in_a_files_place_is_replaced_not_followed(upper: Path, tmp_path: Path) -> None:
    guest.make_directory(upper, upper / "etc")
    (tmp_path / "host-file").write_text("the host's")
    (upper / "etc/resolv.conf").symlink_to(tmp_path / "host-file")
    guest.write_identity(upper, "h", "10.99.0.7", "nameserver 9.9.9.9\n")
    assert (tmp_path / "host-file").read_text() == "the host's"
    assert not (upper / "etc/resolv.conf").is_symlink()


def test_disks_are_nodes_and_links_from_the_start_of_the_boot(upper: Path) -> None:
    guest.write_disk_nodes(
        upper, {DiskAttachment("a", 1): (7, 3), DiskAttachment("b", 2, read_only=True): (7, 11)}
    )
    assert (upper / guest.DISKS_FILE).read_text().splitlines() == [
        "b /dev/sdb 0660 root disk - 7:3",
        "L+ /dev/disk/by-id/google-persistent-disk-1 - - - - ../../sdb",
        "b /dev/sdc 0440 root disk - 7:11",
        "L+ /dev/disk/by-id/google-persistent-disk-2 - - - - ../../sdc",
    ]


def test_a_bound_python_finds_its_library(upper: Path, tmp_path: Path) -> None:
    image, prefix = tmp_path / "image", tmp_path / "prefix"
    for file in (image / "usr/lib/x86_64-linux-gnu/libc.so.6", prefix / "lib/libpython3.12.so.1.0"):
        file.parent.mkdir(parents=True)
        file.touch()
    guest.seed_runtime(upper, image, Runtime("/opt/python3.12/bin/python3.12", prefix, "/opt/python3.12"))
    link = upper / "usr/lib/x86_64-linux-gnu/libpython3.12.so.1.0"
    assert link.readlink() == Path("/opt/python3.12/lib/libpython3.12.so.1.0")
    assert modes(upper) == {0o755}


def python_image(tmp_path: Path, *versions: str) -> Path:
    for version in versions:
        (tmp_path / "usr/lib" / f"python{version}").mkdir(parents=True)
    (tmp_path / "usr/lib/python3").mkdir()
    return tmp_path


def test_the_images_own_python_is_used_when_it_is_new_enough(tmp_path: Path) -> None:
    assert runtimes.find_runtime(python_image(tmp_path, "3.9", "3.13")) == Runtime("/usr/bin/python3")


def test_else_the_controllers_python_is_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/somewhere/versions/3.12.9")
    name = "python{}.{}".format(*sys.version_info)
    assert runtimes.find_runtime(python_image(tmp_path, "3.11")) == Runtime(
        f"/opt/{name}/bin/{name}", Path("/somewhere/versions/3.12.9"), f"/opt/{name}"
    )


def test_the_distributions_python_cannot_be_lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    with pytest.raises(MachineError, match=r"uv python install 3.12.*LOCALCLOUD_SUITE=trixie"):
        runtimes.find_runtime(python_image(tmp_path, "3.11"))


def test_a_python_that_does_not_run_there_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise MachineError("GLIBC_2.38 not found")

    monkeypatch.setattr(runtimes, "run", fail)
    with pytest.raises(
        MachineError, match=r"Python of /p does not run inside the machines \(GLIBC_2.38 not found\)"
    ):
        runtimes.check_runtime(tmp_path, tmp_path, Runtime("/opt/x/bin/x", Path("/p"), "/opt/x"))


def test_local_wheel_directories_of_pips_settings(tmp_path: Path) -> None:
    plain, spaced = tmp_path / "wheels", tmp_path / "more wheels"
    plain.mkdir()
    spaced.mkdir()
    url = spaced.as_uri()
    settings = f"{plain} https://pages.example/wheels {url} {tmp_path}/missing\n{plain}"
    assert runtimes.wheel_directories(settings) == [plain, spaced]
    assert runtimes.wheel_directories("") == []


@pytest.mark.parametrize(
    ("wheels", "option"),
    [
        (["/w:1"], r"--bind-ro=/w\:1:/usr/local/share/wheels"),
        (["/a", "/b"], "--overlay-ro=/a:/b:/usr/local/share/wheels"),
    ],
)
def test_wheels_appear_in_one_directory(wheels: list[str], option: str) -> None:
    paths = [Path(wheel) for wheel in wheels]
    options = runtimes.bind_options(Runtime("/usr/bin/python3"), paths, Path("/c/uv"), "/var/cache/uv")
    assert option in options
    assert "--bind=/c/uv:/var/cache/uv" in options


def test_overlay_options_escape_what_separates_them(tmp_path: Path) -> None:
    options = runtimes.overlay_options(Path("/cache/a:b"), Path("/state/c,d"))
    assert options == r"lowerdir=/cache/a\:b,upperdir=/state/c\,d/upper,workdir=/state/c\,d/work"


@pytest.mark.parametrize(
    ("texts", "result"),
    [
        (["search lan\nnameserver 192.168.1.1\n"], "search lan\nnameserver 192.168.1.1\n"),
        (["nameserver 127.0.0.53\noptions edns0\n", "nameserver 10.0.0.2\n"], "nameserver 10.0.0.2\n"),
        (["nameserver ::1\nnameserver fe80::1%eth0\n"], "nameserver fe80::1%eth0\n"),
        (["# nothing\n\nnameserver 127.0.0.1\n"], ""),
        ([], ""),
    ],
)
def test_machines_get_name_servers_that_they_can_reach(texts: list[str], result: str) -> None:
    assert runtimes.name_servers({str(index): text for index, text in enumerate(texts)}) == result


@pytest.mark.parametrize(
    ("present", "keys", "result"),
    [
        ("", ["k1", "k2"], f"{accounts.MARK}\nk1\n{accounts.MARK}\nk2\n"),
        (f"own\n{accounts.MARK}\nk1\n", ["k2"], f"own\n{accounts.MARK}\nk2\n"),
        (f"{accounts.MARK}\nk1\nown", [], "own\n"),
    ],
)
def test_keys_of_the_metadata_are_replaced_and_a_users_own_stay(
    present: str, keys: list[str], result: str
) -> None:
    assert accounts.merge_keys(present, keys) == result


def test_a_machines_record_survives(tmp_path: Path) -> None:
    record = Record("vm", "host", 7, wanted=True, disks=(DiskAttachment("d", 1, read_only=True),))
    record.save(tmp_path / "machine.json")
    assert Record.load(tmp_path / "machine.json") == record


def test_mounts_are_found_below_a_directory_inner_ones_first() -> None:
    info = (
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 / /state/a\\040b/root rw - overlay overlay rw\n"
        "3 2 0:6 / /state/a\\040b/root/proc rw - proc proc rw\n"
        "4 1 0:7 / /state/a rw - tmpfs tmpfs rw\n"
    )
    assert mounts_below(info, Path("/state/a b")) == [Path("/state/a b/root/proc"), Path("/state/a b/root")]
