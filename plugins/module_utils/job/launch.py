# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start and stop a job's unit, one controller at a time."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import pwd
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import records, runner, space, systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError, Paths

STOP_TIMEOUT = 60  # seconds between SIGTERM and SIGKILL
START_LOCK = ".start.lock"
GROUP_FILE = "group"  # in the run directory: the group that the job has for itself
UNIT_GONE_WITHIN = 10.0  # seconds from the record's last word to the end of its unit
LET_GO_WITHIN = STOP_TIMEOUT + UNIT_GONE_WITHIN  # seconds that a unit which is stopping is waited for
LOOK_EVERY = 0.5  # seconds between two looks at it


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold a lock: between the look at a job and its start no other controller may start it."""
    os.makedirs(records.RUN_DIR, mode=0o755, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # others could hold it, too
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_records_dir(path: str) -> None:
    """Create the directory; never its disk.

    The two levels above must be there already: the default lies on the data disk, and when that is not
    mounted the records would silently land on the boot disk.
    """
    base = os.path.dirname(os.path.dirname(path.rstrip("/")))
    if not os.path.isdir(base):
        raise JobError(
            f"records_dir: {path}: there is no {base}. Mount the data disk, or name another directory"
        )
    os.makedirs(path, mode=0o755, exist_ok=True)


def run(
    paths: Paths,
    wanted: dict[str, Any],
    previous: dict[str, Any] | None,
    secrets: Mapping[str, str],
    *,
    stop_timeout: int = STOP_TIMEOUT,
    files: Mapping[str, str] | None = None,
    disk_space: Mapping[str, Any] | None = None,
    conflicts: list[str] | None = None,
    stops: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run the job; returns its record. The caller holds the lock and has decided that the job has to run.

    ``files`` (name to text) are put into the job's run directory for its command to read. The job is refused
    beside running units of ``conflicts`` (patterns), waits for those that are stopping, and is refused on a
    disk without the ``disk_space`` (see space.py).
    """
    make_records_dir(paths.records_dir)
    again = previous is not None and previous["fingerprint"] == wanted["fingerprint"]
    disk = space.check(paths, disk_space or {})
    record = {**wanted, "disk": disk, "runs": previous["runs"] + 1 if previous and again else 1}
    with locked(os.path.join(records.RUN_DIR, START_LOCK)):  # of two that exclude each other, one starts
        record["stopped"] = stop_own(stops or {})
        check_conflicts(paths, conflicts or [])
        start(paths, record, secrets, stop_timeout, files or {})
    return record


def stop_own(stops: Mapping[str, str]) -> list[str]:
    """Stop the units that run and have this line in their file; their names."""
    own = [unit for unit, line in stops.items() if systemd.is_active(unit) and systemd.has_line(unit, line)]
    for unit in own:
        systemd.stop(unit)
    return own


def check_conflicts(paths: Paths, patterns: list[str]) -> None:
    """Refuse beside units that run; wait for those that are stopping, which hold the chips to their end."""
    deadline = time.monotonic() + LET_GO_WITHIN
    while running := others(paths, patterns):
        if set(running.values()) != {"deactivating"} or time.monotonic() > deadline:
            raise JobError(
                f"job {paths.name} cannot run beside {', '.join(running)}. Wait until that has ended, or "
                f"stop it first: sudo systemctl stop {' '.join(running)}"
            )
        time.sleep(LOOK_EVERY)


def others(paths: Paths, patterns: list[str]) -> dict[str, str]:
    """The states of the units of these patterns that run, this job's own left out."""
    states = systemd.active(patterns) if patterns else {}
    return {unit: state for unit, state in states.items() if unit != paths.unit}


def refuse(paths: Paths, reason: str) -> JobError:
    """The error for a job that runs with other inputs than are wanted now."""
    return JobError(
        f"job {paths.name} is running and {reason}. Wait until it has ended, or stop it first "
        f"(state: stopped, or sudo systemctl stop {paths.unit})"
    )


def start(
    paths: Paths,
    record: dict[str, Any],
    secrets: Mapping[str, str],
    stop_timeout: int,
    files: Mapping[str, str],
) -> None:
    """Write the record and start the unit."""
    wait_until_gone(paths)
    user = account(record["user"])
    check_chdir(record["chdir"], record["user"])
    group = own_group(paths, record["user"])
    if group:
        files = {**files, GROUP_FILE: group}
    make_log(paths.log, user)
    try:
        write_run_directory(paths, record, secrets, files, user)
        runner.write_json(paths.record, record)
        runner.reserve(paths.record)
    except OSError:  # a full disk, and no unit that would remove the secrets
        shutil.rmtree(paths.directory, ignore_errors=True)
        raise
    properties = systemd.unit_properties(
        record,
        paths.directory,
        paths.records_dir,
        sys.executable,
        sorted(secrets),
        stop_timeout,
        user,
        group,
    )
    try:
        systemd.start(paths.unit, properties, [sys.executable, "-I", f"{paths.directory}/runner.py", "run"])
    except systemd.SystemdError as error:
        shutil.rmtree(paths.directory, ignore_errors=True)
        reason = f"systemd did not start it: {error}"
        runner.write_json(
            paths.record, {**record, "status": "failed", "reason": reason, "ended": runner.now()}
        )
        if isinstance(error, systemd.SystemdSilent):
            raise
        raise JobError(f"job {paths.name}: {reason}") from error
    # systemd has its own copies, in memory that only the unit can read.
    shutil.rmtree(os.path.join(paths.directory, "secrets"), ignore_errors=True)


