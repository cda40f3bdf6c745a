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
COMMITS = {"model": {"commit": COMMIT}}


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


@pytest.mark.parametrize(
    ("jobs", "tokenizer"),
    [
        ([], "Qwen/Qwen3-4B"),
        ([{"inputs": {"tokenizer": "me/other"}}], "me/other"),
        ([{"inputs": {}}], "Qwen/Qwen3-4B"),  # of an earlier version
    ],
)
@pytest.mark.parametrize(("commit", "revision"), [(COMMIT, COMMIT), (None, "main")])
def test_base_and_tokenizer_are_those_of_the_training(
    jobs: list[dict[str, Any]], tokenizer: str, commit: str | None, revision: str
) -> None:
    given = arguments(export_training={"jobs": jobs}, common_commits={"model": {"commit": commit}})
    assert (given["--base"], given["--revision"], given["--tokenizer"]) == (
        "Qwen/Qwen3-4B",
        revision,
        tokenizer,
    )
