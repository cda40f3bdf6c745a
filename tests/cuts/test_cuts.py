# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies in each stage that changes something, and training loses its node; the run finishes.

What came out, and what was left of the token, `runs.take` looks at. `make chaos` has the other cuts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import prepared
from tests.chaos import runs
from tests.chaos.cuts import STAGES
from tests.chaos.runs import Cost, Planned, Run
from tests.e2e.support import Cloud

#: When the controller is killed: at a line of its output, as a regular expression. Preflight and evaluate are
#: over within seconds and change nothing; `make chaos` cuts them too.
MOMENTS = {
    "tpu_vm": r"^TASK \[tpuops.maxtext.tpu_vm : Create the TPU VM and its data disk",
    "data_disk": r"^TASK \[tpuops.maxtext.data_disk : Write the mount unit",
    "maxtext_env": r"^env-train  ",
    "convert": r"^convert-\S+  \d+ s  ",
    "sft": r"^sft-\S+  step \d+/",
    "export": r"^export-\S+  \d+ s  ",
    "vllm_serve": r"^serve-start  ",
}
KILLED, PREEMPTED = "controller killed (kill -9)", "node preempted"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A finished run, without MaxText's environment and the converted model: their jobs are to be cut too."""
    with prepared.prepared_cloud(tmp_path_factory.mktemp("cuts")) as cloud:
        with prepared.disk_of(cloud) as disk:
            for model in (disk / "maxtext").glob("qwen3-4b-*/0/"):
                shutil.rmtree(model.parent)
            for environment in (disk / "env").glob("train-*/"):
                shutil.rmtree(environment)
            for job in (disk / ".tpuops" / "jobs").glob("*.json"):
                if job.name.startswith(("env-train", "convert-")):
                    job.unlink()
        yield cloud


def test_a_run_that_is_cut_in_each_stage_finishes(cloud: Cloud, tmp_path: Path) -> None:
    plan = [Planned(KILLED, stage, 0.0, told) for stage, told in MOMENTS.items()]
    # The training goes on by itself while the controller is away, and is preempted half way through, when the
    # next controller watches it: a task that is not a job says only to run the same command again.
    plan.append(Planned(PREEMPTED, "sft", 0.0, r"^sft-\S+  step [2-5]\d/"))
    usual = dict.fromkeys(STAGES, Cost(0, 0))
    run = runs.take(Run(cloud, "killed", tmp_path, plan, usual))
    killed = {outcome.stage: outcome.starts for outcome in run.outcomes if outcome.cut == KILLED}
    assert killed == dict.fromkeys(MOMENTS, 1)
    assert [outcome.starts for outcome in run.outcomes if outcome.cut == PREEMPTED] == [0]
    # No job but the training ran again, and that has one loss a step.
    assert {name: record["runs"] for name, record in cloud.records().items() if record["runs"] != 1} == {
        "sft-killed": 2
    }
    assert sorted(runs.losses(run)) == list(range(1, 61))
    again = runs.repeats([step for step, _ in runs.trained(run)])
    assert sum(again) <= runs.PERIOD + runs.WRITTEN_IN
    assert cloud.play("-e", "run_name=killed").recap["changed"] == 0
