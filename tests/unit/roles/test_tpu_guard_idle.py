# SPDX-License-Identifier: GPL-3.0-or-later
"""When a node is idle: what counts as use, and what keeps it to the last moment."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, records

from .test_tpu_guard import ASK, LABEL, NODE, Google, asked_of_the_api, google, labels_given  # noqa: F401

ROOT = Path(__file__).resolve().parents[3]
MINUTES = 30.0
DELETE = ("DELETE", f"/v2/{NODE}")
STOP = ("POST", f"/v2/{NODE}:stop")


class Machine:
    """A machine of which the test says what runs on it. later: seconds by which its clock is put forward."""

    def __init__(self, guard: ModuleType, url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.guard, self.url, self.home = guard, url, home
        self.units: dict[str, str] = {}
        self.sessions: dict[str, tuple[str, str]] = {}  # id -> name, class
        self.now = 1000.0
        for name in ("jobs", "state", "proc", "proc/net"):
            (home / name).mkdir()
        monkeypatch.setattr(guard, "JOBS_DIR", str(home / "jobs"))
        monkeypatch.setattr(guard, "STATE", str(home / "state" / "seen.json"))
        monkeypatch.setattr(guard, "PROC", str(home / "proc"))
        monkeypatch.setattr(guard, "SERVER_UNIT", str(home / "vllm.service"))
        monkeypatch.setattr(guard, "ask", self.ask)
        monkeypatch.setattr(guard.time, "monotonic", lambda: self.now)

    def ask(self, command: list[str]) -> str:
        if command[0] == "systemctl":
            return "".join(f"{unit} loaded {state} running x\n" for unit, state in self.units.items())
        if command[1] == "list-sessions":
            return "".join(f"{each} 1000 somebody\n" for each in self.sessions)
        blocks = [f"Id={each}\nName={name}\nClass={kind}\n" for each, (name, kind) in self.sessions.items()]
        return "\n".join(blocks)

    def look(self, after: float = 0.0, action: str = "deleted", deadline: str = "never") -> int:
        """Run the program, so many seconds after the last time."""
        self.now += after
        return int(self.guard.main([self.url, NODE, deadline, f"{MINUTES:g}", action]))

    def login(self, title: str) -> None:
        process = self.home / "proc" / str(len(list((self.home / "proc").iterdir())))
        process.mkdir()
        (process / "cmdline").write_bytes(title.encode() + b"\0\0")

    def serve(self, port: int) -> None:
        self.units["vllm.service"] = "active"
        unit = f'ExecStart=run \\\n  "serve" \\\n  "--port" \\\n  "{port}" \\\n'
        (self.home / "vllm.service").write_text(unit)

    def connect(self, port: int, state: str = "01") -> None:
        header = "  sl  local_address rem_address   st\n"
        line = f"   0: 0100007F:{port:04X} 0100007F:9999 {state} 0:0\n"
        (self.home / "proc" / "net" / "tcp").write_text(header + line)


@pytest.fixture
def machine(
    guard: ModuleType,
    google: Google,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Machine:
    return Machine(guard, google.url, tmp_path, monkeypatch)


class Vllm(ThreadingHTTPServer):
    metrics: str = ""

    @property
    def port(self) -> int:
        return int(self.server_port)


class Metrics(BaseHTTPRequestHandler):
    server: Vllm

    def do_GET(self) -> None:
        assert self.headers.get("Authorization") is None
        self.send_response(200 if self.path == "/metrics" else 404)
        self.end_headers()
        self.wfile.write(self.server.metrics.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def vllm(machine: Machine) -> Any:
    with Vllm(("127.0.0.1", 0), Metrics) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        machine.serve(server.port)
        yield server
        server.shutdown()


def counted(**counters: float) -> str:
    """What vLLM and its web server tell, with a counter that is no use."""
    lines = [
        "# HELP vllm:prompt_tokens_total Number of prefill tokens processed.",
        'vllm:num_requests_running{engine="0",model_name="m"} 1.0',
        'http_request_duration_seconds_count{handler="/v1/models",method="GET"} 7.0',
        f'vllm:prompt_tokens_total{{engine="0",model_name="m"}} {counters.get("prompt", 0)}',
        f'vllm:generation_tokens_total{{engine="0",model_name="m"}} {counters.get("generation", 0)}',
        f'vllm:request_success_total{{engine="0",finished_reason="stop"}} {counters.get("success", 0)}',
        f'http_requests_total{{handler="/v1/x",method="POST",status="2xx"}} {counters.get("http", 0)}',
    ]
    return "\n".join(lines) + "\n"


def deleted(google: Google) -> bool:  # noqa: F811
    return DELETE in google.asked or STOP in google.asked


def test_an_idle_node_is_deleted_with_the_reason(
    machine: Machine,
    google: Google,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert machine.look() == 0
    machine.look(MINUTES * 60 - 1)
    assert google.asked == []
    machine.look(1)
    assert asked_of_the_api(google) == [ASK, LABEL, DELETE]
    assert labels_given(google) == [{"tpuops-ended": "idle-30"}]
    why = "no job, no request and no login for 30 minutes"
    assert capsys.readouterr().out == f"{why}: deleting {NODE}; its data disk stays\n"


def test_it_is_stopped_where_that_is_wanted(
    machine: Machine,
    google: Google,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    google.answers[STOP] = (200, {"name": "operation"})
    machine.look(action="stopped")
    machine.look(MINUTES * 60, action="stopped")
    assert asked_of_the_api(google) == [ASK, LABEL, STOP]
    assert f"stopping {NODE}\n" in capsys.readouterr().out


def test_a_worker_of_several_does_not_judge_for_the_others(
    machine: Machine,
    google: Google,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Settings are compared with candidates; a node may be another one, or of a type that nobody knows."""
    google.answers[ASK] = (200, {"name": NODE, "networkEndpoints": [{}, {}]})
    machine.look()
    machine.look(MINUTES * 60)
    assert asked_of_the_api(google) == [ASK]
    assert f"{NODE} stays: it has several workers" in capsys.readouterr().out
    machine.look(deadline="0")
    assert deleted(google)


