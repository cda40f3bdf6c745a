# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about a job: its definition, its fingerprint, its record, and what to do about it."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts, manifest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import runner, systemd

RECORDS_DIR = "/mnt/disks/checkpoints/.tpuops/jobs"
RUN_DIR = "/run/tpuops"

# Safe in a unit's name, in a file's name and in a command line without any quoting.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
READABLE = 60  # characters of another name that are kept, for people, in what stands for it
# What systemd splits, unquotes and expands in a unit's properties is not among these.
DIRECTORY = re.compile(r"/[A-Za-z0-9/_.,@+-]*")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHORTEST_TELLING_SECRET = 8  # characters; a shorter value may be in a command line by chance

FINGERPRINTED = ("argv", "environment", "inputs")


class JobError(Exception):
    """What a user has to know and to do; the text is the whole error message."""


@dataclass(frozen=True)
class Paths:
    """Where things of one job lie. The record and the log stay, the directory goes when the job ends."""

    name: str
    records_dir: str

    @property
    def key(self) -> str:
        """What stands for the name in paths and in the unit's name: the name itself where that is safe.

        Otherwise a readable part of it and a hash, with a colon between them, which no safe name has, so that
        two names never share a key. systemd's own escaping would do for the unit alone: its backslashes mean
        something else in a command line, and a long name grows past what a file may be called.
        """
        if NAME.fullmatch(self.name):
            return self.name
        readable = re.sub(r"[^A-Za-z0-9_.]+", "-", self.name).strip("-.")[:READABLE]
        return f"{readable or 'job'}:{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"

    @property
    def record(self) -> str:
        return os.path.join(self.records_dir, f"{self.key}.json")

    @property
    def log(self) -> str:
        return os.path.join(self.records_dir, f"{self.key}.log")

    @property
    def directory(self) -> str:
        return os.path.join(RUN_DIR, self.key)

    @property
    def lock(self) -> str:
        return os.path.join(RUN_DIR, f".{self.key}.lock")  # no key begins with a dot

    @property
    def unit(self) -> str:
        return f"tpuops-{self.key}.service"


@dataclass(frozen=True)
class Decision:
    """``action`` is run, attach, skip or refuse; ``reason`` says why, fit for the end of a sentence."""

    action: str
    reason: str


def new(
    paths: Paths,
    argv: list[str],
    environment: dict[str, Any],
    inputs: dict[str, Any],
    *,
    outputs: list[str],
    manifests: dict[str, str] | None = None,
    chdir: str | None = None,
    user: str | None = None,
    timeout: int | None = None,
    progress: dict[str, Any] | None = None,
    restarts: int = 0,
    background: bool = False,
) -> dict[str, Any]:
    """The record of a job that is about to start, as the runner's documentation describes it.

    Without a user it is the one of the jobs. background: it gives way to other programs, and keeps no node.
    """
    variables = {name: str(value) for name, value in environment.items()}
    options = progress or {}
    followed = options.get("file") or paths.log
    return {
        "name": paths.name,
        "unit": paths.unit,
        "status": "running",
        "reason": None,
        "fingerprint": fingerprint(argv, variables, inputs),
        "argv": argv,
        "environment": variables,
        "inputs": inputs,
        "outputs": outputs,
        "manifests": manifests or {},
        "chdir": chdir,
        "user": user or accounts.JOBS_USER,
        "timeout": timeout,
        "restarts": restarts,
        **({"background": True} if background else {}),
        "attempts": 1,
        "log": paths.log,
        "progress": {
            **{name: options[name] for name in ("format", "pattern", "total") if options.get(name)},
            "file": followed,
            "offset": 0 if followed == paths.log else size_of(followed),
        },
        "disk": None,
        "stopped": [],
        "started": runner.now(),
        "ended": None,
        "seconds": None,
        "exit_code": None,
        "signal": None,
        "peak_memory_bytes": None,
        "boot_id": boot_id(),
        "machine_id": machine_id(),
        "runs": 1,
    }


def size_of(path: str) -> int:
    return os.path.getsize(path) if os.path.exists(path) else 0


def check_paths(paths: Paths) -> None:
    """Refuse a name that cannot be shown in a line, and a directory that a unit's property cannot hold."""
    if not paths.name.strip() or not paths.name.isprintable():
        raise JobError(f"name: {paths.name!r} cannot name a job. Use characters that can be printed")
    if not DIRECTORY.fullmatch(paths.records_dir):
        raise JobError(
            f"records_dir: {paths.records_dir!r} is not an absolute path of letters, digits and '_.,@+-'. "
            "Name another directory"
        )


