# SPDX-License-Identifier: GPL-3.0-or-later
"""The vLLM service on this machine: how it runs, and how it is started and waited for.

    tpuops-vllm-service condition PATTERN...     in the unit: whether no unit of these names holds the chips
    tpuops-vllm-service run PROGRAM ARGUMENT...  in the unit: become the server, with its API key
    tpuops-vllm-service start --unit ...         as root, in a job: (re)start the unit, wait until it is ready

The key lies in a file that only root can read; systemd hands it to the unit as a credential, and the server
gets it in its environment, so it is in no command line and no unit file. Needs Python 3.9, systemd 247.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

CREDENTIAL = "api-key"
KEY_VARIABLE = "VLLM_API_KEY"
RECORD = "serving.json"
RECORDED = {"run": "TPUOPS_RUN", "directory": "TPUOPS_MODEL", "manifest": "TPUOPS_MANIFEST"}
PROPERTIES = (
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "ExecMainStartTimestampMonotonic",
    "FragmentPath",
    "NeedDaemonReload",
)
LOOK_EVERY = 1.0  # seconds between two looks at a server that is starting
ANSWER_WITHIN = 5.0  # seconds for its health check
LET_GO_WITHIN = 70.0  # seconds that training which is stopping is waited for; it has 60 before it is killed
LIBTPU_LOGS = "tpu_driver.*.log.*"
KEPT_LOGS = 8
FLUSH = 1.0  # seconds for the journal to catch up with a server that died


def condition(patterns: list[str]) -> int:
    """0 where none of these units runs; one that is stopping has the chips to its end, and is waited for."""
    deadline = time.monotonic() + LET_GO_WITHIN
    while running := active(patterns):
        if set(running.values()) != {"deactivating"} or time.monotonic() > deadline:
            print(f"not beside {', '.join(running)}, which has the chips. Stop that first", file=sys.stderr)
            return 1
        time.sleep(LOOK_EVERY)
    return 0


def active(patterns: list[str]) -> dict[str, str]:
    """The states of the units of these names (shell patterns) that run or are on their way to or from it."""
    states = "--state=active,activating,deactivating,reloading"
    lines = systemctl("list-units", "--plain", "--no-legend", states, *patterns).splitlines()
    return {line.split()[0]: line.split()[2] for line in lines if line.strip()}


def run(program: list[str]) -> NoReturn:
    """Become the server."""
    record_model(os.environ)
    prune_logs(os.environ.get("TPU_LOG_DIR", ""))
    key = Path(os.environ["CREDENTIALS_DIRECTORY"], CREDENTIAL).read_text(encoding="ascii").strip()
    os.execve(program[0], program, {**os.environ, KEY_VARIABLE: key})


def record_model(environment: Mapping[str, str]) -> None:
    """Tell in the runtime directory which model is served: the unit's file may change later."""
    if not set(RECORDED.values()) <= environment.keys():  # the unit of an earlier version
        return
    record = {field: environment[variable] for field, variable in RECORDED.items()}
    record["fingerprint"] = hashlib.sha256(Path(record["manifest"]).read_bytes()).hexdigest()
    path = Path(environment["RUNTIME_DIRECTORY"], RECORD)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(record, handle)


def prune_logs(directory: str) -> None:
    """Delete all but the newest logs of libtpu, which never deletes one."""
    with contextlib.suppress(OSError):
        files = [path for path in Path(directory or "/nowhere").glob(LIBTPU_LOGS) if not path.is_symlink()]
        for path in sorted(files, key=lambda each: each.stat().st_mtime)[:-KEPT_LOGS]:
            path.unlink()


def ensure_key(path: Path, given: str | None) -> None:
    """The file with the API key: the one that is given, else the one that is there, else a new one."""
    current = path.read_text(encoding="ascii").strip() if path.exists() else None
    wanted = given or current or secrets.token_urlsafe(32)
    if wanted == current:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(wanted + "\n")
    fresh.replace(path)


