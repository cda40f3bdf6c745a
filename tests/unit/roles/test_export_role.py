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


def arguments(**values: Any) -> dict[str, str]:
    """The options of the program, by their names."""
    variables: dict[str, Any] = {
        "role_path": "/roles/export",
        "export_checkpoints": {"latest_step": 100, "latest_digest": "d"},
    }
    for role in ("common", "export"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    argv = Templar(loader=DataLoader(), variables=variables | values).template(variables["export_argv"])
    assert isinstance(argv, list)
    return {name: str(value) for name, value in pairwise(argv) if name.startswith("--")}


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
