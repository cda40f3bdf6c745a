# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of a job, with answers of the modules that the test has written down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.parsing.dataloader import DataLoader
from ansible_collections.tpuops.maxtext.plugins.action import hf_upload
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import Progress, parser, phase
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import (
    interruption,
    job_action,
    job_lines,
    node_loss,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_action import JobAction
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.node_loss import Watch

from tests.json_types import Json
from tests.keys import public_key

RECORD: Json = {
    "name": "sft",
    "unit": "tpuops-sft.service",
    "status": "running",
    "fingerprint": "f",
    "started": "t",
    "log": "/disk/jobs/sft.log",
    "progress": {"file": "/disk/jobs/sft.log", "offset": 0},
    "disk": None,
    "reason": None,
    "seconds": None,
    "exit_code": None,
    "signal": None,
}
#: The answer of a machine that shuts down, or has just started.
SILENT: Json = {"failed": True, "silent": True, "msg": "systemd does not answer"}
#: What Ansible has of a module that was killed with its machine.
KILLED: Json = {
    "failed": True,
    "msg": "Module result deserialization failed: No start of json char found",
    "module_stdout": "",
    "module_stderr": "Killed\n",
    "rc": 137,
}
STEP = "completed step: {}, seconds: 2.0, TFLOP/s/device: 0.0, loss: 1.5\n"


class Task:
    def __init__(self, args: Json, check_mode: bool = False) -> None:
        self.args = args
        self.check_mode = check_mode
        self.async_val = 0


class Connection:
    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


class Action(JobAction):
    """The action with an ansible-core that answers as told; an answer that is an exception is raised."""

    def __init__(self, args: Json, answers: list[Any], check_mode: bool = False) -> None:
        self._task = Task({"name": "sft", **args}, check_mode)
        self._connection = Connection()
        self._loader = DataLoader()
        self.answers = answers
        self.calls: list[tuple[str | None, Json]] = []

    def _execute_module(
        self, module_name: str | None = None, module_args: Json | None = None, **_: Any
    ) -> Json:
        self.calls.append((module_name, module_args or {}))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, dict)
        return answer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The plugin's time, which passes in pauses alone; the Hub's server, a thread, keeps the real one."""
    now = [0.0]
    fake = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(job_action, "time", fake)
    monkeypatch.setattr(job_lines, "time", fake)
    return now


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(job_action.display, "display", lines.append)
    return lines


def started(**changes: Any) -> Json:
    return {"changed": True, "action": "run", "reason": "it never ran", "job": RECORD, **changes}


def look(text: str = "", offset: int = 0, **changes: Any) -> Json:
    answer: Json = {"jobs": [{**RECORD, **changes}], "text": text, "offset": offset}
    return answer


def test_a_job_is_followed_to_its_end(clock: list[float], shown: list[str]) -> None:
    progress = {**RECORD["progress"], "format": "maxtext", "total": 3}
    answers = [
        started(job={**RECORD, "progress": progress}),
        look(STEP.format(1) + STEP.format(2), 50),
        look("", 50),
        look(STEP.format(3), 75, status="finished"),
    ]
    action = Action({"state": "attached"}, answers)  # what the record tells of the progress is enough
    result = action.run(task_vars={"inventory_hostname": "tpu", "ansible_play_hosts": ["tpu"]})
    assert (result["changed"], result["job"]["status"], result.get("failed")) == (True, "finished", None)
    assert shown == ["sft  step 2/3  loss 1.50  2.0 s/step  ETA 2 s", "sft  step 3/3  loss 1.50  2.0 s/step"]
    looks = [arguments for name, arguments in action.calls if name == "tpuops.maxtext.job_info"]
    assert [each["offset"] for each in looks] == [-1, 50, 50]
    assert [each["wait"] for each in looks] == [1.0, 1.5, 2.25]
    assert {each["records_dir"] for each in looks} == {"/disk/jobs"}


def test_looks_are_never_further_apart_than_asked_for(clock: list[float], shown: list[str]) -> None:
    answers = [started(), *[look() for _ in range(9)], look(status="finished")]
    action = Action({"poll": 3}, answers)
    action.run(task_vars={})
    assert max(arguments.get("wait", 0) for _name, arguments in action.calls) == 3.0


def test_the_looks_at_a_long_job_are_as_rare_as_its_lines(clock: list[float], shown: list[str]) -> None:
    """Each look sends a module, for days."""
    waits: list[float] = []

    class Slow(Action):
        def _execute_module(
            self, module_name: str | None = None, module_args: Json | None = None, **_: Any
        ) -> Json:
            if module_name is None:  # the module that starts the job
                return started()
            waits.append((module_args or {})["wait"])
            clock[0] += waits[-1]
            return look(status="finished" if clock[0] > 24 * 3600 else "running")

    Slow({}, []).run(task_vars={})
    assert waits[:6] == [1.0, 1.5, 2.25, 3.375, 5.0, 5.0]
    assert max(waits) == 60.0
    assert len(waits) < 1700  # in a day


def test_a_long_job_is_shown_more_rarely(clock: list[float], shown: list[str]) -> None:
    reporter = job_lines.Shown(Progress("x", parser("json", None), None), shown.append)
    for step in range(1, 1001):
        clock[0] = step * 5.0
        reporter.update(f'{{"step": {step}}}\n')
    reporter.last()
    assert 100 < len(shown) < 400
    assert shown[-1] == "x  step 1000"


def test_a_job_without_steps_shows_what_is_known_of_it_now_and_then(
    clock: list[float], shown: list[str]
) -> None:
    """Not the last line of whatever program it runs."""
    reporter = job_lines.Shown("install", shown.append)
    for second in range(31):
        clock[0] = float(second)
        reporter.update(f"Prepared {second} packages in 1.2s\n" if second == 10 else f"DEBUG line {second}\n")
    reporter.update("")
    assert shown == [
        "install  0 s",
        "install  10 s  downloaded 10 packages",
        "install  20 s  downloaded 10 packages",
        "install  30 s  downloaded 10 packages",
    ]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("Resolved 151 packages in 2.10s", "resolved 151 packages"),
        ("Installed 151 packages in 800ms", "installed 151 packages"),
        ("installed /mnt/d/env/train-1 in 61 s", "installed in 61 s"),
        ("Fetching 6 files:  50%|█████     | 3/6 [00:01<00:01,  2.6it/s]", "downloaded 50% of 6 files"),
        ("compared 398 tensors with the base model: all are its own", "compared 398 tensors with the base"),
        ("6 files, 8044.9 MB, to me/r", "uploads 6 files, 8044.9 MB"),
        ("me/r has all 6 files, at commit 12ab", "the Hub has all 6 files"),
        ("waiting for vllm.service to answer", "waits for the server"),
        ("Loading safetensors checkpoint shards:  50% Completed | 1/2", "loaded 50% of the model"),
        ("vllm.service is healthy, 75 s after its start", "the server answers, 75 s after its start"),
        ("INFO 11-24 [core.py:1] \x9b31m Initializing a V1 engine", None),
        ("", None),
    ],
)
def test_known_fields_of_programs_that_tell_no_steps(line: str, known: str | None) -> None:
    assert (phase(line) or "").startswith(known or "")
    assert (phase(line) is None) == (known is None)


def test_several_hosts_are_told_apart(clock: list[float], shown: list[str]) -> None:
    action = Action({}, [started(), look("hello\n", 6, status="finished")])
    action.run(task_vars={"inventory_hostname": "tpu-1", "ansible_play_hosts": ["tpu-0", "tpu-1"]})
    assert shown == ["tpu-1: sft  0 s"]


@pytest.mark.parametrize(
    ("args", "first", "check"),
    [
        ({}, {"changed": False, "action": "skip", "job": RECORD}, False),
        ({"state": "started"}, started(), False),
        ({"state": "stopped"}, {"changed": True, "action": "stop", "job": RECORD}, False),
        ({}, {"changed": True, "action": "run"}, True),
        ({}, {"failed": True, "msg": "no"}, False),
    ],
)
def test_when_there_is_nothing_to_follow(args: Json, first: Json, check: bool) -> None:
    action = Action(args, [first], check)
    assert action.run(task_vars={}) == first
    assert len(action.calls) == 1


@pytest.mark.parametrize(
    ("changes", "first_line"),
    [
        (
            {"status": "failed", "exit_code": 1, "seconds": 32.4},
            "job sft failed after 32 s with exit status 1: ValueError: no column",
        ),
        (
            {"status": "failed", "signal": "SIGKILL", "seconds": 1},
            "job sft failed after 1 s by SIGKILL: ValueError: no column",
        ),
        (
            {
                "status": "timeout",
                "signal": "SIGTERM",
                "seconds": 7200,
                "reason": "it ran longer than 7200 s",
            },
            "job sft ran out of time after 2 h 0 min: it ran longer than 7200 s",
        ),
        ({"status": "stopped", "seconds": 5}, "job sft was stopped after 5 s: ValueError: no column"),
        (
            {"status": "interrupted", "reason": "the machine restarted or was replaced while it ran"},
            "job sft was interrupted: the machine restarted or was replaced while it ran",
        ),
    ],
)
def test_a_failure_says_how_where_and_why(
    clock: list[float], shown: list[str], changes: Json, first_line: str
) -> None:
    tail = ["Traceback (most recent call last):", "ValueError: no column"]
    action = Action({}, [started(), {**look(**changes), "log_tail": tail}])
    result = action.run(task_vars={"inventory_hostname": "tpu"})
    lines = result["msg"].splitlines()
    assert result["failed"]
    assert lines[0] == first_line
    follow = "sudo tail -n 100 -F /disk/jobs/sft.log"  # the log is not for the user who logs in
    assert lines[-4] == f"unit tpuops-sft.service on tpu; follow its log with: {follow}"
    assert lines[-2:] == ["  Traceback (most recent call last):", "  ValueError: no column"]


def test_a_secret_that_a_program_printed_is_not_shown(clock: list[float], shown: list[str]) -> None:
    action = Action(
        {"secrets": {"HF_TOKEN": "hf_secret"}},
        [
            started(),
            look("the token is hf_secret\n", 23),
            {**look(status="failed", exit_code=1, seconds=1), "log_tail": ["the token is hf_secret"]},
        ],
    )
    result = action.run(task_vars={})
    assert shown
    assert "hf_secret" not in str(shown) + str(result)


def test_a_cut_is_waited_out(clock: list[float], shown: list[str]) -> None:
    cut = AnsibleConnectionFailure("ssh: connect to host: No route to host")
    gone = {"unreachable": True, "msg": "gone"}
    action = Action({}, [started(), cut, gone, SILENT, KILLED, cut, look(status="finished")])
    assert action.run(task_vars={})["job"]["status"] == "finished"
    assert shown == ["sft  connection lost; trying again for 5 min"]
    assert action._connection.resets == 5


def test_a_module_that_breaks_is_no_cut(clock: list[float], shown: list[str]) -> None:
    action = Action({}, [started(), {**KILLED, "rc": 1, "module_stderr": "ImportError"}])
    result = action.run(task_vars={})
    assert (result["failed"], result["msg"], shown) == (True, KILLED["msg"], [])


def test_a_disk_that_is_not_mounted_yet_is_waited_for(clock: list[float], shown: list[str]) -> None:
    unmounted = {"jobs": [], "text": "", "offset": -1}
    action = Action({}, [started(), look(), unmounted, unmounted, look(status="finished")])
    assert action.run(task_vars={})["job"]["status"] == "finished"


def test_a_record_that_stays_away_is_an_error(clock: list[float], shown: list[str]) -> None:
    unmounted = {"jobs": [], "text": "", "offset": -1}
    action = Action({"reconnect_timeout": 60}, [started(), *[unmounted] * 100])
    result = action.run(task_vars={})
    assert result["failed"]
    assert "the record of job sft is gone" in result["msg"]
    assert "/disk/jobs/sft.log" in result["msg"]
    assert 60 <= clock[0] <= 70


def test_a_cut_that_does_not_end_is_told_with_what_to_do(clock: list[float], shown: list[str]) -> None:
    cuts = [AnsibleConnectionFailure("No route to host") for _ in range(100)]
    action = Action({"reconnect_timeout": 60}, [started(), *cuts])
    with pytest.raises(
        AnsibleConnectionFailure, match=r"could not be reached for 60 s.*Run the same command again"
    ):
        action.run(task_vars={})
    assert 60 <= clock[0] <= 70


def test_someone_else_took_the_name(clock: list[float], shown: list[str]) -> None:
    result = Action({}, [started(), look(fingerprint="other")]).run(task_vars={})
    assert result["failed"]
    assert "job sft was started anew by someone else" in result["msg"]


def test_what_another_controller_started_again_is_followed(clock: list[float], shown: list[str]) -> None:
    action = Action(
        {}, [started(), look("", 70), look(started="later"), look(started="later", status="finished")]
    )
    result = action.run(task_vars={})
    assert (result.get("failed"), result["job"]["started"]) == (None, "later")
    assert [arguments["offset"] for name, arguments in action.calls if name][-1] == -1


INTERRUPTED: Json = {"status": "interrupted", "reason": "the machine restarted or was replaced while it ran"}


@pytest.mark.parametrize(("allowed", "runs", "failed"), [(0, 1, True), (1, 2, True), (2, 3, None)])
def test_an_interrupted_job_is_started_again_as_often_as_allowed(
    clock: list[float], shown: list[str], allowed: int, runs: int, failed: bool | None
) -> None:
    answers = [
        started(),
        look(**INTERRUPTED),
        started(),
        look(**INTERRUPTED),
        started(),
        look(status="finished"),
    ]
    action = Action({"restart": {"interrupted": allowed}}, answers)
    result = action.run(task_vars={})
    assert result.get("failed") is failed
    assert len([name for name, _arguments in action.calls if name is None]) == runs
    assert len([line for line in shown if "starting it again" in line]) == runs - 1


def test_an_interrupted_upload_is_started_again_without_being_told(
    clock: list[float], shown: list[str]
) -> None:
    class Upload(Action, hf_upload.ActionModule):
        pass

    answers = [started(), look(**INTERRUPTED), started(), look(status="finished")]
    action = Upload({"repo_id": "me/tuned", "folder": "/disk/tuned"}, answers)
    assert action.run(task_vars={})["job"]["status"] == "finished"
    assert shown[0] == "me/tuned  comparing /disk/tuned with the Hub by size and hash"


def test_written_bytes_are_shown_with_the_expected_ones(clock: list[float], shown: list[str]) -> None:
    reporter = job_lines.Shown("convert", shown.append, needed=8_000_000_000)
    for second in range(0, 41, 10):
        clock[0] = float(second)
        reporter.update("", second * 100_000_000)
    assert shown == [
        "convert  10 s  1.0 of about 8.0 GB written  100.0 MB/s  ETA 70 s",
        "convert  20 s  2.0 of about 8.0 GB written  100.0 MB/s  ETA 60 s",
        "convert  30 s  3.0 of about 8.0 GB written  100.0 MB/s  ETA 50 s",
        "convert  40 s  4.0 of about 8.0 GB written  100.0 MB/s  ETA 40 s",
    ]


def test_a_full_disk_is_told_with_the_remedy(clock: list[float], shown: list[str]) -> None:
    tail = [
        "ValueError: RESOURCE_EXHAUSTED: No space left on device [os_error_code='28']",
        "RuntimeError: died",
    ]
    action = Action({}, [started(), {**look(status="failed", exit_code=1, seconds=9), "log_tail": tail}])
    message = action.run(task_vars={})["msg"]
    assert message.splitlines()[0].endswith(tail[0])
    assert "The disk is full." in message
    assert "tpu_vm_disk_size_gb" in message


@pytest.mark.parametrize(("status", "told"), [("failed", True), ("stopped", False)])
def test_what_the_hub_did_is_told_of_a_job_that_failed_by_it(
    clock: list[float], shown: list[str], status: str, told: bool
) -> None:
    tail = ["httpcore.ReadTimeout: timed out", "httpx.ReadTimeout: timed out"]
    action = Action({}, [started(), {**look(status=status, exit_code=1, seconds=9), "log_tail": tail}])
    lines = action.run(task_vars={})["msg"].splitlines()
    assert lines[0].endswith(": httpx.ReadTimeout: timed out")
    assert lines[1].startswith("The Hub did not answer") == told


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_is_explained_and_then_goes_on_its_way(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended_by: signal.Signals
) -> None:
    told = tmp_path / "terminal"
    monkeypatch.setattr(interruption, "terminal", lambda: opened(told))
    signals: list[int] = []

    def before(number: int, _frame: Any) -> None:
        signals.append(number)

    original = signal.signal(ended_by, before)
    try:
        with interruption.explained(RECORD):
            os.kill(os.getpid(), ended_by)
        assert signal.getsignal(ended_by) is before
    finally:
        signal.signal(ended_by, original)
    assert signals == [ended_by]
    words = told.read_text()
    assert words.count("Job sft goes on") == 1
    assert "run the same command again" in words
    assert "ansible-playbook tpuops.maxtext.follow -e job_name=sft\n" in words
    assert "ansible-playbook tpuops.maxtext.stop -e job_name=sft," in words
    assert "systemctl stop tpuops-sft.service" in words


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    with path.open("ab", buffering=0) as file:
        yield file.fileno()


def test_a_terminal_that_nobody_reads_holds_up_no_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.write(writer, bytes(fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)))
    parent = subprocess.Popen(["sleep", "infinity"], stderr=writer)
    signals: list[int] = []
    original = signal.signal(signal.SIGINT, lambda number, _frame: signals.append(number))
    try:
        monkeypatch.setattr(os, "getppid", lambda: parent.pid)
        with interruption.explained(RECORD):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, original)
        parent.kill()
        parent.wait()
        os.close(reader)
        os.close(writer)
    assert signals == [signal.SIGINT]


class Nodes:
    """Google's answers to what the state of the node is, one after the other; the last one stays."""

    def __init__(self, *states: str) -> None:
        self.states = list(states)

    def state(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


NODE = {"name": "tpu", "zone": "us-west1-c", "project": "my-project", "auth": {"access_token": "t"}}
CUT = AnsibleConnectionFailure("No route to host")


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Google says of the node, in turn."""
    nodes = Nodes("READY")
    monkeypatch.setattr(Watch, "state", lambda _watch: nodes.state())
    return nodes.states


def lose(google: list[str], *states: str) -> None:
    google[:] = states


@pytest.mark.parametrize(
    ("state", "kind"),
    [("PREEMPTED", "preempted"), ("TERMINATED", "preempted"), ("STOPPED", "lost"), ("lost", "lost")],
)
def test_a_lost_node_is_a_failure_that_can_be_rescued(
    clock: list[float], shown: list[str], google: list[str], state: str, kind: str
) -> None:
    lose(google, "READY", state)
    progress = {**RECORD["progress"], "format": "maxtext", "total": 3}
    first = started(job={**RECORD, "progress": progress})
    action = Action({"node": NODE}, [first, look(STEP.format(2), 50), CUT, CUT, CUT])
    result = action.run(task_vars={})
    assert (result["failed"], result["failure"]["kind"], result["failure"]["reason"]) == (True, kind, state)
    assert result["reached"]["step"] == 2
    assert f"it {'starts' if state == 'STOPPED' else 'creates'} the TPU VM again" in result["msg"]
    assert clock[0] < 60
    assert all("node" not in arguments for _name, arguments in action.calls)


@pytest.mark.parametrize("answer", [CUT, SILENT, KILLED])
def test_a_node_that_is_lost_before_the_job_begins(shown: list[str], google: list[str], answer: Any) -> None:
    lose(google, "PREEMPTED")
    assert Action({"node": NODE}, [answer]).run(task_vars={})["failure"]["kind"] == "preempted"


@pytest.mark.parametrize(
    ("name", "told"), [(None, "The TPU VM tpu is"), ("sft", "job sft: the TPU VM tpu is")]
)
def test_a_job_without_a_name_yet_is_not_named(
    shown: list[str], google: list[str], name: str | None, told: str
) -> None:
    """The module hf_upload names its job by what it finds on the machine."""
    lose(google, "PREEMPTED")
    assert Action({"node": NODE, "name": name}, [CUT]).run(task_vars={})["msg"].startswith(told)


def test_a_node_that_goes_down_is_asked_about(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    lose(google, "READY", "PREEMPTED")
    action = Action({"node": NODE}, [started(), look(), SILENT, SILENT, SILENT])
    assert action.run(task_vars={})["failure"]["kind"] == "preempted"


def test_a_machine_that_is_there_but_silent_is_no_lost_node(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    action = Action({"node": NODE, "reconnect_timeout": 60}, [started(), *[CUT] * 100])
    with pytest.raises(AnsibleConnectionFailure, match="could not be reached for 60 s") as silent:
        action.run(task_vars={})
    assert "Google says that the TPU VM tpu is READY" in str(silent.value)
    assert "delete it with ansible-playbook tpuops.maxtext.teardown, which keeps the disk" in str(
        silent.value
    )


@pytest.mark.parametrize("word", ["TIMEOUT", "UNHEALTHY_TENSORFLOW", "UNHEALTHY_MAINTENANCE", "UNKNOWN"])
def test_a_machine_that_is_unreachable_and_unhealthy_is_lost_once_the_wait_is_over(
    clock: list[float], shown: list[str], google: list[str], word: str
) -> None:
    lose(google, word)
    action = Action({"node": NODE, "reconnect_timeout": 60}, [started(), *[CUT] * 100])
    result = action.run(task_vars={})
    assert (result["failure"]["kind"], result["failure"]["reason"]) == ("lost", word)
    assert "Delete it with ansible-playbook tpuops.maxtext.teardown, which keeps the disk" in result["msg"]
    assert 60 <= clock[0] <= 70
    action = Action({"node": NODE}, [started(), CUT, CUT, look(status="finished")])
    assert action.run(task_vars={})["job"]["status"] == "finished"


@pytest.mark.parametrize(
    ("node", "word"),
    [
        ({"state": "READY", "health": "HEALTHY"}, "READY"),
        ({"state": "READY"}, "READY"),
        ({"state": "READY", "health": "HEALTH_UNSPECIFIED"}, "READY"),
        ({"state": "READY", "health": "TIMEOUT"}, "TIMEOUT"),
        ({"state": "REPAIRING", "health": "UNHEALTHY_MAINTENANCE"}, "REPAIRING"),
        ({"state": "PREEMPTED", "health": "TIMEOUT"}, "PREEMPTED"),
        (None, "lost"),
    ],
)
def test_the_health_of_a_ready_node_counts(
    monkeypatch: pytest.MonkeyPatch, node: Json | None, word: str
) -> None:
    monkeypatch.setattr(node_loss, "connect", lambda _options: None)
    monkeypatch.setattr(Tpus, "get_node", lambda *_: node)
    assert Watch(NODE).state() == word


def test_a_repair_is_waited_for_and_then_given_up(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    lose(google, "REPAIRING")
    action = Action({"node": NODE, "reconnect_timeout": 60}, [started(), *[CUT] * 100])
    assert action.run(task_vars={})["failure"]["kind"] == "lost"
    assert 60 <= clock[0] <= 70
    lose(google, "REPAIRING", "READY")
    action = Action({"node": NODE}, [started(), CUT, CUT, look(status="finished")])
    assert action.run(task_vars={})["job"]["status"] == "finished"


def test_google_may_not_answer_either(clock: list[float], shown: list[str], google: list[str]) -> None:
    lose(google, "unknown")
    action = Action({"node": NODE}, [started(), CUT, CUT, look(status="finished")])
    assert action.run(task_vars={})["job"]["status"] == "finished"


def test_the_shutdown_of_a_preemption_reaches_the_job_before_google_tells(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    lose(google, "READY", "READY", "PREEMPTED")
    answers = [started(), look(status="interrupted", reason=job_action.SHUT_DOWN)]
    assert Action({"node": NODE}, answers).run(task_vars={})["failure"]["kind"] == "preempted"


def test_a_job_that_failed_on_a_living_node_failed_by_itself(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    answers = [started(), {**look(status="failed", exit_code=1, seconds=9), "log_tail": []}]
    result = Action({"node": NODE}, answers).run(task_vars={})
    assert "failure" not in result
    assert result["job"]["status"] == "failed"
    assert clock[0] == 0


def test_a_job_that_was_stopped_is_not_taken_for_lost_with_its_node(
    clock: list[float], shown: list[str], google: list[str]
) -> None:
    lose(google, "DELETING")
    answers = [started(), {**look(status="stopped", seconds=5), "log_tail": []}]
    assert "failure" not in Action({"node": NODE}, answers).run(task_vars={})


CHANGED = AnsibleConnectionFailure(
    "Failed to connect to the host via ssh: WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! "
    "Host key verification failed."
)
WORKER = {
    "name": "projects/my-project/locations/us-west1-c/nodes/tpu",
    "id": "7",
    "state": "READY",
    "networkEndpoints": [{"ipAddress": "10.0.0.1"}],
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the host keys that SSH trusts; a repaired machine has another key than the one in it."""
    file = tmp_path / "known_hosts"
    known_hosts.add(str(file), {"tpu.7-0": OLD, "tpu.8-0": OLD})
    monkeypatch.setattr(node_loss, "connect", lambda _options: None)
    monkeypatch.setattr(Tpus, "get_node", lambda *_: WORKER)
    return file


OLD, NEW = (f"ssh-ed25519 {public_key(word)}" for word in ("old", "new"))


def publish(monkeypatch: pytest.MonkeyPatch, *answers: list[str] | GcpError) -> None:
    left = list(answers)

    def host_keys(*_: object) -> list[str]:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, GcpError):
            raise answer
        return answer

    monkeypatch.setattr(Tpus, "host_keys", host_keys)


