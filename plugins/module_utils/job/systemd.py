# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it needs no module, and run_command is a module's
"""The few things that a job needs of systemd (247 or later: credentials)."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
from typing import Any

# What a job of an unprivileged user never needs. It keeps every directory that it may write to anyway, except
# the homes of those who log in. PrivateDevices, ProtectClock and DeviceAllow would take the chips away
# (/dev/vfio, /dev/accel*), and MemoryDenyWriteExecute the compilers.
SANDBOX = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=full",
    "ProtectHome=yes",
    "ProtectProc=invisible",
    "PrivateTmp=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "RestrictSUIDSGID=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
)
# What gives way to everything else on the machine. A block device without a scheduler, as a disk of Google's
# is, knows no priorities; the weights of control groups work there.
BACKGROUND = ("Nice=19", "CPUWeight=1", "IOWeight=1")
HOMES = ("/home", "/root", "/run/user")  # what ProtectHome takes away
BOOTED = "/run/systemd/system"  # sd_booted(3)
UNSAFE = re.compile(r"[^A-Za-z0-9:_.]")


class SystemdError(Exception):
    """systemd refused; the text is what it said."""


class SystemdMissing(SystemdError):
    """The machine does not run systemd."""


class SystemdSilent(SystemdError):
    """The machine shuts down, or has just started: systemd answers nothing, or takes no orders any more."""

    def __init__(self, error: SystemdError) -> None:
        super().__init__(
            f"the machine shuts down or has just started: {error}. Run the same command again when it is up"
        )


def is_active(unit: str) -> bool:
    """Whether the unit runs, or is on its way to or from running."""
    state = ask(["systemctl", "show", "--property=ActiveState", "--value", unit]).strip()
    return state not in ("inactive", "failed", "")


def active(patterns: list[str]) -> dict[str, str]:
    """The units of these names (shell patterns) that run, or are on their way to or from running: states."""
    states = "--state=active,activating,deactivating,reloading"
    lines = ask(["systemctl", "list-units", "--plain", "--no-legend", states, *patterns]).splitlines()
    fields = [line.split() for line in lines if line.strip()]
    return {unit: state for unit, _loaded, state, *_rest in fields}


def mount(path: str) -> None:
    """Mount what a mount unit is there for and not yet mounted, of the path and the directories above it.

    A machine that has just started lets users in before its disks are mounted; the path would seem to be
    empty until then.

    Raises SystemdSilent when the machine shuts down, SystemdError when a disk cannot be mounted.
    """
    if not os.path.isdir(BOOTED) or os.geteuid() != 0:
        return
    parts = [part for part in os.path.normpath(path).split("/") if part]
    units = [mount_unit("/" + "/".join(parts[:count])) for count in range(1, len(parts) + 1)]
    if not units:
        return
    answer = ask(["systemctl", "show", "--property=Id,LoadState,ActiveState", *units])
    for block in answer.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        if unit["LoadState"] == "loaded" and unit["ActiveState"] != "active":
            try:
                order(["systemctl", "start", "--no-ask-password", unit["Id"]])
            except SystemdSilent:
                raise
            except SystemdError as error:
                raise SystemdError(f"the disk of {path} cannot be mounted: {error}") from error


def mount_unit(path: str) -> str:
    """The name of a path's mount unit (systemd.unit(5), string escaping)."""
    text = path.strip("/")
    escaped = "-".join(UNSAFE.sub(hexadecimal, part) for part in text.split("/"))
    return ("\\x2e" + escaped[1:] if escaped.startswith(".") else escaped) + ".mount"


def hexadecimal(match: re.Match[str]) -> str:
    return "".join(f"\\x{byte:02x}" for byte in match[0].encode())


def start(unit: str, properties: list[str], argv: list[str]) -> None:
    """Start a transient service; returns when its program runs and systemd has copied its credentials.

    Raises SystemdSilent when the machine shuts down, SystemdError when systemd refuses.
    """
    command = [
        "systemd-run",
        "--quiet",
        "--collect",
        "--no-ask-password",
        f"--unit={unit}",
        "--service-type=exec",
    ]
    order([*command, *(f"--property={item}" for item in properties), "--", *argv])


def stop(unit: str) -> None:
    """Stop the unit; returns when all its processes are gone."""
    call(["systemctl", "stop", "--no-ask-password", unit])


def has_line(unit: str, line: str) -> bool:
    """Whether this line is part of the unit's file."""
    try:
        return line in call(["systemctl", "cat", unit]).splitlines()
    except SystemdError:  # there is no such file
        return False


def text(unit: str) -> str:
    """The unit's file, as systemd has read it; "" where there is none."""
    try:
        return call(["systemctl", "cat", unit])
    except SystemdError:
        return ""


def unit_properties(
    record: dict[str, Any],
    directory: str,
    records_dir: str,
    python: str,
    secrets: list[str],
    stop_timeout: int,
    user: pwd.struct_passwd,
    group: str | None = None,
) -> list[str]:
    """The properties of a job's unit. Secrets appear by the names of their files, never by value.

    group: one that no other running job has. The kernel lets a process read another one's memory and
    environment only where user and group are the same.
    """
    properties = [
        f"Description=tpuops job {os.path.basename(directory)}",
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
    if record["timeout"]:
        properties.append(f"RuntimeMaxSec={record['timeout']}")
    if record["user"] != "root":
        properties.extend(SANDBOX)
    if record.get("background"):
        properties.extend(BACKGROUND)
    if group:
        # The log, and what several users share on the disk, belong to the user's own group.
        properties += [f"Group={group}", f"SupplementaryGroups={user.pw_gid}"]
    return properties


def out_of_reach(path: str) -> bool:
    """Whether a job in the sandbox cannot get there."""
    real = os.path.realpath(path)
    return any(real == home or real.startswith(home + "/") for home in HOMES)


def ask(command: list[str]) -> str:
    """The answer to a question about units, which systemd has for those as well that it does not know.

    Raises SystemdSilent when it has none.
    """
    try:
        return call(command)
    except SystemdMissing:
        raise
    except SystemdError as error:
        raise SystemdSilent(error) from error


def order(command: list[str]) -> None:
    """Have systemd start something.

    Raises SystemdSilent where it starts nothing any more, as what waits is the shutdown of the machine.
    """
    try:
        call(command)
    except SystemdError as error:
        if ask(["systemctl", "show", "--property=SystemState", "--value"]).strip() == "stopping":
            raise SystemdSilent(error) from error
        raise


def call(command: list[str]) -> str:
    """Standard output of the command.

    Raises SystemdError when it fails, SystemdMissing when it is not there.
    """
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise SystemdMissing(f"{command[0]} is not there: a job needs a machine that runs systemd") from error
    if answer.returncode != 0:
        raise SystemdError(
            (answer.stderr or answer.stdout).strip() or f"{command[0]} ended with {answer.returncode}"
        )
    return answer.stdout
