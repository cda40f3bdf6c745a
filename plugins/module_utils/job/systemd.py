# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The few things that a job needs of systemd (247 or later: credentials)."""

from __future__ import annotations

import subprocess
from typing import Any

# Nothing that needs a mount namespace of its own: jobs write where their inputs say, often beside each
# other's files.
HARDENING = ("NoNewPrivileges=yes", "RestrictSUIDSGID=yes", "LockPersonality=yes")


class SystemdError(Exception):
    """systemd refused; the text is what it said."""


def is_active(unit: str) -> bool:
    """Whether the unit runs, or is on its way to or from running."""
    state = call(["systemctl", "show", "--property=ActiveState", "--value", unit]).strip()
    return state not in ("inactive", "failed", "")


def start(unit: str, properties: list[str], argv: list[str]) -> None:
    """Start a transient service; returns when its program runs and systemd has copied its credentials."""
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--no-ask-password",
        f"--unit={unit}",
        "--service-type=exec",
    ]
    call([*command, *(f"--property={item}" for item in properties), "--", *argv])


def stop(unit: str) -> None:
    """Stop the unit; returns when all its processes are gone."""
    call(["systemctl", "stop", "--no-ask-password", unit])


def unit_properties(
    record: dict[str, Any],
    directory: str,
    records_dir: str,
    python: str,
    secrets: list[str],
    stop_timeout: int,
) -> list[str]:
    """The properties of a job's unit. Secrets appear by the names of their files, never by value."""
    properties = [
        f"Description=tpuops job {record['name']}",
        f"User={record['user']}",
        f"StandardOutput=append:{record['log']}",
        f"StandardError=append:{record['log']}",
        f"RequiresMountsFor={records_dir}",
        "LimitNOFILE=65536",
        "LimitMEMLOCK=infinity",  # the TPU's driver pins host memory
        "TasksMax=infinity",  # JAX starts several threads a core; a TPU VM has hundreds of cores
        "KillMode=mixed",
        f"TimeoutStopSec={stop_timeout}",
        # As root, and not by the prefix "+": systemd 252 writes that to the unit under a name which it does
        # not know when it reads the unit again, so that a daemon-reload would lose the line.
        "PermissionsStartOnly=yes",
        f"ExecStopPost={python} -I {directory}/runner.py finish {directory}",
        f"LoadCredential=tpuops.spec:{directory}/spec.json",
        *(f"LoadCredential={name}:{directory}/secrets/{name}" for name in secrets),
    ]
    if record["chdir"]:
        properties.append(f"WorkingDirectory={record['chdir']}")
    if record["timeout"]:
        properties.append(f"RuntimeMaxSec={record['timeout']}")
    if record["user"] != "root":
        properties.extend(HARDENING)
    return properties


def call(command: list[str]) -> str:
    """Standard output of the command.

    Raises SystemdError when it fails or is not there.
    """
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemdError(f"{command[0]} is not there: a job needs a machine that runs systemd") from error
    if answer.returncode != 0:
        raise SystemdError(
            (answer.stderr or answer.stdout).strip() or f"{command[0]} ended with {answer.returncode}"
        )
    return answer.stdout