def stop(paths: Paths) -> bool:
    """Stop the job; whether there was anything to stop."""
    if not systemd.is_active(paths.unit):
        return False
    if os.path.isdir(paths.directory):
        with open(os.path.join(paths.directory, runner.STOP_REQUEST), "w", encoding="ascii"):
            pass
    systemd.stop(paths.unit)
    return True


def wait_until_gone(paths: Paths) -> None:
    """Wait for a unit that has written its record and is about to end.

    Raises JobError for one that stays: it belongs to a job whose record lies elsewhere.
    """
    deadline = time.monotonic() + UNIT_GONE_WITHIN
    while systemd.is_active(paths.unit):
        if time.monotonic() > deadline:
            raise JobError(
                f"job {paths.name}: {paths.unit} runs, but its record is not {paths.record}. "
                f"Name the records_dir it was started with, or stop it with: sudo systemctl stop {paths.unit}"
            )
        time.sleep(0.1)


def account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise JobError(
            f"user: there is no user {user} on this machine. "
            + (
                "The role data_disk creates it: ansible-playbook site.yml --tags data_disk"
                if user == accounts.JOBS_USER
                else "Create it, or name another one"
            )
        ) from error


def own_group(paths: Paths, user: str) -> str | None:
    """A group for this job alone, which its run directory has to name. The caller holds the start lock.

    Only for the user that all stages share: the next job with that group may read what it was let into.
    """
    if user != accounts.JOBS_USER:
        return None
    taken = []
    for path in glob.glob(os.path.join(records.RUN_DIR, "*", GROUP_FILE)):
        with suppress(FileNotFoundError), open(path, encoding="ascii") as handle:  # it may end meanwhile
            taken.append(handle.read())
    try:
        return accounts.job_group(taken)
    except accounts.AccountError as error:
        raise JobError(f"job {paths.name}: {error}") from error


def check_chdir(path: str | None, user: str) -> None:
    if path and not os.path.isdir(path):
        raise JobError(f"chdir: {path} is not a directory. Create it first")
    if path and user != "root" and systemd.out_of_reach(path):
        raise JobError(
            f"chdir: {path} is out of reach of jobs, as are all home directories. Name another directory"
        )


def make_log(path: str, user: pwd.struct_passwd) -> None:
    """An empty log that root writes and the job's user may read; that of the run before stays beside it."""
    if os.path.exists(path):
        os.replace(path, path + ".1")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.fchown(descriptor, 0, user.pw_gid)
    os.fchmod(descriptor, 0o640)
    os.close(descriptor)


def write_run_directory(
    paths: Paths,
    record: dict[str, Any],
    secrets: Mapping[str, str],
    files: Mapping[str, str],
    user: pwd.struct_passwd,
) -> None:
    """What the unit needs, in memory (/run is a tmpfs); the spec and the secrets for root alone."""
    shutil.rmtree(paths.directory, ignore_errors=True)
    make_directory(paths.directory, 0o711)
    outcome = os.path.join(paths.directory, runner.OUTCOME_DIRECTORY)
    make_directory(outcome, 0o700)
    os.chown(outcome, user.pw_uid, user.pw_gid)
    spec = {
        "record": record,
        "record_path": paths.record,
        "directory": paths.directory,
        "monotonic": time.monotonic(),
        "secrets": sorted(secrets),
    }
    write_file(os.path.join(paths.directory, "runner.py"), source_of(runner), 0o644)
    for name, text in files.items():
        write_file(os.path.join(paths.directory, name), text, 0o644)
    write_file(os.path.join(paths.directory, "spec.json"), json.dumps(spec), 0o600)
    make_directory(os.path.join(paths.directory, "secrets"), 0o700)
    for name, value in secrets.items():
        write_file(os.path.join(paths.directory, "secrets", name), value, 0o600)


def make_directory(path: str, mode: int) -> None:
    os.mkdir(path, mode)
    os.chmod(path, mode)  # whatever the umask is


def write_file(path: str, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        os.fchmod(descriptor, mode)
        handle.write(text)


def source_of(module: ModuleType) -> str:
    """The text of a Python module, from its file or from the archive in which Ansible sends what it needs."""
    loader = getattr(module, "__loader__", None)
    source = loader.get_source(module.__name__) if loader is not None else None
    if not source:
        raise JobError(f"the source of {module.__name__} did not travel with the module")
    return source.decode() if isinstance(source, bytes) else str(source)  # Ansible's loader gives bytes
