# SPDX-License-Identifier: GPL-3.0-or-later
"""How cuts are drawn and shared out, and how the table shows them."""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.callback.unreachable import advice
from ansible_collections.tpuops.maxtext.plugins.modules.hf_upload import PROGRAM

from tests.chaos import __main__ as main
from tests.chaos import cuts, runs, table
from tests.chaos.__main__ import choose, draw, share_out
from tests.chaos.cuts import CUTS, PLAYS, STAGES
from tests.chaos.runs import ENDS, Cost, Outcome, Planned, Playbook, Run, RunError, check, losses, stage_of

ROOT = Path(__file__).resolve().parents[3]
ALL = choose((), (), ())
NUMBER = len(ALL)
TASK = "TASK [tpuops.maxtext."
KILLED = "controller killed (kill -9)"
LOST = f"fatal: [tpu]: UNREACHABLE! =>\n{advice('tpu')}\n"


def test_every_cell_is_drawn_before_one_comes_twice() -> None:
    drawn = [(cut.cut, cut.stage) for cut in draw(NUMBER, 7, ALL)]
    assert sorted(drawn) == sorted(ALL)
    assert len(draw(NUMBER + 3, 7, ALL)) == NUMBER + 3


def test_a_seed_draws_the_same_cuts_again() -> None:
    assert draw(50, 7, ALL) == draw(50, 7, ALL)
    assert draw(50, 7, ALL) != draw(50, 8, ALL)


def test_the_stages_take_turns() -> None:
    """A run takes minutes, and one cut of a stage at most."""
    assert len(share_out(draw(50, 7, ALL), len(STAGES))) == math.ceil(50 / len(STAGES))


def test_only_what_was_asked_for_is_drawn() -> None:
    drawn = draw(4, 7, choose((KILLED,), ("sft", "convert"), ()))
    assert {(cut.cut, cut.stage) for cut in drawn} == {(KILLED, "sft"), (KILLED, "convert")}