def test_a_node_whose_time_is_up_is_deleted_while_it_is_used(
    machine: Machine,
    google: Google,  # noqa: F811
) -> None:
    machine.units["tpuops-sft-x.service"] = "active"
    machine.look(deadline="0")
    assert asked_of_the_api(google) == [ASK, LABEL, DELETE]
    assert labels_given(google) == [{"tpuops-ended": "time-up"}]


def job(machine: Machine) -> None:
    machine.units["tpuops-sft-x.service"] = "active"


def ending(machine: Machine) -> None:
    machine.units["tpuops-sft-x.service"] = "deactivating"


def loading(machine: Machine) -> None:
    machine.units["vllm.service"] = "activating"


def hung(machine: Machine) -> None:
    machine.serve(1)  # nothing listens there


def no_unit(machine: Machine) -> None:
    machine.units["vllm.service"] = "active"


def shell(machine: Machine) -> None:
    machine.login("sshd: me@pts/0")


def newer_shell(machine: Machine) -> None:
    machine.login("sshd-session: me@notty")


def tunnel(machine: Machine) -> None:
    machine.login("sshd: me")


def console(machine: Machine) -> None:
    machine.sessions["1"] = ("me", "user")


def short_job(machine: Machine) -> None:
    """It started and ended between two looks."""
    jobs = machine.home / "jobs"
    os.utime(jobs, ns=(1, jobs.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "use",
    [job, ending, loading, hung, no_unit, shell, newer_shell, tunnel, console, short_job],
    ids=lambda use: use.__name__,
)
def test_what_counts_as_use(machine: Machine, google: Google, use: Callable[[Machine], None]) -> None:  # noqa: F811
    machine.look()
    use(machine)
    machine.look(MINUTES * 60)
    assert google.asked == []


def test_the_clock_counts_from_the_end_of_the_last_use(machine: Machine, google: Google) -> None:  # noqa: F811
    machine.look()
    job(machine)
    machine.look(MINUTES * 60)
    machine.units.clear()
    machine.look(MINUTES * 60 - 1)
    assert google.asked == []
    machine.look(1)
    assert deleted(google)


@pytest.mark.parametrize(
    "title",
    [
        "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups",
        "sshd: [accepted]",
        "sshd: unknown [priv]",
        "sshd: root [net]",
        "sshd-session: root [preauth]",
        "/usr/bin/python3 sshd: me",
    ],
)
def test_who_is_not_logged_in_does_not_keep_the_node(
    machine: Machine,
    google: Google,  # noqa: F811
    title: str,
) -> None:
    """Strangers try passwords all the time; that must not cost money."""
    machine.look()
    machine.login(title)
    machine.look(MINUTES * 60)
    assert deleted(google)


def test_other_sessions_and_the_guard_itself_do_not_keep_the_node(
    machine: Machine,
    google: Google,  # noqa: F811
) -> None:
    machine.sessions |= {"1": ("me", "manager"), "c1": ("root", "background")}
    machine.units["tpuops-guard.service"] = "activating"
    machine.look()
    machine.look(MINUTES * 60)
    assert deleted(google)


@pytest.mark.parametrize("counter", ["prompt", "generation", "success", "http"])
def test_a_request_that_was_served_counts(
    machine: Machine,
    google: Google,  # noqa: F811
    vllm: Vllm,
    counter: str,
) -> None:
    vllm.metrics = counted(**{counter: 3})
    machine.look()
    vllm.metrics = counted(**{counter: 4})
    machine.look(MINUTES * 60)
    assert google.asked == []
    machine.look(MINUTES * 60)
    assert deleted(google)


def test_a_server_that_nobody_asks_does_not_keep_the_node(
    machine: Machine,
    google: Google,  # noqa: F811
    vllm: Vllm,
) -> None:
    vllm.metrics = counted(prompt=5)
    machine.connect(vllm.port, "06")
    machine.look()
    machine.look(MINUTES * 60)
    assert deleted(google)


def test_a_request_without_a_token_yet_counts(machine: Machine, google: Google, vllm: Vllm) -> None:  # noqa: F811
    machine.look()
    machine.connect(vllm.port)
    machine.look(MINUTES * 60)
    assert google.asked == []


def test_a_server_that_does_not_tell_is_told_once(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.look()
    hung(machine)
    machine.look(60)
    machine.look(60)
    told = capsys.readouterr().out
    assert told.count("vllm.service does not tell its requests (http://127.0.0.1:1/metrics") == 1
    assert told.endswith("the node counts as used\n")


def test_a_start_of_the_machine_counts_as_use(machine: Machine, google: Google) -> None:  # noqa: F811
    """What is kept lies in memory. A node that was off for a day is not deleted when it is started."""
    machine.look()
    (machine.home / "state" / "seen.json").unlink()
    machine.look(86_400)
    assert google.asked == []
    (machine.home / "state" / "seen.json").write_text("{half")
    machine.look(86_400)
    assert google.asked == []


def test_a_machine_that_does_not_tell_its_units_deletes_nothing(
    machine: Machine,
    google: Google,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine.look()

    def refuse(command: list[str]) -> str:
        raise machine.guard.GuardError(f"{command[0]}: no answer")

    monkeypatch.setattr(machine.guard, "ask", refuse)
    assert machine.look(MINUTES * 60) == 1
    assert google.asked == []
    assert capsys.readouterr().err == "systemctl: no answer\n"


@pytest.mark.parametrize("how", ["it runs", "it starts", "somebody logs in"])
def test_what_begins_at_the_last_moment_wins(
    machine: Machine,
    google: Google,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    """It begins while Google writes the label, which is then taken away again."""
    machine.look()
    label, locks = machine.guard.label, list[int]()

    def late(*given: Any) -> None:
        label(*given)
        if how == "it runs":
            job(machine)
        elif how == "somebody logs in":
            shell(machine)
        elif not locks:
            locks.append(os.open(machine.home / "jobs" / ".start.lock", os.O_RDWR | os.O_CREAT))
            fcntl.flock(locks[0], fcntl.LOCK_EX)

    monkeypatch.setattr(machine.guard, "label", late)
    assert machine.look(MINUTES * 60) == 0
    assert asked_of_the_api(google) == [ASK, LABEL, LABEL]
    assert labels_given(google) == [{"tpuops-ended": "idle-30"}, {}]
    why = {"it runs": "the job tpuops-sft-x.service", "it starts": "a job starts"}.get(how, "a login")
    assert f"{NODE} stays: {why}" in capsys.readouterr().out
    for descriptor in locks:
        os.close(descriptor)


def test_no_job_starts_while_google_is_asked_to_delete(
    machine: Machine,
    google: Google,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The lock is that of the module job."""
    assert machine.guard.START_LOCK == launch.START_LOCK
    call, held = machine.guard.call, []

    def watched(method: str, *rest: Any) -> Any:
        lock = machine.home / "jobs" / launch.START_LOCK
        tried = subprocess.run(["flock", "--nonblock", lock, "true"], check=False) if lock.exists() else None
        held.append((method, bool(tried and tried.returncode)))
        return call(method, *rest)

    monkeypatch.setattr(machine.guard, "call", watched)
    machine.look()
    machine.look(MINUTES * 60)
    assert held == [("GET", False), ("PATCH", False), ("DELETE", True)]


def test_the_names_are_those_of_the_module_and_of_the_roles(guard: ModuleType) -> None:
    common = yaml.safe_load((ROOT / "roles/common/vars/main.yml").read_text())
    assert common["_common_serving_unit"] == guard.SERVER
    assert records.RUN_DIR == guard.JOBS_DIR
    assert records.Paths("x", "/x").unit == guard.JOBS.replace("*", "x")
    timers = yaml.safe_load((ROOT / "roles/tpu_vm/vars/main.yml").read_text())
    assert Path(timers["_tpu_vm_guard_timer"]).with_suffix(".service").name == guard.OWN_UNIT
