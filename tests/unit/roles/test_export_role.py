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
    argv = variable("_export_argv", **values)
    assert isinstance(argv, list)
    return argv


def variable(name: str, **values: Any) -> Any:
    variables: dict[str, Any] = {
        "role_path": "/roles/export",
        "_export_checkpoints": {"latest_step": 100, "latest_digest": "d"},
    }
    for role in ("common", "export"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    given = variables | values
    return Templar(loader=DataLoader(), variables=given).template(given[name])


def test_the_layers_are_stacked_as_in_training() -> None:
    for stacked in (True, False):
        given = rendered(common_scan_layers=stacked, _common_jobs={"jobs": []}, _common_commits=COMMITS)
        assert f"scan_layers={stacked}" in given


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], []),
        (["--simulated_cpu_devices_count=8", "dtype=float32"], []),
        (["base_emb_dim=64"], ["export_arguments: base_emb_dim is part of the model, which"]),
        (
            ["load_parameters_path=/x"],
            ["export_arguments: load_parameters_path: is set by an option of its own"],
        ),
        (
            ["weight_dtype=float32"],
            ["export_arguments: weight_dtype: is set by an option of its own. Set export_"],
        ),
        (
            ["quantization=int8"],
            ["export_arguments: quantization: with 'int8' quantized weights are trained"],
        ),
        ("dtype=float32", []),  # as -e gives it
    ],
)
def test_an_argument_that_cannot_work_is_named(given: Any, told: list[str]) -> None:
    found = variable("_export_problems", export_arguments=given)
    assert len(found) == len(told)
    assert all(message.startswith(start) for message, start in zip(found, told, strict=True))
    assert all(message.endswith(".") for message in found)


@pytest.mark.parametrize("tag", ["preflight", "tpu_vm", "convert", "sft", "export"])
def test_they_are_looked_at_before_anything_is_made_and_before_the_export(tag: str) -> None:
    """The training of a run that could not be exported would be paid for."""
    (play,) = load(ROLES.parent / "playbooks" / "preflight.yml")
    (looks,) = [
        task
        for task in play["tasks"][0]["block"]
        if task.get("ansible.builtin.import_role", {}).get("name") == "tpuops.maxtext.export"
    ]
    assert looks["ansible.builtin.import_role"]["tasks_from"] == "check"
    assert tag in looks["tags"]
    (block,) = load(ROLES / "export" / "tasks" / "main.yml")
    assert block["block"][0]["ansible.builtin.import_tasks"] == "check.yml"


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
    given = arguments(_export_checkpoints=checkpoints, _common_commits=chosen, **now)
    assert (given["--tokenizer"], given["--tokenizer-revision"]) == (tokenizer, revision)


@pytest.mark.parametrize(("commit", "revision"), [(COMMIT, COMMIT), (None, "main")])
def test_the_base_is_that_of_the_training(commit: str | None, revision: str) -> None:
    given = arguments(_common_commits={"model": {"commit": commit}, "tokenizer": {"commit": commit}})
    assert (given["--base"], given["--revision"]) == (QWEN, revision)
    assert given["--tokenizer-revision"] == revision


def test_adapters_are_merged_into_the_converted_base() -> None:
    given: dict[str, Any] = {"_common_jobs": {"jobs": []}, "_common_commits": COMMITS}
    assert "--converted" not in rendered(**given)
    about = {"lora_rank": 16, "lora_alpha": 32.0}
    given["_export_checkpoints"] = {"latest_step": 100, "latest_digest": "d", "latest_about": about}
    base = f"{variable('_common_base_directory', **given)}/0/items"
    assert arguments(**given)["--converted"] == base
    assert "--adapter" not in rendered(**given)
    assert "--adapter" in rendered(export_adapter="true", **given)
    assert variable("_export_of_adapters", **given) is True