def test_what_cuts_did_is_kept_also_where_the_run_does_not_finish(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(main, "OUTCOMES", tmp_path / "outcomes.jsonl")
    for name in ("clear", "kill", "check"):
        monkeypatch.setattr(runs, name, lambda *_: None)

    def finish(run: Run) -> None:
        stage = run.plan[0].stage
        run.outcomes.append(Outcome(KILLED, stage))
        run.entered[stage] = run.left[stage] = Cost(0.0, 0)
        if stage == "sft":
            raise RunError("chaos-1 did not finish")

    monkeypatch.setattr(Run, "finish", finish)
    cloud = made(tmp_path).cloud
    plans = [[Planned(KILLED, stage, 0.5)] for stage in ("sft", "export")]
    failed: list[str] = []
    main.one_round(cloud, dict.fromkeys(STAGES, Cost(0.0, 0)), plans, 1, failed)
    assert failed == ["chaos-1 did not finish"]
    saved = table.load(tmp_path / "outcomes.jsonl")
    assert [(outcome.stage, outcome.finished) for outcome in saved] == [("sft", False), ("export", True)]


def test_cells_that_are_known_are_not_drawn_again() -> None:
    known = {(KILLED, "sft"), ("node preempted", "convert")}
    drawn = draw(NUMBER - 2, 7, choose((), (), known))
    assert {(cut.cut, cut.stage) for cut in drawn} == set(ALL) - known
    assert draw(3, 7, choose((KILLED,), ("sft",), known)) == []


def test_a_run_gets_one_cut_a_stage_and_all_are_shared_out() -> None:
    drawn = draw(50, 7, ALL)
    plans = share_out(drawn, 6)
    assert max(map(len, plans)) <= 6
    assert all(len({cut.stage for cut in plan}) == len(plan) for plan in plans)
    assert sum(map(len, plans)) == 50


@pytest.mark.parametrize(
    ("command", "killed"),
    [
        ("env/train/bin/python -m maxtext.checkpoint_conversion.to_huggingface base.yml", True),
        (f"env/train/bin/python -I /run/tpuops/upload-local.x/{PROGRAM} upload {{}}", True),
        ("env/train/bin/python -I - compare {}", False),
    ],
)
def test_the_process_of_export_is_its_conversion_or_its_upload(command: str, killed: bool) -> None:
    assert bool(re.search(cuts.PROCESSES["export"], command)) == killed


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_spares_only_stages_that_exist_and_not_all(name: str) -> None:
    assert set(CUTS[name].spares) < set(STAGES)


def test_the_table_has_a_row_for_every_stage_of_every_cut(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    outcomes = [
        Outcome(KILLED, "sft", "", 1, 12.6, 4, 2_500_000, finished=True),
        Outcome(KILLED, "sft", "", 0, 30.0, 0, 0, finished=True),
        Outcome(KILLED, "export", "", 1, 30.0, finished=True),
        Outcome(KILLED, "export", "", 0, 3.0, finished=False),
        Outcome("node preempted", "convert", "a <b> | c", 2, 60.0, finished=True),
    ]
    table.write(outcomes, page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert text.count("\n| ") == len(CUTS) * (1 + len(STAGES))
    assert "5 cuts; after 4 the run finished" in text
    assert "| sft | goes on by itself | 1 | 13 | 4 | 2.5 | yes |" in text
    assert "| export | goes on by itself | 0 | 3 | 0 | 0.0 | no |" in text
    assert "| convert | a &lt;b> \\| c | 2 | 60 | 0 | 0.0 | yes |" in text
    assert "| preflight | *Nothing is created yet.* | | | | | |" in text


@pytest.mark.parametrize(("role", "task"), ENDS)
def test_the_tasks_that_must_not_end_twice_are_the_roles_own(role: str, task: str) -> None:
    assert f"- name: {task}\n" in (ROOT / "roles" / role / "tasks" / "main.yml").read_text()


def test_outcomes_outlive_a_run_of_the_program(tmp_path: Path) -> None:
    path = tmp_path / "outcomes.jsonl"
    first, second = Outcome(KILLED, "sft"), Outcome(KILLED, "convert", "why", 1, 2.0, 3, 4, "sft", True)
    table.save(path, [first])
    table.save(path, [second])
    assert table.load(path) == [first, second]


LOG = """
PLAY [Convert] ***
TASK [tpuops.maxtext.convert : Download the model and convert it] ***
changed: [tpu]
PLAY [Train] ***
TASK [tpuops.maxtext.sft : Train] ***
sft-x  step 10/60  loss 1
sft-x  step 30/60  loss 1
[ERROR]: Task failed: job sft-x failed
with status 1
Origin: /a/file.yml:1:2

fatal: [tpu]: FAILED!
"""


@dataclass
class Ended:
    returncode: int


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (2, "Task failed: job sft-x failed with status 1"),
        (-9, "the command is gone (SIGKILL)"),
    ],
)
def test_a_log_tells_stage_and_error(tmp_path: Path, status: int, failure: str) -> None:
    log = tmp_path / "log"
    log.write_text(LOG)
    playbook = Playbook(Ended(status), log)  # type: ignore[arg-type]
    assert playbook.stage == "sft"
    assert playbook.failure() == failure


def test_the_plays_are_those_of_the_playbooks() -> None:
    names = [
        play["name"]
        for path in (ROOT / "playbooks").glob("*.yml")
        for play in yaml.safe_load(path.read_text())
    ]
    assert set(PLAYS) <= set(names)


@pytest.mark.parametrize(
    ("told", "stage"),
    [
        ("", ""),
        ("PLAY [Preflight] **\n\nTASK [tpuops.maxtext.sft : Check the numbers] **\n", "preflight"),
        ("PLAY [Provision] **\n\nPLAY [Name the workers of this run] **\n", "tpu_vm"),
        ("PLAY [Prepare] **\n", "data_disk"),
        (
            f"PLAY [Prepare] **\n{TASK}maxtext_env : A] **\n{TASK}locked_env : B] **\n",
            "maxtext_env",
        ),
        (f"PLAY [Train] **\n{TASK}data_disk : Mount it again] **\n", "sft"),
        # What follows an unreachable machine is played without it.
        (f"PLAY [Train] **\n{TASK}sft : Train] **\n{LOST}PLAY [Evaluate] **\n", "sft"),
    ],
)
def test_a_stage_is_told_from_play_and_role(told: str, stage: str) -> None:
    assert stage_of(told) == stage


def test_steps_that_were_trained_twice_are_counted_over_all_starts(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text(LOG)
    second.write_text("sft-x  step 21/60  loss 1\nsft-x  step 60/60  loss 1\n")
    run = Run.__new__(Run)
    run.logs = [first, second]
    assert run.steps_twice() == 10


def test_the_period_is_the_inventorys() -> None:
    local = yaml.safe_load((ROOT / "inventories" / "local" / "group_vars" / "all" / "run.yml").read_text())
    assert local["sft_checkpoint_period"] == runs.PERIOD


MOST = runs.PERIOD + runs.WRITTEN_IN


@pytest.mark.parametrize(
    ("again", "cut", "allowed"),
    [
        ((), "node preempted", True),
        ((MOST,), "node preempted", True),
        ((MOST, MOST), "machine rebooted", True),  # after each loss so many
        ((MOST + 1,), "node preempted", False),
        ((2, MOST + 1), KILLED, False),
        ((MOST + 1,), "disk failing for 20 s", True),
    ],
)
@pytest.mark.parametrize("teller", ["trainer", "command"])
def test_training_again_what_a_checkpoint_kept_is_found(
    tmp_path: Path, again: tuple[int, ...], cut: str, allowed: bool, teller: str
) -> None:
    told = list(range(1, 41))
    for number in again:
        told += range(told[-1] - number + 1, told[-1] + 10)
    if teller == "trainer":
        run = made(tmp_path, trained=steps(*((step, 1.0) for step in told)))
    else:
        run = made(tmp_path, "".join(f"sft-x  step {step}/60  loss 1\n" for step in told))
    run.outcomes.append(Outcome(cut, "sft"))
    with nullcontext() if allowed else pytest.raises(RunError, match=f"{MOST + 1} steps were trained again"):
        runs.went_on(run)


def test_a_cost_is_what_lies_between_two_moments() -> None:
    assert Cost(5.0, 100) - Cost(2.0, 30) == Cost(3.0, 70)


@pytest.mark.parametrize(
    ("cleared", "struck"),
    [
        ("", True),
        ("fault-1  hub-slow  left=3  seconds=5\n", False),
        ("fault-1  hub-slow  struck=1  left=2  seconds=5\n", True),
        ("fault-1  hub-unauthorized\n", False),
        ("fault-1  hub-unauthorized  struck=4\n", True),
    ],
)
def test_a_fault_that_met_no_request_did_not_strike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cleared: str, struck: bool
) -> None:
    monkeypatch.setattr(cuts, "localcloud", lambda *_: cleared)
    planned = Planned("Hub slow (5 s), three times", "sft", 0.5)
    run = made(tmp_path)
    run.outcomes.append(Outcome(planned.cut, planned.stage))
    run._healing = (planned, 0.0)
    run._heal()
    assert run._healing is None
    assert (len(run.outcomes), run.missed) == ((1, []) if struck else (0, [planned]))


@pytest.mark.parametrize(
    ("stage", "seen", "until"),
    [
        ("vllm_serve", "why", "vllm_serve"),
        ("evaluate", "in evaluate: why", "evaluate"),
        ("tpu_vm", "in tpu_vm: why", "vllm_serve"),  # the same command comes through the earlier ones again
        ("", "why", "vllm_serve"),  # before the first stage
    ],
)
def test_a_failure_is_told_with_its_stage_where_that_is_another(stage: str, seen: str, until: str) -> None:
    outcome = Outcome("token revoked for 1 min", "vllm_serve")
    outcome.show("why", stage)
    assert (outcome.seen, outcome.until) == (seen, until)
    outcome.show("again", "vllm_serve")
    assert outcome.seen == f"{seen} | again"


@pytest.mark.parametrize(
    ("stage", "healed", "until"),
    [("maxtext_env", 0.0, "maxtext_env"), ("", 0.0, "tpu_vm"), ("maxtext_env", float("inf"), "tpu_vm")],
)
def test_a_fault_reaches_the_stage_in_which_it_heals(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stage: str, healed: float, until: str
) -> None:
    monkeypatch.setattr(cuts, "localcloud", lambda *_: "")
    planned = Planned("network cut for 3 min", "tpu_vm", 0.5)
    run = made(tmp_path)
    run.outcomes.append(Outcome(planned.cut, planned.stage))
    run.stage, run._healing = stage, (planned, healed)
    run._heal_when_due()
    assert run.outcomes[0].until == until


@pytest.mark.parametrize(
    ("outcomes", "costs"),
    [
        ([Outcome(KILLED, "convert")], [(1.0, 10)]),
        ([Outcome("network cut for 3 min", "convert", until="export")], [(1.0 + 2.0 + 4.0, 10 + 20 + 40)]),
        (
            [Outcome("network cut for 3 min", "convert", until="export"), Outcome(KILLED, "export")],
            [(1.0 + 2.0, 10 + 20), (4.0, 40)],
        ),
        ([Outcome(KILLED, "export", until="evaluate")], [(4.0, 40)]),  # the run did not get so far
    ],
)
def test_a_cut_costs_what_the_stages_took_that_it_reached(
    tmp_path: Path, outcomes: list[Outcome], costs: list[tuple[float, int]]
) -> None:
    run = made(tmp_path)
    run.outcomes = outcomes
    run.usual = dict.fromkeys(STAGES, Cost(100.0, 1000))
    run.entered = dict.fromkeys(("convert", "sft", "export"), Cost(0.0, 0))
    run.left = {"convert": Cost(101.0, 1010), "sft": Cost(102.0, 1020), "export": Cost(104.0, 1040)}
    run.reckon()
    assert [(outcome.seconds, outcome.sent) for outcome in outcomes] == costs


def made(tmp_path: Path, log: str = "", trained: str = "") -> Run:
    """A run with what its playbook and its trainer said."""
    (tmp_path / "server.log").touch()
    run = Run(Ssh({"state_dir": str(tmp_path)}, trained), "x", tmp_path, [], {})  # type: ignore[arg-type]
    run.logs.append(tmp_path / "log")
    run.logs[0].write_text(log)
    return run


@dataclass
class Ssh:
    """A cloud whose node has one file to show."""

    settings: dict[str, str]
    shown: str
    hf_token: str = "hf_secret"
    leaked: tuple[str, ...] = ()

    def leaks(self, *_: str) -> list[str]:
        return list(self.leaked)

    def ssh(self, _: str) -> str:
        return self.shown


@pytest.mark.parametrize(("role", "task"), ENDS)
def test_a_job_that_ends_too_often_is_found(tmp_path: Path, role: str, task: str) -> None:
    once = f"{TASK}{role} : {task}] ***\nchanged: [tpu]\n"
    with pytest.raises(RunError, match=f"{task} ran {ENDS[role, task] + 1} times to its end"):
        check(made(tmp_path, once * (ENDS[role, task] + 1)))


def test_a_token_that_is_left_is_found(tmp_path: Path) -> None:
    run = made(tmp_path)
    run.cloud = replace(run.cloud, leaked=("/tmp/left", "/etc/left"))  # type: ignore[call-arg]
    with pytest.raises(RunError, match="the token of the Hub is in /tmp/left, /etc/left"):
        check(run)


def test_a_token_in_a_log_is_found(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has the token"):
        check(made(tmp_path, "hf_secret"))


def steps(*losses: tuple[int, float]) -> str:
    return "\n".join(f"completed step: {step}, seconds: 1.0, loss: {loss}" for step, loss in losses)


def test_a_loss_curve_is_one_however_often_training_began(tmp_path: Path) -> None:
    trained = steps((0, 4.0), (1, 3.0), (2, 2.0), (1, 3.001), (2, 2.0), (3, 1.5))
    assert losses(made(tmp_path, trained=trained)) == {0: 4.0, 1: 3.0, 2: 2.0, 3: 1.5}


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (steps((0, 4.0), (1, 3.0), (1, 2.5)), "step 1 had loss 3.0, and then 2.5"),
        (steps((0, 4.0), (2, 3.0)), r"steps \[1\] are nowhere"),
    ],
)
def test_a_broken_loss_curve_is_found(tmp_path: Path, trained: str, said: str) -> None:
    with pytest.raises(RunError, match=said):
        losses(made(tmp_path, trained=trained))


