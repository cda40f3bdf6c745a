# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of the jobs, on a machine whose accounts are a table."""

from __future__ import annotations

import fcntl
import grp
import json
import os
import pwd
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.accounts import Device
from ansible_collections.tpuops.maxtext.plugins.modules import system_users

from localcloud.machines import machine

ROLES = Path(__file__).resolve().parents[4] / "roles"
DEFAULTS = yaml.safe_load((ROLES / "data_disk/defaults/main.yml").read_text())["data_disk_users"]


class Accounts:
    """The accounts of a machine, and what groupadd, useradd and usermod make of them."""

    def __init__(self, shadow: Path) -> None:
        self.shadow = shadow
        self.users: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.members: dict[str, list[str]] = {}
        self.calls: list[list[str]] = []

    def user(self, found: list[str]) -> SimpleNamespace:
        if not found:
            raise KeyError
        (name,) = found
        return SimpleNamespace(pw_name=name, pw_uid=self.users[name])

    def group(self, found: list[str]) -> SimpleNamespace:
        if not found:
            raise KeyError
        (name,) = found
        number, members = self.groups[name], self.members.get(name, [])
        return SimpleNamespace(gr_name=name, gr_gid=number, gr_mem=members)

    def call(self, command: list[str]) -> None:
        self.calls.append(command)
        if command[0] == "groupadd":
            self.groups[command[-1]] = int(command[2])
        elif command[0] == "useradd":
            self.users[command[-1]] = int(command[2].removeprefix("--uid="))
        elif command[1].startswith("--expiredate"):
            self.shadow.write_text(f"root:*:19000:0:99999:7:::\n{command[-1]}:!:20786:::::1:\n")
        else:
            self.members.setdefault(command[2].removeprefix("--groups="), []).append(command[-1])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Accounts:
    known = Accounts(tmp_path / "shadow")
    known.shadow.write_text("root:*:19000:0:99999:7:::\ntpuops:!:20786::::::\n")
    monkeypatch.setattr(accounts, "SHADOW", str(known.shadow))
    by_name, by_number = known.users, known.groups
    monkeypatch.setattr(pwd, "getpwnam", lambda name: known.user([n for n in by_name if n == name]))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: known.user([n for n, i in by_name.items() if i == uid]))
    monkeypatch.setattr(grp, "getgrnam", lambda name: known.group([n for n in by_number if n == name]))
    monkeypatch.setattr(
        grp, "getgrgid", lambda gid: known.group([n for n, i in by_number.items() if i == gid])
    )
    monkeypatch.setattr(accounts, "call", known.call)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return known


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "lib" / "tpuops"


