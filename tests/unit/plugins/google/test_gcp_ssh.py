# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import merge

from tests.keys import encoded, public_key

MINE = {"user": "tpu", "key": "ssh-ed25519 AAAAmine me@laptop with words\n"}
LINE = "tpu:ssh-ed25519 AAAAmine tpu"


def test_keys_become_the_lines_that_gcloud_writes() -> None:
    assert merge("", [MINE, {"user": "a_b-1", "key": "ecdsa-sha2-nistp256 BBBB="}]).splitlines() == [
        LINE,
        "a_b-1:ecdsa-sha2-nistp256 BBBB= a_b-1",
    ]


def test_the_lines_of_others_stay_as_they_are() -> None:
    others = "root:ssh-rsa CCCC x\n\n  odd line without meaning\n"
    assert merge(others, [MINE]) == f"root:ssh-rsa CCCC x\n  odd line without meaning\n{LINE}"


@pytest.mark.parametrize(
    "present", [LINE, "tpu:ssh-ed25519 AAAAmine another comment", f"{LINE}\nx:ssh-rsa C"]
)
def test_a_key_that_is_there_is_not_added_again(present: str) -> None:
    assert merge(present, [MINE, MINE]) == present


def test_the_same_key_of_another_user_is_another_line() -> None:
    assert merge("other:ssh-ed25519 AAAAmine", [MINE]).splitlines()[1] == LINE


@pytest.mark.parametrize(
    "key",
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nvery secret", "AAAA", "ssh-ed25519", "ssh-ed25519 AA\nroot:x y"],
)
def test_what_is_no_public_key_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Give the content of the .pub file") as refusal:
        merge("", [{"user": "tpu", "key": key}])
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("user", ["", "Tpu", "a b", "a:b", "a\nb", "1a"])
def test_what_is_no_user_is_refused(user: str) -> None:
    with pytest.raises(InvalidArgument, match="is no user name"):
        merge("", [{"user": user, "key": MINE["key"]}])


def test_a_line_of_others_is_no_two_lines() -> None:
    """Python ends lines at more characters than Google does."""
    odd = "her:ssh-rsa CCCC x\x0broot:ssh-ed25519 DDDD y\u2028root:ssh-ed25519 EEEE z"
    assert merge(odd, [MINE]).split("\n") == [odd, LINE]


A, B, C = (f"ssh-ed25519 {public_key(word)}" for word in "ABC")


def test_host_keys_of_ssh_keygen_are_host_keys(tmp_path: Path) -> None:
    for kind, bits in (("ed25519", 256), ("ecdsa", 256), ("ecdsa", 384), ("ecdsa", 521), ("rsa", 2048)):
        file = tmp_path / f"{kind}-{bits}"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-b", str(bits), "-N", "", "-f", file], check=True, timeout=60
        )
        name, key, *_comment = file.with_suffix(".pub").read_text().split()
        assert known_hosts.host_key(name, key) == f"{name} {key}"


GOOD = public_key("A")


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("ssh-ed25519", ""),
        ("ssh-ed25519", 7),
        ("ssh-ed25519", f"{GOOD}\n@cert-authority * ssh-ed25519 {GOOD}"),
        ("ssh-ed25519", f"{GOOD}\n"),
        ("ssh-ed25519", f"{GOOD} comment"),
        ("ssh-ed25519", f" {GOOD}"),
        ("ssh-ed25519", f"{GOOD}\x00"),
        ("ssh-ed25519", f"{GOOD[:8]}\u2028{GOOD[8:]}"),
        ("ssh-ed25519", "not base64 at all"),
        ("ssh-ed25519", GOOD[:-4]),  # cut off
        ("ssh-ed25519", encoded(b"ssh-ed25519", b"x" * 32, b"more")),
        ("ssh-ed25519", encoded(b"ssh-ed25519", b"x" * 31)),
        ("ssh-ed25519", encoded(b"ssh-rsa", b"x" * 32)),  # of another type
        ("ssh-rsa", encoded(b"ssh-rsa", b"\x01\x00\x01")),
        ("ecdsa-sha2-nistp256", encoded(b"ecdsa-sha2-nistp256", b"nistp384", b"x" * 65)),
        ("ssh-dss", encoded(b"ssh-dss", b"p", b"q", b"g", b"y")),
        ("ssh-ed25519-cert-v01@openssh.com", GOOD),
        ("@cert-authority", GOOD),
    ],
)
def test_what_is_no_host_key_is_none(kind: str, key: Any) -> None:
    assert known_hosts.host_key(kind, key) == ""


def test_known_hosts_are_added_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    assert known_hosts.add(str(path), {"tpu.b": B, "tpu.a": A}) is True
    assert path.read_text() == f"tpu.a {A}\ntpu.b {B}\n"
    assert known_hosts.add(str(path), {"tpu.b": C}) is True
    assert known_hosts.read(str(path)) == {"tpu.a": A, "tpu.b": C}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert sorted(item.name for item in path.parent.iterdir()) == ["known_hosts", "known_hosts.lock"]


