# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller dies in every stage; the same command finishes the run. `make chaos` has the other cuts."""

from __future__ import annotations

import random
from pathlib import Path

from tests.chaos import runs
from tests.chaos.cuts import STAGES
from tests.chaos.runs import Cost, Planned

from .support import Cloud

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


def test_a_run_whose_controller_dies_in_every_stage_finishes(cloud: Cloud, tmp_path: Path) -> None:
    dice = random.Random(4)
    plan = [Planned("controller killed (kill -9)", stage, dice.uniform(0, 0.8)) for stage in STAGES]
    usual = {stage: Cost(seconds, 0) for stage, seconds in USUAL.items()}
    run = runs.take(cloud, "killed", tmp_path, plan, usual)
    struck = [outcome.stage for outcome in run.outcomes]
    assert {"maxtext_env", "convert", "sft", "export", "vllm_serve"} <= set(struck)
    assert [outcome.starts for outcome in run.outcomes] == [1] * len(struck)
    assert cloud.play("-e", "run_name=killed").recap["changed"] == 0
    runs.clear(cloud, tmp_path / "clear.log")
