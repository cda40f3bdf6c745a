# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run installs the server's environment while it trains, and what that means for the node."""

from __future__ import annotations

import pytest

from tests.json_types import Json

from . import expressions

CONDITIONS = (
    "playbooks/tasks/sft.yml: 0.Train, and continue on a new node when this one is lost/"
    "block.0.Install the environment of the server while the model is trained/when."
)
ALL: Json = {"ansible_run_tags": ["all"], "ansible_skip_tags": []}


@pytest.mark.parametrize(
    ("variables", "installs"),
    [
        (ALL, True),
        ({**ALL, "ansible_run_tags": ["sft", "export", "vllm_serve"]}, True),
        ({**ALL, "ansible_run_tags": ["sft"]}, False),
        ({**ALL, "ansible_skip_tags": ["vllm_serve", "evaluate"]}, False),
        ({**ALL, "vllm_serve_state": "stopped"}, False),
    ],
    ids=["all", "both tags", "training alone", "no serving", "server stopped"],
)
def test_only_a_run_that_serves_afterwards_installs(variables: Json, installs: bool) -> None:
    places = [place for place in expressions.places() if place.startswith(CONDITIONS)]
    assert len(places) == 3
    assert all(expressions.evaluate(place, variables) for place in places) is installs


def test_work_ahead_of_its_time_keeps_no_node() -> None:
    jobs = [
        {"name": "sft-a", "status": "running"},
        {"name": "env-serve", "status": "running", "background": True},
        {"name": "export-a", "status": "finished"},
    ]
    names = expressions.evaluate("variable _tpu_vm_running", {"_tpu_vm_jobs": {"jobs": jobs}})
    assert names == ["sft-a"]