def systemctl(*arguments: str) -> str:
    command = ["systemctl", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Unit:
    """A systemd service, as systemd tells its state."""

    def __init__(self, name: str) -> None:
        self.name = name

    def properties(self) -> dict[str, str]:
        lines = systemctl("show", f"--property={','.join(PROPERTIES)}", self.name).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def started_at(self) -> float | None:
        """When its process started, in seconds since the epoch; None while it has none."""
        properties = self.properties()
        if properties["ActiveState"] not in ("active", "activating"):
            return None
        microseconds = int(properties["ExecMainStartTimestampMonotonic"])
        return time.time() - time.monotonic() + microseconds / 1e6 if microseconds else None

    def restart(self) -> None:
        """Returns when the old process is gone and the new one runs, or cannot: its state tells."""
        # Earlier starts count towards the limit, also those that went well. To systemd it is an error that
        # there is nothing to forget of a unit that it has not loaded.
        subprocess.run(["systemctl", "reset-failed", self.name], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["systemctl", "restart", self.name], check=False)

    def is_newer_than(self, *files: Path) -> bool:
        """Whether its process started after the last change of these files."""
        started = self.started_at()
        return started is not None and all(file.stat().st_mtime <= started for file in files)


@contextlib.contextmanager
def journal_shown(unit: str, since: float) -> Iterator[None]:
    """Copy what the unit logs to the standard output, that is to the log of the job."""
    command = ["journalctl", "--follow", "--output=cat", f"--unit={unit}", f"--since=@{since:.6f}"]
    follower = subprocess.Popen(command)
    try:
        yield
        time.sleep(FLUSH)
    finally:
        follower.terminate()
        follower.wait()


def is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_WITHIN) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def taken(url: str) -> bool:
    """Whether a program listens at the port of this address."""
    address = urllib.parse.urlsplit(url)
    try:
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=ANSWER_WITHIN):
            return True
    except OSError:
        return False


def wait_until_healthy(unit: Unit, url: str, timeout: float) -> str | None:
    """None once the server answers, else why it does not."""
    deadline = time.monotonic() + timeout
    restarts = unit.properties()["NRestarts"]
    while True:
        now = unit.properties()
        alive = now["ActiveState"] in ("active", "activating") and now["SubState"] != "auto-restart"
        if not alive or now["NRestarts"] != restarts:
            return f"{unit.name} ended while starting, with status {now['ExecMainStatus']} ({now['Result']})"
        if is_healthy(url):
            return None
        if time.monotonic() > deadline:
            return f"{unit.name} runs, but did not answer within {timeout:.0f} s; run this again to wait on"
        time.sleep(LOOK_EVERY)


def mark_healthy(path: Path) -> None:
    """A file in the unit's runtime directory, which systemd removes when the server ends."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644))


def start(options: argparse.Namespace) -> int:
    unit = Unit(options.unit)
    ensure_key(options.key_file, os.environ.pop(KEY_VARIABLE, None))
    if unit.properties()["NeedDaemonReload"] == "yes":
        systemctl("daemon-reload")
    systemctl("enable", "--no-reload", "--quiet", unit.name)
    asked = time.time()
    if not unit.is_newer_than(Path(unit.properties()["FragmentPath"]), options.key_file):
        systemctl("stop", unit.name)
        if taken(options.health):  # its answers would pass for those of the unit, which cannot serve there
            print(
                f"port: another program answers at {options.health}. Stop it, or set another serve_port",
                file=sys.stderr,
            )
            return 1
        unit.restart()
    since = unit.started_at() or asked
    print(f"waiting for {unit.name} to answer", flush=True)  # it is silent for its first minute
    with journal_shown(unit.name, since):
        problem = wait_until_healthy(unit, options.health, options.timeout)
    if problem is None:
        mark_healthy(options.mark)
        print(f"{unit.name} is healthy, {time.time() - since:.0f} s after its start", flush=True)
        return 0
    if unit.properties()["ActiveState"] != "active":
        systemctl("stop", unit.name)  # systemd would start it again, to the same end
    print(problem, file=sys.stderr)
    return 1


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        run(arguments[1:])
    if arguments[:1] == ["condition"]:
        return condition(arguments[1:])
    parser = argparse.ArgumentParser(description="Start the server and wait until it is ready.")
    option = parser.add_argument
    option("command", choices=["start"])
    option("--unit", required=True, help="name of the service")
    option("--key-file", type=Path, required=True, help="file with the API key, created when missing")
    option("--health", required=True, help="URL that answers 200 when the server is ready")
    option("--mark", type=Path, required=True, help="file to create once it is")
    option("--timeout", type=float, required=True, help="seconds to wait")
    return start(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
