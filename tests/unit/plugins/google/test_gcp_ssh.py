# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading
from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import merge

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


def test_known_hosts_are_added_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "known_hosts"
    assert known_hosts.add(str(path), {"b": "ssh-ed25519 B", "a": "ssh-ed25519 A"}) is True
    assert path.read_text() == "a ssh-ed25519 A\nb ssh-ed25519 B\n"
    assert known_hosts.add(str(path), {"b": "ssh-ed25519 C"}) is True
    assert known_hosts.read(str(path)) == {"a": "ssh-ed25519 A", "b": "ssh-ed25519 C"}
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert sorted(item.name for item in path.parent.iterdir()) == ["known_hosts", "known_hosts.lock"]


def test_known_hosts_that_are_known_already_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    known_hosts.add(str(path), {"a": "ssh-ed25519 A", "b": "ssh-ed25519 B"})
    before = path.stat().st_ino
    assert known_hosts.add(str(path), {"a": "ssh-ed25519 A"}) is False
    assert path.stat().st_ino == before


def test_known_hosts_of_runs_side_by_side_all_arrive(tmp_path: Path) -> None:
    path = str(tmp_path / "known_hosts")
    writers = [
        threading.Thread(target=known_hosts.add, args=(path, {f"host-{number}": "ssh-ed25519 A"}))
        for number in range(20)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(known_hosts.read(path)) == 20
