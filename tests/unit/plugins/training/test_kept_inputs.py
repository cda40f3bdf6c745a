# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run keeps."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.kept_inputs import kept_inputs

OLD, OTHER = "a" * 40, "c" * 40
RUN = "demo"


def inputs(commit: str, **more: Any) -> dict[str, Any]:
    return {"dataset": "me/data", "dataset_revision": "main", "dataset_commit": commit, **more}


def job(commit: str, name: str = f"sft-{RUN}", status: str = "failed") -> dict[str, Any]:
    return {"name": name, "inputs": inputs(commit), "status": status}


@pytest.mark.parametrize(
    ("jobs", "checkpoint", "commit"),
    [
        pytest.param([], {}, None, id="nothing was read"),
        pytest.param([job(OLD)], {"latest_step": None, "latest_about": None}, None, id="no checkpoint"),
        pytest.param([job(OLD, status="running")], {"latest_step": None}, OLD, id="a job that runs"),
        pytest.param([job(OLD)], {"latest_step": 5, "latest_about": None}, OLD, id="no manifest"),
        pytest.param([job(OLD)], {"latest_step": 0, "latest_about": inputs(OTHER)}, OTHER, id="a manifest"),
        pytest.param([], {"latest_step": 5, "latest_about": None}, None, id="neither"),
        pytest.param([job(OLD, "sft-x")], {"latest_step": 5, "latest_about": None}, None, id="another run"),
    ],
)
def test_what_a_run_keeps(jobs: list[dict[str, Any]], checkpoint: dict[str, Any], commit: str | None) -> None:
    assert kept_inputs(jobs, RUN, checkpoint).get("dataset_commit") == commit
