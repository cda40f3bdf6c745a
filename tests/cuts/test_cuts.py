# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies in every stage and training loses its node; the same command finishes the run.

What came out, and what was left of the token, `runs.take` looks at. `make chaos` has the other cuts.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import prepared
from tests.chaos import runs
from tests.chaos.cuts import STAGES
from tests.chaos.runs import Cost, Planned, Run
from tests.e2e.support import Cloud

# What a stage takes here, roughly, in seconds: only the moments of the cuts come from it.
USUAL = {
    "preflight": 2,
    "tpu_vm": 6,
    "data_disk": 2,
    "maxtext_env": 10,
    "convert": 25,
    "sft": 40,
    "export": 20,
    "vllm_serve": 50,
    "evaluate": 5,
}


# Over within seconds, so that only their beginning is certain to be met.
SHORT = ("preflight", "data_disk", "evaluate")
KILLED, PREEMPTED = "controller killed (kill -9)", "node preempted"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A finished run, without MaxText's environment and the converted model: their jobs are to be cut too."""
    with prepared.prepared_cloud(tmp_path_factory.mktemp("cuts")) as cloud:
        with prepared.disk_of(cloud) as disk:
            shutil.rmtree(disk / "maxtext" / "qwen3-4b")
            for environment in (disk / "env").glob("train-*/"):
                shutil.rmtree(environment)
            for job in ("env-train", "convert-qwen3-4b"):
                (disk / ".tpuops" / "jobs" / f"{job}.json").unlink()
        yield cloud


def test_a_run_that_is_cut_in_every_stage_finishes(cloud: Cloud, tmp_path: Path) -> None:
    dice = random.Random(4)
    moments = {stage: dice.uniform(0, 0.8) for stage in STAGES if stage != "sft"} | dict.fromkeys(SHORT, 0.0)
    plan = [Planned(KILLED, stage, moment) for stage, moment in moments.items()]
    # The training goes on by itself while the controller is away, and is preempted half way through, when the
    # next controller watches it: a task that is not a job says only to run the same command again.
    plan += [Planned(KILLED, "sft", 0.2), Planned(PREEMPTED, "sft", 0.2, r"^sft-\S+  step [2-5]\d/")]
    usual = {stage: Cost(seconds, 0) for stage, seconds in USUAL.items()}
    run = runs.take(Run(cloud, "killed", tmp_path, plan, usual))
    killed = {outcome.stage: outcome.starts for outcome in run.outcomes if outcome.cut == KILLED}
    assert killed == dict.fromkeys(STAGES, 1)
    assert [outcome.starts for outcome in run.outcomes if outcome.cut == PREEMPTED] == [0]
    # No job but the training ran again, and that has one loss a step.
    assert {name: record["runs"] for name, record in cloud.records().items() if record["runs"] != 1} == {
        "sft-killed": 2
    }
    assert sorted(runs.losses(run)) == list(range(1, 61))
    again = runs.repeats([step for step, _ in runs.trained(run)])
    assert sum(again) <= runs.PERIOD + runs.WRITTEN_IN
    assert cloud.play("-e", "run_name=killed").recap["changed"] == 0
