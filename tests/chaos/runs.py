# SPDX-License-Identifier: GPL-3.0-or-later
"""One run of site.yml from nothing, cut where a plan says, started again until it has finished."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from tests.e2e.support import MOUNT, RECORDS, ROOT, Cloud

from .cuts import CUTS, PLAYS, STAGES, Cut, CutError, localcloud

DISK = "tpu-data-disk"
STARTS = 6  # of the same command, at most; a run with more cuts gets one more for each
TASK = re.compile(r"^TASK \[tpuops\.maxtext\.(\w+) : (.+?)\] \**$", re.MULTILINE)
ERROR = re.compile(r"^\[ERROR\]: (.*(?:\n(?!\s*$|Origin:|PLAY|TASK|fatal|<<<).*)*)", re.MULTILINE)
UNREACHABLE = " is unreachable. Jobs on it go on."  # of the callback unreachable
PLAY = re.compile(r"^PLAY \[(.+?)\] \**$", re.MULTILINE)
STEP = re.compile(r"^sft-\S+  step (\d+)/", re.MULTILINE)
LOSS = re.compile(r"completed step: (\d+),.*?, loss: ([\d.]+|nan|inf)")
LOSS_TOLERANCE = 1e-3  # of a loss, which the log gives with three digits behind the point
#: Not searched for the token after each run: gigabytes of an installer that has none. The test of the whole
#: pipeline searches them.
LIBRARIES = ("site-packages", "uv")
PERIOD = 15  # steps between two checkpoints: a quarter of the inventory's steps
WRITTEN_IN = 3  # steps, at most, in which a checkpoint is written: training goes on meanwhile
#: Cuts that do not touch the node and what runs on it.
OF_THE_CONTROLLER = ("controller killed (kill -9)", "Ctrl-C")
#: Cuts that may cost a whole checkpoint, or the writing of one.
OF_THE_DISK = ("disk full for 20 s", "disk failing for 20 s")

#: Tasks, as (role, task), that start a long job, and how often one may end in a run, whatever happens to it.
ENDS = {
    ("locked_env", "Install what the lock names"): 2,  # for training and for vLLM
    ("convert", "Download the model and convert it"): 1,
    ("sft", "Train"): 1,
    ("export", "Convert the checkpoint to the Hub's format"): 1,
}


class RunError(AssertionError):
    """What a run did that it must not."""


@dataclass(frozen=True)
class Planned:
    """A cut, the stage that it is to hit, and the moment: the part of its usual time that has passed.

    told: besides, the command that now runs must have told this, a regular expression.
    """

    cut: str
    stage: str
    moment: float
    told: str = ""


@dataclass
class Outcome:
    """What a cut did.

    seen: what the user read, empty when the command went on by itself;
    starts: how often the command had to be started again; seconds: how much longer the stages from this one
    to `until` took than in a run without cuts, the starts included; steps: trained twice in them; sent: bytes
    that went over the network more than in that run; until: where the fault healed or a failure was seen,
    whichever came last: a fault may outlive its stage; finished: whether the run then came to its end, and
    what came out was as it must be.
    """

    cut: str
    stage: str
    seen: str = ""
    starts: int = 0
    seconds: float = 0.0
    steps: int = 0
    sent: int = 0
    until: str = ""
    finished: bool = False

    def __post_init__(self) -> None:
        self.until = self.until or self.stage

    def reach(self, stage: str) -> None:
        """It is felt in a stage; an earlier one, through which the command went again, does not count."""
        if stage in STAGES:
            self.until = max(self.until, stage, key=STAGES.index)

    def show(self, failure: str, stage: str) -> None:
        """The user read of a failure in a stage."""
        self.reach(stage)
        told = failure if stage in ("", self.stage) else f"in {stage}: {failure}"
        self.seen += f" | {told}" if self.seen else told


def stage_of(told: str) -> str:
    """The stage that a playbook's output has come to; empty before the first one."""
    stages: tuple[str, ...] = ()
    begin = 0
    # The plays after a machine that cannot be reached are played without it.
    told = told.partition(UNREACHABLE)[0]
    for play in PLAY.finditer(told):
        if play.group(1) in PLAYS:
            stages, begin = PLAYS[play.group(1)], play.end()
    roles = [task.group(1) for task in TASK.finditer(told, begin) if task.group(1) in stages]
    return [*stages[:1], *roles][-1] if stages else ""


