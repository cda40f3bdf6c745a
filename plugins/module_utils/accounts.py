# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it needs no module, and run_command is a module's
"""The accounts of a machine that the jobs and vLLM's server run as.

Their numbers are the same on each machine, so that the files on a data disk have the same owner on the next
one. They lie where neither Debian nor systemd allots numbers: above the users (60000) and systemd's
containers (60577), below systemd's dynamic users (61184).
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import grp
import os
import pwd
import stat
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

LOCK = "/run/tpuops-accounts.lock"
JOBS_USER = "tpuops"
JOB_GROUP_IDS = range(60810, 60874)  # one for each job that runs at the same time
NOLOGIN = "/usr/sbin/nologin"
EXPIRED = "1970-01-02"
SHADOW = "/etc/shadow"
HOME_MODE = 0o700


class AccountError(Exception):
    """An account cannot be as it should be; the text says why, and what to do."""


@dataclass(frozen=True)
class Account:
    """A user, with a group of the same name and number."""

    name: str
    number: int
    home: str

    def steps(self) -> list[list[str]]:
        """The commands that are missing until it is there.

        Raises AccountError where its name or its number belongs to something else.
        """
        steps = []
        group = check("group", self, gid_of(self.name), group_of(self.number))
        if not group:
            steps.append(["groupadd", "--gid", str(self.number), self.name])
        user = check("user", self, uid_of(self.name), user_of(self.number))
        if not user:
            numbers = [f"--uid={self.number}", f"--gid={self.number}"]
            home = ["--no-create-home", f"--home-dir={self.home}", f"--shell={NOLOGIN}"]
            steps.append(["useradd", "--system", *numbers, *home, self.name])
        if not has_expired(self.name):
            # Or else sshd takes a key that a job has put into its home, and forwards ports for it. With
            # --system, useradd sets no date.
            steps.append(["usermod", f"--expiredate={EXPIRED}", self.name])
        return steps

    def needs_home(self) -> bool:
        """Whether its home is missing, or somebody else's."""
        try:
            found = os.lstat(self.home)
        except FileNotFoundError:
            return True
        if not stat.S_ISDIR(found.st_mode):
            raise AccountError(f"{self.home} is not a directory. Move it away; it is the home of {self.name}")
        return (found.st_uid, stat.S_IMODE(found.st_mode)) != (self.number, HOME_MODE)

    def make_home(self) -> None:
        os.makedirs(os.path.dirname(self.home), exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(self.home, HOME_MODE)
        os.chown(self.home, self.number, self.number)
        os.chmod(self.home, HOME_MODE)


def check(kind: str, account: Account, number: int | None, name: str | None) -> bool:
    """Whether the user or group is there already."""
    if number not in (None, account.number):
        raise AccountError(
            f"the {kind} {account.name} has the number {number} on this machine, not {account.number}. "
            f"Delete it (sudo {kind}del {account.name}); its files on the data disk are taken over"
        )
    if name not in (None, account.name):
        raise AccountError(
            f"the number {account.number} belongs to the {kind} {name} on this machine, not to "
            f"{account.name}. Give {name} another one (sudo {kind}mod --{kind[0]}id NUMBER {name})"
        )
    return number is not None


def has_expired(name: str) -> bool:
    """Whether the account has expired on the day that it is given here (shadow(5))."""
    with open(SHADOW, encoding="utf-8") as handle:
        fields = [line.rstrip("\n").split(":") for line in handle]
    return [name, "1"] in [[line[0], line[7]] for line in fields if len(line) > 7]


def uid_of(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def gid_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def user_of(number: int) -> str | None:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return None


def group_of(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one process of this machine at a time: useradd takes a number that another is just taking."""
    with open(LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def call(command: list[str]) -> None:
    """Run a command. Raises AccountError when it fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise AccountError(f"{command[0]} is not there. Install the package passwd") from error
    if answer.returncode != 0:
        raise AccountError(f"{command[0]} failed: {answer.stderr.strip()}")


def job_group(taken: Iterable[str]) -> str:
    """The name of a group that no running job has, created where it is missing.

    taken: the groups of the jobs that run. Call it as root, from one process at a time.
    """
    used = set(taken)
    for count, number in enumerate(JOB_GROUP_IDS, start=1):
        name = f"{JOBS_USER}-job-{count}"
        known, owner = gid_of(name), group_of(number)
        if name in used or known not in (None, number) or owner not in (None, name):
            continue
        if known is None:
            call(["groupadd", "--gid", str(number), name])
        return name
    raise AccountError(f"{len(JOB_GROUP_IDS)} jobs run on this machine. Wait until one has ended")


@dataclass(frozen=True)
class Device:
    """A device file, and whom its mode lets in."""

    path: str
    group: int
    mode: int

    @property
    def for_group(self) -> bool:
        """Whether its group may use it and others may not."""
        return self.mode & 0o060 == 0o060 and not self.for_all and self.group != 0

    @property
    def for_all(self) -> bool:
        return self.mode & 0o006 == 0o006


def devices(patterns: Iterable[str]) -> list[Device]:
    """The device files of these names (shell patterns)."""
    found = []
    for path in sorted(path for pattern in patterns for path in glob.glob(pattern)):
        state = os.stat(path)
        if stat.S_ISCHR(state.st_mode):
            found.append(Device(path, state.st_gid, stat.S_IMODE(state.st_mode)))
    return found


def device_groups(found: Iterable[Device]) -> list[str]:
    """The groups that a user of the devices has to be in."""
    names = {group_of(device.group) for device in found if device.for_group}
    return sorted(name for name in names if name)


def closed(found: Iterable[Device]) -> list[str]:
    """The devices that root alone may use."""
    return [device.path for device in found if not device.for_all and not device.for_group]


def members(group: str) -> list[str]:
    return grp.getgrnam(group).gr_mem
