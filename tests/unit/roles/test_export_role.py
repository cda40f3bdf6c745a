# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role tells the program that exports: the role's own templates, filled in as Ansible does."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .test_disk_space import ROLES, load

COMMIT = "0" * 40
COMMITS = {"model": {"commit": COMMIT}, "tokenizer": {"commit": COMMIT}}


def arguments(**values: Any) -> dict[str, str]:
    """The options of the program, by their names."""
    return {name: str(value) for name, value in pairwise(rendered(**values)) if name.startswith("--")}


def rendered(**values: Any) -> list[str]:
    """The command line of the program."""
    variables: dict[str, Any] = {
        "role_path": "/roles/export",
        "export_checkpoints": {"latest_step": 100, "latest_digest": "d"},
    }
    for role in ("common", "export"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    argv = Templar(loader=DataLoader(), variables=variables | values).template(variables["export_argv"])
    assert isinstance(argv, list)
    return argv


def test_the_layers_are_stacked_as_in_training() -> None:
    for stacked in (True, False):
        given = rendered(common_scan_layers=stacked, common_jobs={"jobs": []}, common_commits=COMMITS)
        assert f"scan_layers={stacked}" in given


QWEN, OTHER = "Qwen/Qwen3-4B", "me/other"


@pytest.mark.parametrize(
    ("trained_on", "now", "tokenizer", "revision"),
    [
        (None, {}, QWEN, COMMIT),  # a checkpoint of other means
        ({"tokenizer": QWEN}, {}, QWEN, COMMIT),
        ({"tokenizer": QWEN}, {"tokenizer": OTHER}, QWEN, COMMIT),
        ({"tokenizer": OTHER, "tokenizer_commit": "a"}, {}, OTHER, "a"),
        ({"tokenizer": OTHER, "tokenizer_commit": "a"}, {"tokenizer": OTHER}, OTHER, "a"),
        ({"tokenizer": QWEN, "tokenizer_commit": "a"}, {}, QWEN, "a"),  # at another commit than the model
        ({}, {"tokenizer": OTHER}, OTHER, "t"),
        ({"tokenizer": OTHER, "tokenizer_commit": "a"}, {"export_tokenizer": "me/third"}, "me/third", "main"),
    ],
)
def test_the_tokenizer_is_that_of_the_training(
    trained_on: dict[str, str] | None, now: dict[str, str], tokenizer: str, revision: str
) -> None:
    checkpoints = {"latest_step": 100, "latest_digest": "d", "latest_about": trained_on}
    chosen = {"model": {"commit": COMMIT}, "tokenizer": {"commit": "t"}}
    given = arguments(export_checkpoints=checkpoints, common_commits=chosen, **now)
    assert (given["--tokenizer"], given["--tokenizer-revision"]) == (tokenizer, revision)


@pytest.mark.parametrize(("commit", "revision"), [(COMMIT, COMMIT), (None, "main")])
def test_the_base_is_that_of_the_training(commit: str | None, revision: str) -> None:
    given = arguments(common_commits={"model": {"commit": commit}, "tokenizer": {"commit": commit}})
    assert (given["--base"], given["--revision"]) == (QWEN, revision)
    assert given["--tokenizer-revision"] == revision
