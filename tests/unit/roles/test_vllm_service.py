# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that starts vLLM: its key, and when it takes the server for ready or for dead."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles" / "vllm_serve" / "files" / "vllm_service.py"


class TestKey:
    def test_is_made_once_for_root_alone(self, service: ModuleType, tmp_path: Path) -> None:
        path = tmp_path / "etc" / "key"
        service.ensure_key(path, None)
        key = path.read_text()
        assert len(key.strip()) >= 32
        assert path.stat().st_mode & 0o777 == 0o600
        service.ensure_key(path, None)
        assert path.read_text() == key

    def test_a_given_one_replaces_it_and_then_stays(self, service: ModuleType, tmp_path: Path) -> None:
        path = tmp_path / "key"
        service.ensure_key(path, None)
        service.ensure_key(path, "given")
        changed = path.stat().st_mtime_ns
        service.ensure_key(path, "given")
        service.ensure_key(path, None)
        assert path.read_text() == "given\n"
        assert path.stat().st_mtime_ns == changed, "the server is started again when the file changes"

    def test_survives_what_a_killed_run_left(self, service: ModuleType, tmp_path: Path) -> None:
        (tmp_path / ".key.new").write_text("half")
        service.ensure_key(tmp_path / "key", "given")
        assert (tmp_path / "key").read_text() == "given\n"

    def test_reaches_the_server_in_its_environment_alone(self, tmp_path: Path) -> None:
        (tmp_path / "api-key").write_text("secret\n")
        script = "import os, sys; print(os.environ['VLLM_API_KEY'], sys.argv[1:])"
        result = subprocess.run(
            [sys.executable, PROGRAM, "run", sys.executable, "-c", script, "serve", "--port=1"],
            env={"CREDENTIALS_DIRECTORY": str(tmp_path), **serving(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        )
        assert result.stdout == "secret ['serve', '--port=1']\n"


def serving(place: Path) -> dict[str, str]:
    """What the unit records of its model."""
    (place / "manifest.json").write_text("{}")
    return {
        "RUNTIME_DIRECTORY": str(place),
        "TPUOPS_RUN": "run",
        "TPUOPS_MODEL": "/exports/run",
        "TPUOPS_MANIFEST": f"{place}/manifest.json",
    }


def test_the_server_tells_what_it_serves(service: ModuleType, tmp_path: Path) -> None:
    """As it was at its start."""
    service.record_model(serving(tmp_path))
    assert json.loads((tmp_path / "serving.json").read_text()) == {
        "run": "run",
        "directory": "/exports/run",
        "manifest": f"{tmp_path}/manifest.json",
        "fingerprint": hashlib.sha256(b"{}").hexdigest(),
    }


def test_a_unit_that_does_not_tell_it_starts_as_well(service: ModuleType, tmp_path: Path) -> None:
    service.record_model({"RUNTIME_DIRECTORY": str(tmp_path)})
    assert not list(tmp_path.iterdir())


class FakeUnit:
    """A unit that goes through the given states, and then stays in the last."""

    name = "vllm.service"

    def __init__(self, *states: dict[str, str]) -> None:
        self.states = list(states)

    def properties(self) -> dict[str, str]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        running = {"ActiveState": "active", "SubState": "running", "NRestarts": "0"}
        return {**running, "ExecMainStatus": "0", "Result": "success", **state}


@pytest.fixture
def healthy() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing on the test's output."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY", 0.0)


class TestWait:
    def test_ends_when_the_server_answers(self, service: ModuleType, healthy: str) -> None:
        assert service.wait_until_healthy(FakeUnit({}), f"{healthy}/health", 60) is None

    def test_another_answer_is_not_yet_healthy(self, service: ModuleType, healthy: str) -> None:
        problem = service.wait_until_healthy(FakeUnit({}), f"{healthy}/starting", 0)
        assert problem == "vllm.service runs, but did not answer within 0 s; run this again to wait on"

    @pytest.mark.parametrize(
        "end",
        [
            {"ActiveState": "failed", "SubState": "failed"},
            {"ActiveState": "activating", "SubState": "auto-restart"},
            {"NRestarts": "1"},
        ],
    )
    def test_ends_when_the_server_does(self, service: ModuleType, end: dict[str, str]) -> None:
        unit = FakeUnit({}, {}, {}, {**end, "ExecMainStatus": "1", "Result": "exit-code"})
        problem = service.wait_until_healthy(unit, "http://127.0.0.1:9/health", 60)
        assert problem == "vllm.service ended while starting, with status 1 (exit-code)"

    def test_a_stranger_on_the_port_does_not_count_for_a_dead_server(
        self, service: ModuleType, healthy: str
    ) -> None:
        unit = FakeUnit({"ActiveState": "failed", "SubState": "failed", "ExecMainStatus": "1"})
        assert "ended while starting" in service.wait_until_healthy(unit, f"{healthy}/health", 60)


TRAINING = "tpuops-sft-run.service"


class TestCondition:
    """Whether the unit may start: its exit status is ExecCondition's."""

    @pytest.fixture
    def states(self, service: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What the unit of a training job is in, look by look; the last state stays."""
        states: list[str] = []

        def systemctl(*arguments: str) -> str:
            assert arguments[-1] == "tpuops-sft[-:]*.service"
            state = states.pop(0) if len(states) > 1 else states[0]
            return f"{TRAINING} loaded {state} running job\n" if state else ""

        monkeypatch.setattr(service, "systemctl", systemctl)
        return states

    def test_holds_where_nobody_trains(self, service: ModuleType, states: list[str]) -> None:
        states += [""]
        assert service.main(["condition", "tpuops-sft[-:]*.service"]) == 0

    @pytest.mark.parametrize("state", ["active", "activating", "reloading"])
    def test_does_not_hold_beside_training(
        self, service: ModuleType, states: list[str], state: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        states += [state]
        assert service.main(["condition", "tpuops-sft[-:]*.service"]) == 1
        assert f"not beside {TRAINING}, which has the chips" in capsys.readouterr().err

    def test_waits_for_training_to_let_go(self, service: ModuleType, states: list[str]) -> None:
        states += ["deactivating", "deactivating", "deactivating", ""]
        assert service.main(["condition", "tpuops-sft[-:]*.service"]) == 0
        assert states == [""]

    def test_does_not_wait_without_end(
        self, service: ModuleType, states: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "LET_GO_WITHIN", 0.0)
        states += ["deactivating"]
        assert service.main(["condition", "tpuops-sft[-:]*.service"]) == 1


def test_a_start_that_is_asked_for_counts_anew(
    service: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemd would refuse the fourth within half an hour, from any caller. One not loaded is fine."""
    calls = tmp_path / "calls"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\ntest "$1" != reset-failed\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    service.Unit("vllm.service").restart()
    assert calls.read_text() == "reset-failed vllm.service\nrestart vllm.service\n"


def test_a_stranger_on_the_port_does_not_pass_for_the_server(
    service: ModuleType,
    tmp_path: Path,
    healthy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A unit that was just started runs before its program knows that the port is taken."""
    asked: list[tuple[str, ...]] = []

    def systemctl(*arguments: str) -> str:
        asked.append(arguments)
        return ""

    monkeypatch.setattr(service, "systemctl", systemctl)
    monkeypatch.setattr(
        service.Unit,
        "properties",
        lambda self: {"ActiveState": "inactive", "NeedDaemonReload": "no", "FragmentPath": str(tmp_path)},
    )
    monkeypatch.setattr(service.Unit, "restart", lambda self: pytest.fail("it would be taken for healthy"))
    options = ["--unit=vllm.service", f"--key-file={tmp_path}/key", f"--mark={tmp_path}/mark", "--timeout=9"]
    assert service.main(["start", f"--health={healthy}/health", *options]) == 1
    assert f"port: another program answers at {healthy}/health" in capsys.readouterr().err
    assert ("stop", "vllm.service") in asked
    assert not (tmp_path / "mark").exists()


class TestNewer:
    def test_a_file_that_changed_after_the_start_asks_for_another(
        self, service: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        unit, file = service.Unit("vllm.service"), tmp_path / "vllm.service"
        file.touch()
        os.utime(file, (1000, 1000))
        for started, newer in ((1001.0, True), (999.0, False), (None, False)):
            monkeypatch.setattr(service.Unit, "started_at", lambda self, at=started: at)
            assert unit.is_newer_than(file) is newer


def test_the_mark_is_not_written_through_a_link(service: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "healthy").symlink_to(tmp_path / "elsewhere")
    service.mark_healthy(tmp_path / "healthy")
    assert not (tmp_path / "elsewhere").exists()
    service.mark_healthy(tmp_path / "plain")
    service.mark_healthy(tmp_path / "plain")
    assert (tmp_path / "plain").exists()


def test_of_the_logs_of_libtpu_the_last_ones_are_kept(service: ModuleType, tmp_path: Path) -> None:
    for number in range(service.KEPT_LOGS + 2):
        log = tmp_path / f"tpu_driver.vm.tpuops-serve.log.INFO.20261130-0511{number:02}.{number}"
        log.touch()
        os.utime(log, (number, number))
    (tmp_path / "tpu_driver.INFO").symlink_to(log.name)
    service.prune_logs(str(tmp_path))
    left = sorted(int(path.suffix[1:]) for path in tmp_path.glob("*.log.*"))
    assert left == list(range(2, service.KEPT_LOGS + 2))
    service.prune_logs("")
