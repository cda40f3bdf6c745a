# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete or stop the node that this machine is a worker of; a systemd timer runs it there.

It has two reasons: the node's time is up, or nobody has used it for some minutes. Nobody uses it while no job
runs, vLLM serves no request and nobody is logged in. It asks nobody but this machine, the metadata server for
the token of the VM's own service account, and the TPU API. The data disk stays. Before it acts, it labels the
node with the reason: Google's operations keep the label when the node is gone. Needs Python 3.9 and its
standard library.

    tpu_guard.py ENDPOINT NODE DEADLINE     NODE: projects/P/locations/Z/nodes/N; DEADLINE: seconds since 1970
    tpu_guard.py ENDPOINT NODE DEADLINE MINUTES ACTION [LATER]
                                            also after so many minutes without use. DEADLINE may be never;
                                            ACTION: deleted or stopped; LATER: seconds that the clock of the
                                            last use is put forward, for tests
    tpu_guard.py ENDPOINT NODE check        only whether it could: a token, and an answer about the node
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
TIMEOUT = 60.0  # seconds for an answer
LABELLED_WITHIN = 60.0  # seconds that the label may take; without it the node ends all the same
LOOK_EVERY = 2.0  # seconds between two looks at Google's operation
LABEL = "tpuops-ended"
TIME_UP = "time-up"
GOING = ("DELETING", "STOPPING", "STOPPED")

JOBS_DIR = "/run/tpuops"  # of the module job: it changes when a job starts and when one ends
START_LOCK = ".start.lock"  # held by the program that starts a job
JOBS = "tpuops-*.service"
OWN_UNIT = "tpuops-guard.service"
SERVER = "vllm.service"
SERVER_UNIT = "/etc/systemd/system/vllm.service"
PORT = re.compile(r'"--port"[\s\\]+"(\d+)"')
METRICS_TIMEOUT = 10.0
UNTOLD = "does not tell its requests"
# vLLM's counters, and the one of its web server, which counts with --disable-log-stats too. Not the number of
# requests that run: where the last one is aborted, no step follows that would set it to 0.
COUNTERS = re.compile(
    r"(?:vllm:(?:request_success|prompt_tokens|generation_tokens)|http_requests)_total(?:\{.*\})? (\S+)"
)
STATE = "/run/tpuops-guard/seen.json"  # in memory: a start of the machine counts as use
PROC = "/proc"
# What sshd calls a process of somebody who is logged in, also one with a tunnel alone. With a bracket it is a
# process of its own, such as that of a stranger who does not know the key.
LOGGED_IN = re.compile(r"sshd(?:-session)?: [^\[\]/][^\[\]]*")
# Of logind's sessions those of people. A manager's goes with them, one of a timer is no login.
PEOPLE = ("user", "user-early", "user-light", "user-incomplete", "greeter", "lock-screen")
# No proxy of the environment: the metadata server is this machine's own.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GuardError(Exception):
    """The node cannot be deleted now; the text says why."""


