# SPDX-License-Identifier: GPL-3.0-or-later
"""The program inside a job's unit, run as systemd runs it, but by this user and without systemd."""

from __future__ import annotations

import errno
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import runner

RUNNER = Path(runner.__file__)


@dataclass
class Unit:
    """A job's run directory and its credentials."""

    root: Path
    argv: list[str]
    environment: dict[str, str]
    secrets: dict[str, str]
    restarts: int = 0

    def __post_init__(self) -> None:
        (self.directory / "outcome").mkdir(parents=True)
        self.credentials.mkdir()
        (self.credentials / runner.SPEC_CREDENTIAL).write_text(json.dumps(self.spec()))
        (self.directory / "spec.json").write_text(json.dumps(self.spec()))
        for name, value in self.secrets.items():
            (self.credentials / name).write_text(value)

    @property
    def directory(self) -> Path:
        return self.root / "run"

    @property
    def credentials(self) -> Path:
        return self.root / "credentials"

    @property
    def record(self) -> Path:
        return self.root / "job.json"

    def spec(self, **changes: Any) -> dict[str, Any]:
        record = {
            "argv": self.argv,
            "environment": self.environment,
            "outputs": [],
            "timeout": None,
            "chdir": None,
            "restarts": self.restarts,
            "user": pwd.getpwuid(os.getuid()).pw_name,
        }
        return {
            "record": {**record, **changes},
            "record_path": str(self.record),
            "directory": str(self.directory),
            "monotonic": time.monotonic(),
            "secrets": sorted(self.secrets),
        }

    def start(self, *program: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", *(program or (str(RUNNER), "run"))],
            env={
                "PATH": os.environ["PATH"],
                "CREDENTIALS_DIRECTORY": str(self.credentials),
                "INVOCATION_ID": "x",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def outcome(self) -> dict[str, Any]:
        return runner.read_outcome(str(self.directory))


MakeUnit = Callable[..., Unit]


@pytest.fixture
def make_unit(tmp_path: Path) -> MakeUnit:
    def make(argv: list[str], environment: dict[str, str] | None = None, **secrets: str) -> Unit:
        return Unit(tmp_path, argv, environment or {}, secrets)

    return make


SHOW = "import json, os; print(json.dumps(dict(os.environ)))"


def test_the_command_gets_its_environment_and_its_secrets(make_unit: MakeUnit) -> None:
    unit = make_unit([sys.executable, "-c", SHOW], {"A": "1"}, HF_TOKEN="hf secret\n")
    process = unit.start()
    output, _ = process.communicate()
    environment = json.loads(output)
    assert process.returncode == 0
    assert (environment["A"], environment["HF_TOKEN"]) == ("1", "hf secret\n")
    assert "CREDENTIALS_DIRECTORY" not in environment
    assert "INVOCATION_ID" not in environment


@pytest.mark.parametrize("reachable", [True, False])
def test_a_home_that_the_sandbox_does_not_have_is_tmp(
    make_unit: MakeUnit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reachable: bool
) -> None:
    home = tmp_path if reachable else tmp_path / "away"
    monkeypatch.setenv("HOME", str(home))
    unit = make_unit(["true"])
    assert runner.child_environment(unit.spec(), "")["HOME"] == (str(home) if reachable else "/tmp")
    assert runner.child_environment(unit.spec(environment={"HOME": "/x"}), "")["HOME"] == "/x"


def test_exit_status_and_peak_memory_are_kept(make_unit: MakeUnit) -> None:
    unit = make_unit([sys.executable, "-c", "import sys; x = bytearray(80_000_000); sys.exit(3)"])
    process = unit.start()
    process.communicate()
    assert process.returncode == 3
    assert unit.outcome()["peak_memory_bytes"] > 80_000_000
    assert unit.outcome()["cpu_seconds"] >= 0
    assert unit.outcome()["attempts"] == 1


def test_of_the_logs_of_libtpu_the_last_ones_are_kept(make_unit: MakeUnit, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    for number in range(runner.KEPT_LOGS + 3):
        log = logs / f"tpu_driver.vm.tpuops.log.INFO.20261130-0511{number:02}.{number}"
        log.touch()
        os.utime(log, (number, number))
    (logs / "tpu_driver.INFO").symlink_to(log.name)
    (logs / "mine").touch()
    make_unit(["true"], {"TPU_LOG_DIR": str(logs)}).start().communicate()
    left = sorted(path.name.rpartition(".")[2] for path in logs.glob("*.log.*"))
    assert left == sorted(str(number) for number in range(3, runner.KEPT_LOGS + 3))
    assert (logs / "mine").exists()


@pytest.mark.parametrize("directory", ["", "disabled", "/nowhere"])
def test_a_job_without_a_log_of_libtpu_runs(make_unit: MakeUnit, directory: str) -> None:
    process = make_unit(["true"], {"TPU_LOG_DIR": directory}).start()
    assert (process.communicate()[0], process.returncode) == ("", 0)


SYNC = """
import os, runpy, sys
place = sys.argv[2]
os.sync = lambda: print("sync", os.listdir(place))
sys.argv = [sys.argv[1], "run"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(("status", "synced"), [(0, "sync []\n"), (3, "")])
def test_what_was_written_is_on_the_disk_before_a_job_is_called_finished(
    make_unit: MakeUnit, status: int, synced: str
) -> None:
    unit = make_unit(["sh", "-c", f"exit {status}"])
    process = unit.start("-c", SYNC, str(RUNNER), str(unit.directory / "outcome"))
    output, _ = process.communicate()
    assert (process.returncode, output) == (status, synced)
    assert unit.outcome()["attempts"] == 1


COUNT = "echo x >> {0}; test $(wc -l < {0}) -ge {1}"


@pytest.mark.parametrize(
    ("needed", "allowed", "status", "attempts"), [(3, 5, 0, 3), (9, 2, 1, 3), (2, 0, 1, 1)]
)
def test_a_command_that_fails_is_started_again_as_often_as_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: int, allowed: int, status: int, attempts: int
) -> None:
    monkeypatch.setattr(runner, "RESTART_PAUSE", 0.0)
    monkeypatch.setattr(signal, "signal", lambda *_arguments: None)
    unit = Unit(tmp_path, ["sh", "-c", COUNT.format(tmp_path / "count", needed)], {}, {}, allowed)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(unit.credentials))
    assert runner.run() == status
    assert unit.outcome()["attempts"] == attempts
    assert (tmp_path / "count").read_text() == "x\n" * attempts


def test_a_stopped_command_is_not_started_again(tmp_path: Path) -> None:
    unit = Unit(tmp_path, ["sh", "-c", "echo ready; sleep 60 & wait"], {}, {}, restarts=5)
    process = unit.start()
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert unit.outcome()["attempts"] == 1


def test_the_command_runs_where_it_is_told_to(make_unit: MakeUnit, tmp_path: Path) -> None:
    where = tmp_path / "a %n b\\"
    where.mkdir()
    unit = make_unit(["pwd"])
    (unit.credentials / runner.SPEC_CREDENTIAL).write_text(json.dumps(unit.spec(chdir=str(where))))
    output, _ = unit.start().communicate()
    assert output.strip() == str(where)
    where.rmdir()
    output, _ = unit.start().communicate()
    assert output == f"cannot run {where}: No such file or directory\n"


def test_a_signal_that_ends_the_command_ends_the_runner(make_unit: MakeUnit) -> None:
    unit = make_unit(["sh", "-c", "kill -KILL $$"])
    process = unit.start()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert unit.outcome()["terminated"] is False


def test_a_program_that_is_not_there_is_named(make_unit: MakeUnit) -> None:
    unit = make_unit(["/no/such/program"])
    process = unit.start()
    output, _ = process.communicate()
    assert process.returncode == 127
    assert output == "cannot run /no/such/program: No such file or directory\n"
    assert unit.outcome()["reason"] == output.strip()


def test_sigterm_reaches_the_command(make_unit: MakeUnit) -> None:
    unit = make_unit(["sh", "-c", "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.05; done"])
    process = unit.start()
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert (output, process.returncode) == ("bye\n", 7)
    assert unit.outcome()["terminated"] is True


def test_a_stubborn_command_leaves_word_of_the_sigterm_before_it_is_killed(make_unit: MakeUnit) -> None:
    unit = make_unit(["sh", "-c", "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done"])
    process = unit.start()
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "no\n"
    assert unit.outcome()["terminated"] is True
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


EXITED = {"SERVICE_RESULT": "success", "EXIT_CODE": "exited", "EXIT_STATUS": "0"}
FAILED = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "1"}
KILLED = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
TERMINATED = {"SERVICE_RESULT": "success", "EXIT_CODE": "killed", "EXIT_STATUS": "TERM"}
TIMEOUT = {"SERVICE_RESULT": "timeout", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
OUT_OF_MEMORY = {"SERVICE_RESULT": "oom-kill", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}


@pytest.mark.parametrize(
    ("environment", "outcome", "record", "expected"),
    [
        (EXITED, {}, {}, ("finished", None, 0, None)),
        (EXITED, {}, {"outputs": ["/no/x"]}, ("failed", "it succeeded without leaving /no/x", 0, None)),
        (FAILED, {}, {}, ("failed", None, 1, None)),
        (FAILED, {"reason": "cannot run x"}, {}, ("failed", "cannot run x", 1, None)),
        (FAILED, {"reason": ["not", "text"]}, {}, ("failed", None, 1, None)),
        (KILLED, {}, {}, ("failed", None, None, "SIGKILL")),
        (OUT_OF_MEMORY, {}, {}, ("failed", "the machine ran out of memory", None, "SIGKILL")),
        (TERMINATED, {"terminated": True}, {}, ("stopped", None, None, "SIGTERM")),
        (TERMINATED, {"terminated": True}, {"timeout": 5}, ("stopped", None, None, "SIGTERM")),
        (TIMEOUT, {}, {"timeout": 0.001}, ("timeout", "it ran longer than 0.001 s", None, "SIGKILL")),
        (TIMEOUT, {"terminated": True}, {"timeout": 900}, ("stopped", None, None, "SIGKILL")),
    ],
)
def test_ending(
    make_unit: MakeUnit,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    outcome: dict[str, Any],
    record: dict[str, Any],
    expected: tuple[str, str | None, int | None, str | None],
) -> None:
    monkeypatch.setattr(runner, "shutting_down", lambda: False)
    unit = make_unit(["true"])
    spec = unit.spec(**record)
    time.sleep(0.002)  # longer than the shortest timeout above
    end = runner.ending(spec, outcome, str(unit.directory), environment)
    assert (end["status"], end["reason"], end["exit_code"], end["signal"]) == expected


@pytest.mark.parametrize(
    ("free", "reason"), [(0, "No space left on device"), (runner.FULL_BYTES, None), (OSError(), None)]
)
def test_a_failure_on_a_full_disk_has_that_reason(
    make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch, free: int | OSError, reason: str | None
) -> None:
    unit = make_unit(["true"])
    spec = unit.spec(disk={"path": "/data", "used": 0, "needed": None})

    def statvfs(path: str) -> os.statvfs_result:
        assert path == "/data"
        if isinstance(free, OSError):
            raise free
        return os.statvfs_result((1, 1, 10, 5, free, 0, 0, 0, 0, 255))

    monkeypatch.setattr("os.statvfs", statvfs)
    assert runner.ending(spec, {}, str(unit.directory), FAILED)["reason"] == reason
    assert (
        runner.ending(spec, {"reason": "cannot run x"}, str(unit.directory), FAILED)["reason"]
        == "cannot run x"
    )


def test_a_shutdown_interrupts_and_a_request_stops(
    make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "shutting_down", lambda: True)
    unit = make_unit(["true"])
    down = runner.ending(unit.spec(), {"terminated": True}, str(unit.directory), TERMINATED)
    (unit.directory / runner.STOP_REQUEST).touch()
    stopped = runner.ending(unit.spec(), {"terminated": True}, str(unit.directory), TERMINATED)
    assert (down["status"], down["reason"]) == ("interrupted", "the machine shut down")
    assert stopped["status"] == "stopped"


def test_finish_writes_the_record_and_takes_the_run_directory_away(
    make_unit: MakeUnit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in FAILED.items():
        monkeypatch.setenv(name, value)
    unit = make_unit(["false"])
    (unit.directory / "outcome" / "outcome.json").write_text('{"peak_memory_bytes": 42}')
    assert runner.main(["finish", str(unit.directory)]) == 0
    record = json.loads(unit.record.read_text())
    assert (record["status"], record["exit_code"], record["peak_memory_bytes"]) == ("failed", 1, 42)
    assert not unit.directory.exists()


@pytest.mark.parametrize("content", ["", "[1]", '"text"', "{", "\0\0"])
def test_whatever_the_user_writes_root_is_not_misled(make_unit: MakeUnit, content: str) -> None:
    unit = make_unit(["true"])
    (unit.directory / "outcome" / "outcome.json").write_text(content)
    assert runner.read_outcome(str(unit.directory)) == {}


def test_an_outcome_that_is_a_link_or_a_pipe_is_not_followed(make_unit: MakeUnit, tmp_path: Path) -> None:
    unit = make_unit(["true"])
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text('{"reason": "not mine"}')
    outcome = unit.directory / "outcome" / "outcome.json"
    outcome.symlink_to(elsewhere)
    linked = runner.read_outcome(str(unit.directory))
    outcome.unlink()
    os.mkfifo(outcome)
    assert (linked, runner.read_outcome(str(unit.directory))) == ({}, {})


def test_a_record_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    runner.write_json(str(path), {"text": "x" * 100_000})
    with path.open() as before:
        runner.write_json(str(path), {"text": "ä"})
        assert len(json.load(before)["text"]) == 100_000
    assert json.loads(path.read_text()) == {"text": "ä"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["job.json"]


def test_a_reserved_record_needs_no_new_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "job.json"
    runner.reserve(str(path))
    reserved = path.with_suffix(".json.next")
    blocks = reserved.stat().st_blocks
    written: list[int] = []
    replace = os.replace

    def observe(source: str, destination: str) -> None:
        written.append(Path(source).stat().st_blocks)
        replace(source, destination)

    monkeypatch.setattr(os, "replace", observe)
    runner.write_json(str(path), {"status": "failed"})
    assert blocks * 512 >= runner.RESERVED_BYTES
    assert written[0] <= blocks
    assert json.loads(path.read_text()) == {"status": "failed"}


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["what"]) == 2
    assert capsys.readouterr().err.startswith("usage: runner.py")


def test_the_runner_is_valid_for_python_3_9_and_needs_only_the_standard_library() -> None:
    import ast

    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= sys.stdlib_module_names


def test_errno_of_a_full_disk_is_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        runner.write_json(str(tmp_path / "job.json"), {})
    assert not (tmp_path / "job.json").exists()