def test_known_hosts_that_are_known_already_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    known_hosts.add(str(path), {"tpu.a": A, "tpu.b": B})
    before = path.stat().st_ino
    assert known_hosts.add(str(path), {"tpu.a": A}) is False
    assert path.stat().st_ino == before


def test_a_second_line_of_a_host_is_deleted(tmp_path: Path) -> None:
    """SSH would trust both keys. The last line is the one that counts here."""
    path = tmp_path / "known_hosts"
    path.write_text(f"tpu.a {A}\n\n# kept by nobody\ntpu.a {B}\n")
    assert known_hosts.add(str(path), {"tpu.a": B}) is True
    assert path.read_text() == f"tpu.a {B}\n"


@pytest.mark.parametrize(
    "alias",
    [
        "*",
        "a,b",
        "a b",
        "@revoked",
        "tpu.a\nb",
        "#a",
        "",
        "!a",
        "|1|x|y",
        "[a]:22",
        "-a",
        "tpu.*",
        "tpu.a,b",
        "tpu.a -oX",
        "github.com",
    ],
)
def test_an_alias_that_means_more_to_ssh_than_one_host_is_refused(tmp_path: Path, alias: str) -> None:
    path = tmp_path / "known_hosts"
    with pytest.raises(InvalidArgument, match="is no name of a host key"):
        known_hosts.add(str(path), {alias: A})
    assert not path.exists()


@pytest.mark.parametrize("key", ["ssh-ed25519", "ssh-ed25519 AAAA", f"{A}\n@cert-authority * {B}", f"{A} x"])
def test_a_key_that_is_none_is_never_written(tmp_path: Path, key: str) -> None:
    path = tmp_path / "known_hosts"
    with pytest.raises(InvalidArgument, match=r"The host key of tpu\.a is not valid"):
        known_hosts.add(str(path), {"tpu.a": key})
    assert not path.exists()


@pytest.mark.parametrize(
    "line",
    [
        f"@cert-authority * {B}".encode(),
        f"* {B}".encode(),
        f"@revoked a {B}".encode(),
        b"|1|c2FsdA==|aGFzaA== ssh-ed25519 AAAA",
        f"github.com {B}".encode(),
        f"tpu.* {B}".encode(),
        f"tpu.a,b {B}".encode(),
        f"!tpu.a {B}".encode(),
        b"lonely",
        b"\xff\xfe\x00a",
        "a\u00e9 ssh-ed25519 AAAA".encode(),
    ],
)
def test_a_file_with_lines_that_are_not_ours_is_refused_and_left(tmp_path: Path, line: bytes) -> None:
    """Such a line may let another machine in, or belong to a person: neither is ours to delete."""
    path = tmp_path / "known_hosts"
    content = f"tpu.a {A}\n".encode() + line + b"\n"
    path.write_bytes(content)
    for attempt in (lambda: known_hosts.read(str(path)), lambda: known_hosts.add(str(path), {"tpu.a": A})):
        with pytest.raises(InvalidArgument) as refusal:
            attempt()
        assert f"known_hosts_file: line 2 of {path} is not a host key of a TPU VM" in str(refusal.value)
        assert "Delete the file" in str(refusal.value)
        assert "AAAA" not in str(refusal.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize("rest", ["ssh-ed25519 AAAA", "ssh-ed25519", "", f"{A} comment"])
def test_a_key_of_ours_that_is_none_is_deleted(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"tpu.b {rest}\n")
    assert known_hosts.read(str(path)) == {}
    assert known_hosts.add(str(path), {"tpu.a": A}) is True
    assert path.read_text() == f"tpu.a {A}\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_home_that_is_full_or_closed_is_told_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "known_hosts"
    known_hosts.add(str(path), {"tpu.a": A})

    def replace(*_paths: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(InvalidArgument) as refusal:
        known_hosts.add(str(path), {"tpu.a": B})
    assert f"known_hosts_file: {path} cannot be written: {os.strerror(number)}" in str(refusal.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["known_hosts", "known_hosts.lock"]
    assert path.read_text() == f"tpu.a {A}\n"


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.mkdir()
    with pytest.raises(InvalidArgument, match=f"known_hosts_file: {path} cannot be read: Is a directory"):
        known_hosts.read(str(path))


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "known_hosts"
    with pytest.raises(InvalidArgument, match=f"known_hosts_file: {path} cannot be .*: Not a directory"):
        known_hosts.add(str(path), {"tpu.a": A})


def test_known_hosts_of_runs_side_by_side_all_arrive(tmp_path: Path) -> None:
    path = str(tmp_path / "known_hosts")
    writers = [
        threading.Thread(target=known_hosts.add, args=(path, {f"tpu.{number}-0": A})) for number in range(20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(known_hosts.read(path)) == 20
