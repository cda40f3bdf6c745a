# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it needs no module, and run_command is a module's
"""Looks at a TPU VM: its chips, memory, disks, clock and way to the Hub, and its huge pages."""

from __future__ import annotations

import glob
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.host import probe
from ansible_collections.tpuops.maxtext.plugins.module_utils.host.problems import Owner
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, systemd

#: Of either driver; a machine has the devices of one. The first is the older.
DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")
#: Without it a program gets no further than to open the devices of the second.
CONTAINER = "/dev/vfio/vfio"
PROC = "/proc"
UNIT = re.compile(r"/([^/]+\.service)$", re.MULTILINE)
#: In memory, so that it ends with the boot.
RECORD = "/run/tpuops-host.json"
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
AT_BOOT = "/etc/tmpfiles.d/tpuops-huge-pages.conf"
PROBE_WITHIN = 60  # seconds; the Hub has thirty to answer


def devices(patterns: Iterable[str] = DEVICES) -> list[str]:
    """The device files of the chips, by number."""
    for pattern in patterns:
        found = [path for path in glob.glob(pattern) if stat.S_ISCHR(os.stat(path).st_mode)]
        numbered = [path for path in found if re.search(r"\d+$", path)]
        if numbered:
            return sorted(numbered, key=lambda path: int(re.findall(r"\d+$", path)[0]))
    return []


def owners(paths: Sequence[str], proc: str = PROC) -> list[Owner]:
    """The processes that have one of these files open."""
    found = []
    for link in glob.glob(f"{proc}/[0-9]*/fd/*"):
        with suppress(OSError):  # it ended meanwhile
            target = os.readlink(link)
            if target in paths:
                process = Path(link).parents[1]
                unit = UNIT.search((process / "cgroup").read_text(encoding="utf-8", errors="replace"))
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                found.append(Owner(int(process.name), name, unit[1] if unit else "", target))
    return sorted(found, key=lambda owner: (owner.pid, owner.device))


def memory(file: str = "/proc/meminfo") -> int:
    """Bytes that programs can have without swapping."""
    text = Path(file).read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def disks(paths: Iterable[str]) -> dict[str, int | None]:
    """Free bytes of the file systems; None where one is read-only. Of two paths on one, the first."""
    found: dict[str, int | None] = {}
    known = set()
    for path in paths:
        with suppress(FileNotFoundError):
            number, state = os.stat(path).st_dev, os.statvfs(path)
            if number not in known:
                known.add(number)
                found[path] = None if state.f_flag & os.ST_RDONLY else state.f_bavail * state.f_frsize
    return found


def probed(
    user: str, paths: Sequence[str], endpoint: str, environment: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What a job of this user finds (see probe.py). Raises SystemdError."""
    properties = [f"User={user}", *systemd.SANDBOX, f"RuntimeMaxSec={PROBE_WITHIN}"]
    command = ["systemd-run", "--quiet", "--collect", "--no-ask-password", "--wait", "--pipe"]
    command += [f"--property={item}" for item in properties]
    command += ["--", sys.executable, "-I", "-c", launch.source_of(probe)]
    asked = {
        "devices": [*paths, *([CONTAINER] if paths and paths[0].startswith("/dev/vfio/") else [])],
        "endpoint": endpoint,
        "environment": {name: str(value) for name, value in environment.items()},
    }
    answer = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    try:
        found = json.loads(answer.stdout)
    except ValueError as error:
        said = answer.stderr.strip() or f"systemd-run ended with {answer.returncode}"
        raise systemd.SystemdError(said) from error
    if not isinstance(found, dict):
        raise systemd.SystemdError(answer.stdout.strip())
    return found


def is_recorded(inputs: Mapping[str, Any], file: str = RECORD) -> bool:
    """Whether the machine was found well in this boot, for the same inputs."""
    with suppress(OSError, ValueError):
        return bool(json.loads(Path(file).read_text(encoding="utf-8")) == inputs)
    return False


def record(inputs: Mapping[str, Any], file: str = RECORD) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(inputs, handle)


def set_huge_pages(check_mode: bool, file: str = HUGE_PAGES, at_boot: str = AT_BOOT) -> bool:
    """Have transparent huge pages for all memory, now and at each boot; whether anything was changed.

    Raises OSError where the kernel does not take it.
    """
    line = f"w! {file} - - - - always\n"
    boot = Path(at_boot)
    kept = boot.exists() and boot.read_text(encoding="utf-8") == line
    chosen = "[always]" in Path(file).read_text(encoding="ascii")
    if not check_mode and not kept:
        boot.write_text(line, encoding="utf-8")
        boot.chmod(0o644)
    if not check_mode and not chosen:
        Path(file).write_text("always", encoding="ascii")
    return not (kept and chosen)
