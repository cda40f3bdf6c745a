# SPDX-License-Identifier: GPL-3.0-or-later
"""The server as a process of its own: started, found again and ended by the state directory it belongs to."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from localcloud.config import PROJECT_ROOT, CloudConfig

#: Variables that the server has no use for, and that its environment in /proc should not show.
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|_KEY$")
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class ServerProcess:
    """The server of one cloud.

    The pid file holds pid and start time, so that a pid that the kernel has given to another process since is
    never taken for the server. Without the file the server is found by its command line.
    """

    config: CloudConfig

    @property
    def log_file(self) -> Path:
        return self.config.state_dir / "server.log"

    @property
    def _pid_file(self) -> Path:
        return self.config.state_dir / "server.pid"

    @property
    def _argv(self) -> list[str]:
        return [
            *(sys.executable, "-m", "localcloud", "--state-dir", str(self.config.state_dir.resolve())),
            *("--port", str(self.config.port), "--subnet", str(self.config.subnet), "serve"),
        ]

    def pid(self) -> int | None:
        """The pid of the running server."""
        try:
            pid, start = self._pid_file.read_text(encoding="utf-8").split()
        except (FileNotFoundError, ValueError):
            return self._search()
        return int(pid) if _start_time(int(pid)) == start else self._search()

    def _search(self) -> int | None:
        marks = ["--state-dir", str(self.config.state_dir.resolve())]
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            pid = int(entry.parent.name)
            words = _read(entry).split("\0")[:-1]
            if words[1:5] == ["-m", "localcloud", *marks] and words[-1:] == ["serve"] and _start_time(pid):
                return pid
        return None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, detached from terminal and session; its output goes to the log file."""
        environment = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
        descriptor = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as log:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=PROJECT_ROOT,
                env=environment,
                start_new_session=True,
            )
        self._pid_file.write_text(f"{process.pid} {_start_time(process.pid)}\n", encoding="utf-8")
        return process

    def stop(self) -> bool:
        """End the server and wait until it is gone. False when none ran."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], STOP_SECONDS)[0]:
                    break
        except ProcessLookupError:
            return True
        finally:
            os.close(handle)
        return True


def _start_time(pid: int) -> str:
    """Start of a process in clock ticks since boot; "" when there is none or it is dead already."""
    # The second field is the command in parentheses and may hold anything.
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if fields and fields[0] != "Z" else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