@dataclass
class Playbook:
    """An ansible-playbook that runs and writes into a file."""

    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, cloud: Cloud, log: Path, *arguments: str, playbook: str = "site.yml") -> Playbook:
        with log.open("a") as out:
            process = subprocess.Popen(
                ["ansible-playbook", playbook, *arguments],
                cwd=ROOT,
                env=cloud.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def told(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def stage(self) -> str:
        """The stage that is at work; a role that only serves another one's play counts as that."""
        return stage_of(self.told)

    def failure(self) -> str:
        """What the user reads when it ended badly: the last error. A killed one says nothing."""
        if (self.process.returncode or 0) < 0:
            return f"the command is gone ({signal.Signals(-self.process.returncode).name})"
        found = ERROR.findall(self.told)
        return " ".join(found[-1].split()) if found else f"exit status {self.process.returncode}"


class Traffic:
    """How many bytes of requests and answers went through the servers of a cloud since it came up."""

    LINE = re.compile(r" ms, (\d+) in, (\d+) out$", re.MULTILINE)

    def __init__(self, cloud: Cloud) -> None:
        self._log = Path(cloud.settings["state_dir"]) / "server.log"
        self._read = 0
        self._bytes = 0

    def __call__(self) -> int:
        with self._log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self._bytes += sum(int(a) + int(b) for a, b in self.LINE.findall(whole.decode(errors="replace")))
        return self._bytes


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes up to a moment, or of a stage."""

    seconds: float
    sent: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.seconds - other.seconds, self.sent - other.sent)


@dataclass
class Run:
    """A run with a plan of cuts, each once the one before has healed.

    missed: those of the plan that did not strike, because their stage was over or asked for nothing any more.
    """

    cloud: Cloud
    name: str
    directory: Path
    plan: list[Planned]
    usual: dict[str, Cost]
    outcomes: list[Outcome] = field(default_factory=list)
    missed: list[Planned] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    stage: str = ""
    entered: dict[str, Cost] = field(default_factory=dict)
    left: dict[str, Cost] = field(default_factory=dict)
    _healing: tuple[Planned, float] | None = None

    def __post_init__(self) -> None:
        self._traffic = Traffic(self.cloud)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._playbook.process

    def finish(self) -> None:
        """Start the command until it has ended well. RunError when it does not within so many starts."""
        self.plan = sorted(self.plan, key=lambda planned: (STAGES.index(planned.stage), planned.moment))
        allowed = STARTS + len(self.plan)
        for start in range(1, allowed + 1):
            # A node that is lost at the very end is created again, for `check` to look at what came out.
            if self._start(start) == 0 and self._is_there():
                self.missed += self.plan
                return
        self._leave()
        raise RunError(f"{self.name} did not finish within {allowed} starts; see {self.logs[-1]}")

    def _start(self, number: int) -> int:
        """One start of the command, up to its end."""
        log = self.directory / f"{self.name}-{number}.log"
        log.unlink(missing_ok=True)  # an earlier invocation's
        self.logs.append(log)
        for outcome in self.outcomes[-1:]:
            outcome.starts += 1
        self._playbook = Playbook.start(self.cloud, log, "-e", f"run_name={self.name}")
        while (status := self.process.poll()) is None:
            self._observe()
            self._strike_when_due()
            self._heal_when_due()
            time.sleep(0.05)
        self._observe()
        if status == 0:
            self._leave()
        elif self.outcomes:
            self.outcomes[-1].show(self._playbook.failure(), self.stage)
        else:
            raise RunError(f"{self.name} failed before it was cut: {self._playbook.failure()}; see {log}")
        # Who starts the command again does so when the fault has passed.
        while self._healing and self._cut.lasts is not None:
            self._heal_when_due()
            time.sleep(0.05)
        return status

    def _is_there(self) -> bool:
        """Whether the node is: its state, however its machine answers."""
        return any(
            node["state"] == "READY" for node in json.loads(localcloud(self, "status", "--json"))["nodes"]
        )

    @property
    def _cut(self) -> Cut:
        """The one that is to be healed."""
        assert self._healing
        return CUTS[self._healing[0].cut]

    def _observe(self) -> None:
        self.stage = self._playbook.stage
        if self.stage and self.stage not in self.entered:
            self._leave()
            self.entered[self.stage] = self._now()

    def _leave(self) -> None:
        """Every stage that was entered is over."""
        for stage in self.entered.keys() - self.left.keys():
            self.left[stage] = self._now()
            if self._healing and self._cut.lasts is None:
                self._heal()

    def _now(self) -> Cost:
        return Cost(time.monotonic(), self._traffic())

    def _strike_when_due(self) -> None:
        if not self.plan or self._healing or self.stage not in STAGES:
            return
        planned = self.plan[0]
        later = STAGES.index(self.stage) > STAGES.index(planned.stage)
        if later and (planned.stage in self.left or planned.stage not in self.entered):
            self.missed.append(self.plan.pop(0))  # the stage was over before the moment came
            return
        if self.stage != planned.stage:
            return
        passed = time.monotonic() - self.entered[planned.stage].seconds
        if passed < planned.moment * self.usual[planned.stage].seconds:
            return
        if not re.search(planned.told, self._playbook.told, re.MULTILINE):
            return
        cut = CUTS[planned.cut]
        try:
            cut.strike(self)
        except CutError:
            return  # what it hits is not there yet, or not any more: again at once
        self.plan.pop(0)
        self.outcomes.append(Outcome(cut.name, planned.stage))
        if cut.heal:
            self._healing = (planned, time.monotonic() + (cut.lasts or 0))

    def _heal_when_due(self) -> None:
        if self._healing and self._cut.lasts is not None and time.monotonic() >= self._healing[1]:
            self.outcomes[-1].reach(self.stage)
            self._heal()

    def _heal(self) -> None:
        assert self._healing and self._cut.heal
        try:
            struck = self._cut.heal(self)
        except CutError:
            struck = True  # where the machine is gone there is nothing to heal
        if not struck:
            self.missed.append(self._healing[0])
            self.outcomes.pop()
        self._healing = None

    def reckon(self) -> None:
        """Fill in what each cut cost: in its stage, and in those it reached that no other cut hit."""
        costs = self.costs()
        hit = {outcome.stage for outcome in self.outcomes}
        for outcome in self.outcomes:
            reached = STAGES[STAGES.index(outcome.stage) : STAGES.index(outcome.until) + 1]
            counted = [stage for stage in reached if stage == outcome.stage or stage not in hit]
            more = [costs[stage] - self.usual[stage] for stage in counted if stage in costs]
            outcome.seconds = max(0.0, sum(each.seconds for each in more))
            outcome.sent = max(0, sum(each.sent for each in more))
            if "sft" in counted:
                outcome.steps = self.steps_twice()

    def steps_twice(self) -> int:
        """Steps that were shown before a cut and trained again after it."""
        return sum(repeats(self.shown()))

    def shown(self) -> list[int]:
        """The steps that the command has shown, in this order: every few seconds one."""
        return [int(step) for log in self.logs for step in STEP.findall(log.read_text(errors="replace"))]

    def costs(self) -> dict[str, Cost]:
        """What each stage that is over took, from its first moment to its last."""
        return {stage: self.left[stage] - self.entered[stage] for stage in self.left}


def repeats(steps: Sequence[int]) -> list[int]:
    """How many steps were trained again after each loss, of steps in the order in which they were told."""
    return [before - after + 1 for before, after in pairwise(steps) if after <= before]


def check(run: Run) -> None:
    """RunError unless no job that had ended ran again and the Hub has, byte for byte, what was exported.

    And unless training knows one loss for each step and went on from its last checkpoint, and the token of
    the Hub is nowhere: in no output, and not among what was left on either machine.
    """
    changed: dict[tuple[str, str], int] = {}
    for log in run.logs:
        text = log.read_text(errors="replace")
        if run.cloud.hf_token in text:
            raise RunError(f"{run.name}: {log} has the token of the Hub")
        matches = list(TASK.finditer(text))  # none where the command was killed before its first task
        bounds = [*(match.start() for match in matches), len(text)]
        for match, end in zip(matches, bounds[1:], strict=True):
            if re.search(r"^changed: ", text[match.end() : end], re.MULTILINE):
                key = (match.group(1), match.group(2))
                changed[key] = changed.get(key, 0) + 1
    if leaks := run.cloud.leaks(*LIBRARIES):
        raise RunError(f"{run.name}: the token of the Hub is in {', '.join(leaks)}")
    for task, allowed in ENDS.items():
        if changed.get(task, 0) > allowed:
            raise RunError(f"{run.name}: {', '.join(task)} ran {changed[task]} times to its end")
    if all(outcome.cut in OF_THE_CONTROLLER for outcome in run.outcomes):
        again = {name: record["runs"] for name, record in run.cloud.records().items() if record["runs"] > 1}
        if again:
            raise RunError(f"{run.name}: jobs ran more than once: {again}")
    losses(run)
    went_on(run)
    target = run.directory / f"{run.name}-download"
    settings = run.cloud.settings
    done = run.cloud.command(
        ["hf", "download", f"{settings['hf_username']}/{run.name}", "--local-dir", str(target)],
        HF_ENDPOINT=settings["hub"],
        HF_TOKEN=run.cloud.hf_token,
    )
    if done.returncode:
        raise RunError(f"{run.name}: what was uploaded cannot be downloaded: {done.stderr}")
    sums = run.cloud.ssh(f"cd {MOUNT}/huggingface/{run.name} && sha256sum *").splitlines()
    exported = {name: digest for digest, name in (line.split(maxsplit=1) for line in sums)}
    if "model.safetensors" not in exported:
        raise RunError(f"{run.name}: there is no model in the export: {exported}")
    uploaded = {name: hashlib.sha256((target / name).read_bytes()).hexdigest() for name in exported}
    if uploaded != exported:
        raise RunError(f"{run.name}: the Hub has {uploaded}, the export is {exported}")


def trained(run: Run) -> list[tuple[int, float]]:
    """Steps and losses as the trainer told them. The log of the run before, .log.1, comes first."""
    told = run.cloud.ssh(f"sudo -n sh -c 'logs=$(ls -r {RECORDS}/sft-{run.name}.log*) && cat $logs'")
    return [(int(match.group(1)), float(match.group(2))) for match in LOSS.finditer(told)]


def went_on(run: Run) -> None:
    """RunError where more was trained again after a loss than what no checkpoint could have kept."""
    if any(outcome.cut in OF_THE_DISK for outcome in run.outcomes):
        return
    for steps in (run.shown(), [step for step, _ in trained(run)]):
        for again in repeats(steps):
            if again > PERIOD + WRITTEN_IN:
                raise RunError(
                    f"{run.name}: {again} steps were trained again, with a checkpoint every {PERIOD}"
                )


def losses(run: Run) -> dict[int, float]:
    """The loss of each step. RunError where there is none, or where a step that was trained twice has two.

    A cut right after a checkpoint may take the line of its step: the trainer writes that one step later, and
    the training goes on behind the checkpoint.
    """
    found: dict[int, float] = {}
    for step, loss in trained(run):
        if not math.isclose(found.setdefault(step, loss), loss, rel_tol=LOSS_TOLERANCE):
            raise RunError(f"{run.name}: step {step} had loss {found[step]}, and then {loss}")
    missing = set(range(min(found), max(found))) - set(found)
    saved = {step for step in missing if step % PERIOD == 0}
    if missing - saved or len(saved) > len(run.outcomes):
        raise RunError(f"{run.name}: the losses of the steps {sorted(missing)} are nowhere")
    return found


def clear(cloud: Cloud, log: Path) -> None:
    """Delete node and disk, so that the next run starts from nothing but the caches of this machine."""
    arguments = ["-e", f"tpu_vm_delete_disk={DISK}", "-e", "tpu_vm_force=true"]
    playbook = Playbook.start(cloud, log, *arguments, playbook="playbooks/teardown.yml")
    if playbook.process.wait():
        raise RunError(f"the teardown failed: {playbook.failure()}; see {log}")


def kill(run: Run) -> None:
    """End what a run that is given up has left."""
    if run.process.poll() is None:
        os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def take(run: Run) -> Run:
    """Let a run finish, and check what came out. RunError where it does not: its outcomes say so as well."""
    try:
        run.finish()
    finally:
        kill(run)
        run.reckon()
    check(run)
    for outcome in run.outcomes:
        outcome.finished = True
    return run