def run(home: Path, capsys: pytest.CaptureFixture[str], check: bool = False, **more: Any) -> dict[str, Any]:
    users = [{"name": "tpuops", "number": 60801, "home": str(home)}]
    with (
        patch_module_args({"users": users, **more, "_ansible_check_mode": check}),
        pytest.raises(SystemExit),
    ):
        system_users.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_user_that_nobody_can_log_in_as(
    known: Accounts, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foretold = run(home, capsys, check=True)
    assert (foretold["created"], known.calls, home.exists()) == (["tpuops"], [], False)
    assert run(home, capsys)["created"] == ["tpuops"]
    assert (known.users, known.groups) == ({"tpuops": 60801}, {"tpuops": 60801})
    assert "--shell=/usr/sbin/nologin" in known.calls[1]
    assert known.calls[2] == ["usermod", "--expiredate=1970-01-02", "tpuops"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_another_run_changes_nothing(known: Accounts, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known.users["tpuops"] = known.groups["tpuops"] = 60801
    known.call(["usermod", "--expiredate=1970-01-02", "tpuops"])
    known.calls.clear()
    home.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        os.lchown(home, 60801, 60801)
        assert run(home, capsys)["changed"] is False
    home.chmod(0o755)  # open to all
    assert run(home, capsys)["changed"] is True
    assert known.calls == []


@pytest.mark.parametrize(
    ("users", "groups", "message"),
    [
        (
            {"tpuops": 999},
            {},
            "the user tpuops has the number 999 on this machine, not 60801. Delete it (sudo userdel",
        ),
        (
            {},
            {"tpuops": 999},
            "the group tpuops has the number 999 on this machine, not 60801. Delete it (sudo groupdel",
        ),
        (
            {"her": 60801},
            {},
            "the number 60801 belongs to the user her on this machine, not to tpuops. Give her another",
        ),
        ({}, {"them": 60801}, "the number 60801 belongs to the group them on this machine"),
    ],
)
def test_a_name_or_a_number_that_is_taken_is_refused(
    known: Accounts,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    users: dict[str, int],
    groups: dict[str, int],
    message: str,
) -> None:
    known.users.update(users)
    known.groups.update(groups)
    assert message in run(home, capsys)["msg"]
    assert known.calls == []


def test_a_link_in_the_place_of_the_home_is_refused(
    known: Accounts, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.mkdir()
    home.symlink_to("/etc")
    assert f"{home} is not a directory" in run(home, capsys)["msg"]


CHIPS = [
    Device("/dev/vfio/0", 44, 0o660),
    Device("/dev/vfio/1", 44, 0o660),
    Device("/dev/vfio/vfio", 0, 0o666),
]


def test_the_users_get_into_the_group_of_the_chips(
    known: Accounts, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known.groups["video"] = 44
    monkeypatch.setattr(accounts, "devices", lambda _: CHIPS)
    assert run(home, capsys, devices=["/dev/vfio/*"])["created"] == ["tpuops"]
    assert known.calls[-1] == ["usermod", "--append", "--groups=video", "tpuops"]
    calls = len(known.calls)
    run(home, capsys, devices=["/dev/vfio/*"])
    assert len(known.calls) == calls


def test_chips_that_only_root_may_use_are_named(
    known: Accounts, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, warning: said.append(warning))
    closed = [Device("/dev/vfio/0", 0, 0o600), Device("/dev/vfio/1", 0, 0o660)]
    monkeypatch.setattr(accounts, "devices", lambda _: [*closed, *CHIPS[2:]])
    run(home, capsys, devices=["/dev/vfio/*"])
    assert "only root may use /dev/vfio/0, /dev/vfio/1. A job that needs it fails." in said[0]


def test_only_devices_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert accounts.devices([str(tmp_path / "*"), "/dev/nul?"]) == [Device("/dev/null", 0, 0o666)]


def test_a_group_for_each_job_that_runs(known: Accounts) -> None:
    assert accounts.job_group([]) == "tpuops-job-1"
    assert accounts.job_group([]) == "tpuops-job-1"
    known.groups["them"] = 60811  # somebody else's
    assert accounts.job_group(["tpuops-job-1"]) == "tpuops-job-3"
    assert known.groups == {"tpuops-job-1": 60810, "them": 60811, "tpuops-job-3": 60812}
    every = [f"tpuops-job-{number}" for number in range(1, 65)]
    with pytest.raises(accounts.AccountError, match=r"64 jobs run on this machine\. Wait"):
        accounts.job_group(every)


def test_the_numbers_are_the_same_everywhere_and_nobody_elses() -> None:
    numbers = {user["name"]: user["number"] for user in DEFAULTS}
    common = yaml.safe_load((ROLES / "common/defaults/main.yml").read_text())
    assert list(numbers) == [common["common_user"], common["common_serve_user"]]
    assert (common["common_user"], numbers["tpuops"]) == (accounts.JOBS_USER, machine.JOBS_USER)
    every = [*numbers.values(), *accounts.JOB_GROUP_IDS]
    assert len(every) == len(set(every))
    # Unused by systemd (60706 to 61183, UIDS-GIDS.md) and not among those that useradd takes (to 60000).
    assert all(60706 <= number <= 61183 for number in every)
    assert not {
        name for name, number in _of_this_machine() if number in every and not name.startswith("tpuops")
    }


def _of_this_machine() -> list[tuple[str, int]]:
    users = [(user.pw_name, user.pw_uid) for user in pwd.getpwall()]
    return users + [(group.gr_name, group.gr_gid) for group in grp.getgrall()]


def test_two_controllers_create_them_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would find the number free, and useradd would refuse the second one."""
    monkeypatch.setattr(accounts, "LOCK", str(tmp_path / "lock"))
    with accounts.alone(), (tmp_path / "lock").open("w") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with accounts.alone():
        pass
