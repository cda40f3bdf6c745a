# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role vllm_serve serves: the role's own templates, filled in as Ansible does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .test_disk_space import ROLES, load


def rendered(name: str, **values: Any) -> str:
    variables: dict[str, Any] = {"role_path": "/roles/vllm_serve"}
    for role in ("common", "vllm_serve"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    return str(Templar(loader=DataLoader(), variables=variables | values).template(variables[name]))


@pytest.mark.parametrize(
    ("values", "source", "repo", "revision", "name"),
    [
        ({}, "hub", "me/qwen3-4b-sft", "main", "me/qwen3-4b-sft"),
        ({"hf_repo": "us/other"}, "hub", "us/other", "main", "us/other"),
        ({"vllm_serve_source": "export"}, "export", "me/qwen3-4b-sft", "main", "qwen3-4b-sft"),
        ({"vllm_serve_model": "base", "hf_revision": "v2"}, "hub", "Qwen/Qwen3-4B", "v2", "Qwen/Qwen3-4B"),
        (
            {"vllm_serve_model": "base", "vllm_serve_source": "export"},
            "hub",
            "Qwen/Qwen3-4B",
            "main",
            "Qwen/Qwen3-4B",
        ),
    ],
)
def test_the_tuned_or_the_base_model(
    values: dict[str, Any], source: str, repo: str, revision: str, name: str
) -> None:
    given = {"hf_username": "me", **values}
    assert rendered("_vllm_serve_from", **given) == source
    assert rendered("vllm_serve_repo", **given) == repo
    assert rendered("vllm_serve_revision", **given) == revision
    assert rendered("vllm_serve_model_name", **given) == name