def token() -> str:
    request = urllib.request.Request(METADATA, headers={"Metadata-Flavor": "Google"})
    try:
        with OPENER.open(request, timeout=TIMEOUT) as answer:
            return str(json.load(answer)["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise GuardError(
            f"the metadata server gives no token of the VM's service account: {error}"
        ) from error


def call(method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The answer of the TPU API; None for what is not there (any more)."""
    headers = {"Authorization": f"Bearer {token()}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        reason = error.read(2000).decode(errors="replace")
        raise GuardError(f"{method} {url}: {error.code} {' '.join(reason.split())}") from error
    except (OSError, ValueError) as error:
        raise GuardError(f"{method} {url}: {error}") from error


# ---- what it does to the node


class Reason(NamedTuple):
    """Why the node ends. label: for the node; text: for the journal; stop: not delete; alone: one worker
    knows it of all of them."""

    label: str
    text: str
    stop: bool = False
    alone: bool = True


def label(endpoint: str, found: dict[str, Any], value: str | None) -> None:
    """Give the node the label, None for none, and wait until it has it. A refusal is told, and no more."""
    labels = {name: each for name, each in (found.get("labels") or {}).items() if name != LABEL}
    if value is not None:
        labels[LABEL] = value
    node = found["name"]
    try:
        operation = call("PATCH", f"{endpoint}/v2/{node}?updateMask=labels", {"labels": labels})
        until = time.monotonic() + LABELLED_WITHIN
        while operation and not operation.get("done") and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            operation = call("GET", f"{endpoint}/v2/{operation['name']}")
    except GuardError as error:
        print(f"the node has no label {LABEL}: {error}", file=sys.stderr)


def end(
    endpoint: str, node: str, reason: Reason, still: Callable[[], contextlib.AbstractContextManager[str]]
) -> str:
    """Delete or stop the node, with the queued resource that it came from; what was done.

    still: holds off what could begin meanwhile, and gives why the node is needed after all, or "".
    """
    found = call("GET", f"{endpoint}/v2/{node}")
    if found is None:
        return f"{node} is deleted already"
    if found.get("state") in GOING:
        return f"{node} is {found['state']} already"
    if not reason.alone and len(found.get("networkEndpoints") or []) > 1:
        return f"{node} stays: it has several workers, and this one does not see who uses the others"
    label(endpoint, {"name": node, **found}, reason.label)
    with still() as needed:
        if not needed:
            queued = found.get("queuedResource")
            if reason.stop:
                call("POST", f"{endpoint}/v2/{node}:stop", {})
                return f"{reason.text}: stopping {node}"
            call("DELETE", f"{endpoint}/v2/{queued}?force=true" if queued else f"{endpoint}/v2/{node}")
            return f"{reason.text}: deleting {queued or node}; its data disk stays"
    label(endpoint, {"name": node, **found}, None)
    return f"{node} stays: {needed}"


@contextlib.contextmanager
def whatever_runs() -> Iterator[str]:
    """Nothing keeps a node whose time is up."""
    yield ""


# ---- whether somebody uses it


class Look(NamedTuple):
    """What a look at this machine found. busy: what uses it now; trace: what changes with each use."""

    busy: list[str]
    trace: dict[str, Any]


def look() -> Look:
    units = active([JOBS, SERVER])
    busy = [f"the job {unit}" for unit in units if unit not in (OWN_UNIT, SERVER)]
    busy += [f"a login ({who})" for who in logins()]
    requests: float | None = None
    if SERVER in units:
        try:
            if units[SERVER] != "active":
                raise GuardError(f"{SERVER} is {units[SERVER]}")
            port = server_port()
            requests = served(port)
            if connected(port):
                busy.append(f"a connection to {SERVER}")
        except GuardError as error:
            busy.append(str(error))
    return Look(busy, {"jobs": changed(JOBS_DIR), "requests": requests})


def ask(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise GuardError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise GuardError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def active(patterns: list[str]) -> dict[str, str]:
    """The states of the units of these names that run, or are on their way to or from that."""
    states = "--state=active,activating,deactivating,reloading"
    lines = ask(["systemctl", "list-units", "--plain", "--no-legend", states, *patterns]).splitlines()
    fields = [line.split() for line in lines if line.strip()]
    return {each[0]: each[2] for each in fields}


def logins() -> list[str]:
    """Who is logged in: over SSH, also with a tunnel alone, and what logind knows beside that."""
    found = set(people())
    for path in Path(PROC).glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            title = path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if LOGGED_IN.fullmatch(title):
                found.add(title)
    return sorted(found)


def people() -> list[str]:
    """The sessions of people, those too that they left with a program that runs on. None without logind."""
    try:
        lines = ask(["loginctl", "list-sessions", "--no-legend"]).splitlines()
        ids = [line.split()[0] for line in lines if line.strip()]
        told = ask(["loginctl", "show-session", "--property=Id,Name,Class", *ids]) if ids else ""
    except GuardError:
        return []
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines())
        for block in told.strip().split("\n\n")
        if block
    ]
    return [f"session {each['Id']} of {each['Name']}" for each in blocks if each.get("Class") in PEOPLE]


def server_port() -> int:
    try:
        port = PORT.search(Path(SERVER_UNIT).read_text(encoding="utf-8"))
    except OSError as error:
        raise GuardError(f"{SERVER}: {error}") from error
    if port is None:
        raise GuardError(f"{SERVER} has no port")
    return int(port[1])


def served(port: int) -> float:
    """A number that grows with each request and each token. It takes no key: vLLM guards its API alone."""
    url = f"http://127.0.0.1:{port}/metrics"
    try:
        with OPENER.open(url, timeout=METRICS_TIMEOUT) as answer:
            text = answer.read().decode()
        return sum(float(line[1]) for line in map(COUNTERS.fullmatch, text.splitlines()) if line)
    except (OSError, ValueError) as error:
        raise GuardError(f"{SERVER} {UNTOLD} ({url}: {error})") from error


def connected(port: int) -> bool:
    """Whether somebody has a connection to this port: a request may be long without a token."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(PROC, "net", name).read_text().splitlines()[1:]:
                _number, local, _remote, state = line.split()[:4]
                if state == "01" and int(local.rpartition(":")[2], 16) == port:
                    return True
    return False


def changed(path: str) -> int:
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


class Seen(NamedTuple):
    """What is kept from look to look. at: when the node was last used, on the machine's own clock, which
    nobody sets; why: by what."""

    at: float
    why: str
    trace: dict[str, Any]


def judge(before: Seen | None, found: Look, now: float) -> Seen:
    """When the node was last used, as far as looks tell. The first look counts as use."""
    if before is None:
        return Seen(now, "the machine started", found.trace)
    if found.busy:
        return Seen(now, found.busy[0], found.trace)
    if found.trace["jobs"] != before.trace.get("jobs"):
        return Seen(now, "a job started or ended", found.trace)
    if found.trace["requests"] != before.trace.get("requests"):
        return Seen(now, "a request was served", found.trace)
    return before._replace(at=min(before.at, now))


def read_seen() -> Seen | None:
    try:
        fields = json.loads(Path(STATE).read_text(encoding="utf-8"))
        return Seen(float(fields["at"]), str(fields["why"]), dict(fields["trace"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_seen(seen: Seen) -> None:
    fresh = Path(f"{STATE}.new")
    fresh.write_text(json.dumps(seen._asdict()), encoding="utf-8")
    fresh.replace(STATE)


def last_used(now: float) -> Seen:
    """Look, and keep what is seen."""
    os.close(open_lock())  # made now: a new file in the directory looks like a job that started
    before = read_seen()
    seen = judge(before, look(), now)
    if UNTOLD in seen.why and (before is None or before.why != seen.why):
        print(f"{seen.why}: the node counts as used")
    write_seen(seen)
    return seen


def open_lock() -> int:
    lock = Path(JOBS_DIR, START_LOCK)
    lock.parent.mkdir(mode=0o755, exist_ok=True)
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # as the module job opens it


def used(minutes: float, later: float) -> str:
    """By what the node was used in the last minutes; "" for nothing."""
    now = time.monotonic() + later
    seen = last_used(now)
    return "" if now - seen.at >= minutes * 60 else seen.why


@contextlib.contextmanager
def nobody_starts(minutes: float, later: float) -> Iterator[str]:
    """Hold off the start of a job; why the node is needed after all, or "". The job that starts wins."""
    descriptor = open_lock()
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield "a job starts"
        else:
            yield used(minutes, later)
    finally:
        os.close(descriptor)


# ---- the two reasons


def guard(endpoint: str, node: str, deadline: str, idle: tuple[float, str] | None, later: float) -> str:
    """What was done, or "" for nothing."""
    if deadline != "never" and time.time() >= float(deadline):
        return end(endpoint, node, Reason(TIME_UP, "its time is up"), whatever_runs)
    if idle is None:
        return ""
    minutes, action = idle
    if used(minutes, later):
        return ""
    text = f"no job, no request and no login for {minutes:g} minutes"
    reason = Reason(f"idle-{minutes:g}", text, stop=action == "stopped", alone=False)
    return end(endpoint, node, reason, lambda: nobody_starts(minutes, later))


def main(arguments: list[str]) -> int:
    if len(arguments) not in (3, 5, 6):
        print(__doc__, file=sys.stderr)
        return 2
    endpoint, node, deadline = arguments[0].rstrip("/"), arguments[1], arguments[2]
    idle = (float(arguments[3]), arguments[4]) if len(arguments) > 3 else None
    later = float(arguments[5]) if len(arguments) > 5 else 0.0
    try:
        if deadline == "check":
            if call("GET", f"{endpoint}/v2/{node}") is None:
                raise GuardError(f"{endpoint} knows no {node}")
            return 0
        done = guard(endpoint, node, deadline, idle, later)
        if done:
            print(done)
    except GuardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
