# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it is a program of its own
"""The program inside a job's systemd unit, and the record that it leaves.

The module copies this file to the machine as it is, so it needs nothing but Python 3.9 and its standard
library:

- ``runner.py run`` runs the job's command as the job's user. What to run, and the secrets, come as
  credentials of the unit.
- ``runner.py finish DIRECTORY`` runs as root when the unit has ended, however it ended (``ExecStopPost``). It
  writes the record and removes the job's run directory. What systemd says about the end outweighs what the
  command left.

A record is a JSON object: name, unit, status, fingerprint, argv, environment, inputs, outputs, manifests,
chdir, user, timeout (s), restarts (allowed after a failure), attempts (made), log, progress, disk (see
space.py), stopped (units that made way for it), started and ended (UTC, ISO 8601), seconds, exit_code,
signal, peak_memory_bytes, cpu_seconds, reason, boot_id, machine_id, runs (how often the job ran with this
fingerprint). Its status is one of ``running``, ``finished``, ``failed``, ``timeout``, ``stopped`` and
``interrupted``.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

SPEC_CREDENTIAL = (
    "tpuops.spec"  # a dot cannot be part of an environment variable's name, so no secret is called so
)
STOP_REQUEST = "stop-requested"
OUTCOME_DIRECTORY = "outcome"
OUTCOME_LIMIT = 65536  # the job's user writes it, root reads it
RESERVED_BYTES = 65536
FULL_BYTES = 1 << 20  # what is left on a disk that is called full: programs give up before the last byte
KEPT_LOGS = 8  # of libtpu's, beside what the command writes; TPU_MAX_LOG_SIZE_MB limits each
RESTART_PAUSE = 5.0  # seconds, for whatever holds a port or a chip to let go of it

# Set by systemd for the unit; of no use to the command.
LIBTPU_LOG = re.compile(r"tpu_driver\..+\.log\.[A-Z]+\.[\d.-]+")
UNIT_VARIABLES = ("CREDENTIALS_DIRECTORY", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")


def now() -> str:
    """The time of day in UTC, ISO 8601, to the millisecond."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")