def test_a_cut_may_take_the_line_of_a_checkpoint_s_step(tmp_path: Path) -> None:
    run = made(
        tmp_path,
        trained=steps((14, 4.0), (16, 3.0), (29, 2.0), (31, 1.0))
        + "\n"
        + steps(*((step, 1.0) for step in range(17, 29))),
    )
    with pytest.raises(RunError, match=r"steps \[15, 30\] are nowhere"):
        losses(run)  # nothing was cut
    run.outcomes += [Outcome("node preempted", "sft"), Outcome("node preempted", "export")]
    assert losses(run)[31] == 1.0
    run.outcomes.pop()
    with pytest.raises(RunError, match="nowhere"):
        losses(run)


@pytest.mark.parametrize(
    ("told", "struck"), [("sft-x  step 4/60  loss 1\n", 0), ("sft-x  step 20/60  loss 1\n", 1)]
)
def test_a_cut_waits_for_what_the_command_must_have_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str, struck: int
) -> None:
    monkeypatch.setattr(cuts, "localcloud", lambda *_: "")
    run = made(tmp_path, told)
    run._playbook = Playbook(Ended(0), run.logs[0])  # type: ignore[arg-type]
    run.plan, run.stage = [Planned("node preempted", "sft", 0.0, r"^sft-\S+  step [2-5]\d/")], "sft"
    run.entered, run.usual = {"sft": Cost(0.0, 0)}, {"sft": Cost(1.0, 0)}
    run._strike_when_due()
    assert len(run.outcomes) == struck