def check_command(
    argv: list[str], environment: dict[str, Any], secrets: dict[str, Any], inputs: dict[str, Any]
) -> None:
    """Refuse names and values that cannot work, and secrets in places that others can read."""
    if not argv or not argv[0]:
        raise JobError("argv: is empty. Give the program and its arguments as a list")
    for option, variables in (("environment", environment), ("secrets", secrets)):
        for name, value in variables.items():
            check_variable(option, name, value)
    twice = sorted(set(environment) & set(secrets))
    if twice:
        raise JobError(f"environment, secrets: {twice[0]} is in both. Keep it in secrets only")
    readable = json.dumps([argv, environment, inputs], ensure_ascii=False)
    for name, value in secrets.items():
        if len(str(value)) >= SHORTEST_TELLING_SECRET and json.dumps(str(value))[1:-1] in readable:
            raise JobError(
                f"secrets: the value of {name} is also part of argv, environment or inputs, "
                f"which anyone on the machine can read. Let the program take it from ${name}"
            )


def check_variable(option: str, name: str, value: Any) -> None:
    if not VARIABLE.fullmatch(name):
        raise JobError(f"{option}: {name!r} cannot name an environment variable")
    if isinstance(value, (bool, dict, list)) or value is None:
        raise JobError(f'{option}: {name} is not a string. Quote the value, as in {name}: "1"')
    if option == "secrets" and str(value) == "":
        raise JobError(f"secrets: {name} is empty. Set it, or leave it out")
    if "\0" in str(value):
        raise JobError(f"{option}: {name} holds a NUL character, which no environment variable can")


def fingerprint(argv: list[str], environment: dict[str, str], inputs: dict[str, Any]) -> str:
    """SHA-256, in hex, of everything the result depends on."""
    canonical = json.dumps([argv, environment, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What changed of argv, environment and inputs, as ``argv``, ``environment.NAME``, ``inputs.NAME``."""
    changed = ["argv"] if before["argv"] != after["argv"] else []
    for field in ("environment", "inputs"):
        names = sorted(set(before[field]) | set(after[field]))
        changed += [f"{field}.{name}" for name in names if before[field].get(name) != after[field].get(name)]
    return changed


def decide(previous: dict[str, Any] | None, wanted: dict[str, Any]) -> Decision:
    """What to do about the wanted job, given its current record (see current())."""
    if previous is None:
        return Decision("run", "it never ran")
    changed = differences(previous, wanted)
    if previous["status"] == "running":
        if changed:
            return Decision("refuse", f"{', '.join(changed)} changed")
        return Decision("attach", "it is running")
    if changed:
        return Decision("run", f"{', '.join(changed)} changed")
    if previous["status"] != "finished":
        return Decision("run", f"its last run is {previous['status']}")
    absent = runner.missing(wanted["outputs"])
    if absent:
        return Decision("run", f"{', '.join(absent)} is missing")
    for path, root in wanted["manifests"].items():
        damage = manifest.problems(path, root, thorough=False)
        if damage:
            return Decision("run", f"its output is damaged ({manifest.sentence(damage)})")
    return Decision("skip", "it finished with the same inputs")


def read(path: str) -> dict[str, Any] | None:
    """The record as it was written, or None where there is none."""
    try:
        with open(path, encoding="utf-8") as handle:
            record = json.load(handle)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise JobError(f"{path}: may not be read by this user. Set become: true") from error
    except ValueError as error:
        raise JobError(
            f"{path}: is not the record of a job ({error}). Move it away to run the job anew"
        ) from error
    if not isinstance(record, dict) or "status" not in record:
        raise JobError(f"{path}: is not the record of a job. Move it away to run the job anew")
    return record


def current(path: str) -> dict[str, Any] | None:
    """The record; ``interrupted`` where it says ``running`` and the machine knows nothing of that."""
    record = read(path)
    if record is None or record["status"] != "running":
        return record
    if record["boot_id"] != boot_id():
        return interrupted(record, "the machine restarted or was replaced while it ran")
    if systemd.is_active(record["unit"]):
        return record
    record = read(path)  # it may have ended between the two looks
    if record is None or record["status"] != "running":
        return record
    return interrupted(record, "its unit ended without leaving a result")


def interrupted(record: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**record, "status": "interrupted", "reason": reason}


def boot_id() -> str:
    return read_line("/proc/sys/kernel/random/boot_id")


def machine_id() -> str:
    return read_line("/etc/machine-id")


def read_line(path: str) -> str:
    with open(path, encoding="ascii") as handle:
        return handle.read().strip()