def write_json(path: str, value: Any) -> None:
    """Replace the file with the value's JSON in one step: a crash leaves the old content or the new.

    The file is for its owner alone: a record's argv, environment and inputs may tell what is private.
    """
    following = path + ".next"
    descriptor = os.open(following, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "r+b") as handle:
        os.fchmod(descriptor, 0o600)
        # In place and not O_TRUNC: reserve() may have set blocks aside for a disk that is full by now.
        handle.write(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n")
        handle.truncate()
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(following, path)
    sync_directory(os.path.dirname(path))


def reserve(path: str) -> None:
    """Set blocks aside for the next write_json(path): a job that fills its disk still leaves its record."""
    with open(path + ".next", "wb") as handle:
        os.posix_fallocate(handle.fileno(), 0, RESERVED_BYTES)
        os.fsync(handle.fileno())


def sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def run() -> int:
    """Run the command of the spec; write what only its parent knows to the outcome directory."""
    credentials = os.environ["CREDENTIALS_DIRECTORY"]
    with open(os.path.join(credentials, SPEC_CREDENTIAL), encoding="utf-8") as handle:
        spec = json.load(handle)
    record = spec["record"]
    outcome: dict[str, Any] = {"terminated": False, "reason": None, "attempts": 0}
    outcome_path = os.path.join(spec["directory"], OUTCOME_DIRECTORY, "outcome.json")
    child: subprocess.Popen[bytes] | None = None

    def terminate(number: int, _frame: Any) -> None:
        outcome["terminated"] = True
        write_json(outcome_path, outcome)  # now, because the unit may be killed before the command gives in
        if child is not None:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    variables = child_environment(spec, credentials)
    prune_logs(variables.get("TPU_LOG_DIR", ""))
    while True:
        outcome["attempts"] += 1
        try:
            child = subprocess.Popen(
                record["argv"], env=variables, cwd=record["chdir"] or "/", stdin=subprocess.DEVNULL
            )
        except OSError as error:
            where = record["chdir"] if error.filename == record["chdir"] else record["argv"][0]
            outcome["reason"] = f"cannot run {where}: {error.strerror}"
            print(outcome["reason"], file=sys.stderr)
            status = 127
            break
        if outcome["terminated"]:  # the signal came between the handler and the child
            child.terminate()
        status = child.wait()
        left = record["restarts"] + 1 - outcome["attempts"]
        if status == 0 or outcome["terminated"] or left <= 0:
            break
        print(f"the command ended with {status}; it is started again, {left} times at most", flush=True)
        pause(outcome)
    if status == 0:
        os.sync()  # what is called finished outlives a disk or a machine that fails the moment after
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # two writers of one file would trip over each other
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcome["peak_memory_bytes"] = used.ru_maxrss * 1024
    outcome["cpu_seconds"] = round(used.ru_utime + used.ru_stime, 1)
    write_json(outcome_path, outcome)
    if status < 0:
        die_by(-status)
    return status


def prune_logs(directory: str) -> None:
    """Delete all but the newest logs of libtpu, which never deletes one."""
    with contextlib.suppress(OSError):
        found = [entry for entry in os.scandir(directory or "/nowhere") if LIBTPU_LOG.fullmatch(entry.name)]
        files = [entry for entry in found if entry.is_file(follow_symlinks=False)]
        for entry in sorted(files, key=lambda each: each.stat().st_mtime)[:-KEPT_LOGS]:
            os.unlink(entry.path)


def pause(outcome: dict[str, Any]) -> None:
    """Wait before the next attempt; a signal ends the wait."""
    until = time.monotonic() + RESTART_PAUSE
    while not outcome["terminated"] and time.monotonic() < until:
        time.sleep(0.1)


def child_environment(spec: dict[str, Any], credentials: str) -> dict[str, str]:
    """The unit's own environment, then the job's, then its secrets."""
    environment = {name: value for name, value in os.environ.items() if name not in UNIT_VARIABLES}
    environment.setdefault("PYTHONUNBUFFERED", "1")  # or the log lags behind what is followed
    if not os.access(environment.get("HOME", ""), os.W_OK):  # the sandbox has no home directories
        environment["HOME"] = "/tmp"
    environment.update(spec["record"]["environment"])
    for name in spec["secrets"]:
        with open(os.path.join(credentials, name), encoding="utf-8") as handle:
            environment[name] = handle.read()
    return environment


def die_by(number: int) -> None:
    """End by the signal that ended the command, so that systemd reports it, without a core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def finish(directory: str) -> None:
    """Write the record of the unit that has just ended and remove its run directory."""
    try:
        with open(os.path.join(directory, "spec.json"), encoding="utf-8") as handle:
            spec = json.load(handle)
        outcome = read_outcome(directory)
        record = {**spec["record"], **ending(spec, outcome, directory, os.environ)}
        write_json(spec["record_path"], record)
    finally:
        shutil.rmtree(directory)


def read_outcome(directory: str) -> dict[str, Any]:
    """What run() left; nothing when it was killed first or when the file is not what run() writes."""
    path = os.path.join(directory, OUTCOME_DIRECTORY, "outcome.json")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as handle:
            outcome = json.loads(handle.read(OUTCOME_LIMIT))
    except (OSError, ValueError):
        return {}
    return outcome if isinstance(outcome, dict) else {}


def ending(spec: dict[str, Any], outcome: dict[str, Any], directory: str, environment: Any) -> dict[str, Any]:
    """The fields of the record that tell how the job ended.

    SERVICE_RESULT, EXIT_CODE and EXIT_STATUS come from systemd (systemd.exec(5)).
    """
    record = spec["record"]
    result = environment.get("SERVICE_RESULT", "")
    exited = environment.get("EXIT_CODE") == "exited"
    exit_status = environment.get("EXIT_STATUS", "")
    seconds = round(time.monotonic() - spec["monotonic"], 3)
    exit_code = int(exit_status) if exited and exit_status.isdigit() else None
    signal_name = f"SIG{exit_status}" if not exited and exit_status else None
    reason = outcome.get("reason")
    stop_requested = os.path.exists(os.path.join(directory, STOP_REQUEST))
    if stop_requested:
        status = "stopped"
    elif result == "timeout" and record["timeout"] and seconds >= record["timeout"]:
        status, reason = "timeout", f"it ran longer than {record['timeout']} s"
    elif outcome.get("terminated") or result == "timeout":
        status = "interrupted" if shutting_down() else "stopped"
        reason = "the machine shut down" if status == "interrupted" else reason
    elif exit_code != 0:
        status = "failed"
        if result == "oom-kill":
            reason = "the machine ran out of memory"
        elif not reason and full(record.get("disk")):
            # Its log lies on the same disk, and seldom has got the words.
            reason = os.strerror(errno.ENOSPC)
    else:
        absent = missing(record["outputs"])
        status = "failed" if absent else "finished"
        reason = f"it succeeded without leaving {', '.join(absent)}" if absent else None
    return {
        "status": status,
        "reason": reason if isinstance(reason, str) else None,
        "exit_code": exit_code,
        "signal": signal_name,
        "ended": now(),
        "seconds": seconds,
        "peak_memory_bytes": number(outcome, "peak_memory_bytes"),
        "cpu_seconds": number(outcome, "cpu_seconds"),
        "attempts": number(outcome, "attempts") or 1,
    }


def full(disk: Any) -> bool:
    """Whether next to nothing is left on the disk that a job wrote to, a record's ``disk``."""
    try:
        state = os.statvfs(disk["path"])
    except (TypeError, OSError):  # nobody noted it, or it is gone: the record must be written all the same
        return False
    return state.f_bavail * state.f_frsize < FULL_BYTES


def number(outcome: dict[str, Any], field: str) -> Any:
    """A number of the outcome, which the job's user wrote; None for anything else."""
    value = outcome.get(field)
    return value if isinstance(value, (int, float)) else None


def missing(outputs: list[str]) -> list[str]:
    """The outputs that do not exist."""
    return [path for path in outputs if not os.path.exists(path)]


def shutting_down() -> bool:
    """Whether the machine as a whole goes down, rather than this unit alone."""
    answer = subprocess.run(
        ["systemctl", "is-system-running"], capture_output=True, text=True, check=False
    )  # its exit status is 1 for every answer but "running"
    return answer.stdout.strip() == "stopping"


def main(arguments: list[str]) -> int:
    if arguments == ["run"]:
        return run()
    if len(arguments) == 2 and arguments[0] == "finish":
        finish(arguments[1])
        return 0
    print("usage: runner.py run | finish DIRECTORY", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