def test_a_host_key_that_a_repaired_machine_publishes_is_trusted_while_the_job_is_followed(
    clock: list[float], shown: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, [], GcpError("not now"), [OLD], [NEW])
    watched = {**NODE, "known_hosts_file": str(file)}
    answers = [started(), CHANGED, CHANGED, CHANGED, CHANGED, look(status="finished")]
    assert Action({"node": watched}, answers).run(task_vars={})["job"]["status"] == "finished"
    assert known_hosts.read(str(file)) == {"tpu.7-0": NEW, "tpu.8-0": OLD}
    assert len([line for line in shown if "tpu has published a new host key" in line]) == 1


@pytest.mark.parametrize("published", [[], [OLD], [""]])
def test_a_host_key_that_nobody_published_is_refused_as_long_as_the_machine_is_waited_for(
    clock: list[float], shown: list[str], file: Path, monkeypatch: pytest.MonkeyPatch, published: list[str]
) -> None:
    publish(monkeypatch, published)
    before = file.read_bytes()
    action = Action({"node": {**NODE, "known_hosts_file": str(file)}}, [started(), *[CHANGED] * 100])
    with pytest.raises(AnsibleConnectionFailure, match="Host key verification failed"):
        action.run(task_vars={})
    assert file.read_bytes() == before


def test_google_is_not_asked_for_host_keys_when_the_machine_is_only_silent(
    clock: list[float], shown: list[str], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, [NEW])
    answers = [started(), CUT, CUT, look(status="finished")]
    action = Action({"node": {**NODE, "known_hosts_file": str(file)}}, answers)
    assert action.run(task_vars={})["job"]["status"] == "finished"
    assert known_hosts.read(str(file))["tpu.7-0"] == OLD


def test_a_wrong_node_is_named(shown: list[str]) -> None:
    with pytest.raises(AnsibleActionFail, match="node: missing required arguments: zone"):
        Action({"node": {"name": "tpu", "project": "p"}}, []).run(task_vars={})
