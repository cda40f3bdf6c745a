# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role sft checks before it trains: the role's own templates, filled in as Ansible does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import setting_values

from .test_disk_space import ROLES, load

COMMIT, NEWER = "0" * 40, "1" * 40
CHOSEN = {kind: {"commit": COMMIT, "newer": None} for kind in ("model", "tokenizer", "dataset")}
BEGUN = {"latest_step": 10, "latest_about": {"weight_dtype": "bfloat16"}}
SMALL = [{"accelerator_type": "v5litepod-8"}, {"accelerator_type": "v5litepod-1"}]


def variable(name: str, **values: Any) -> Any:
    variables: dict[str, Any] = {"role_path": "/roles/sft", "_common_commits": CHOSEN}
    for role in ("common", "sft"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    return Templar(loader=DataLoader(), variables=variables | values).template(variables[name])


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ({}, "float32"),
        ({"tpu_vm_candidates": SMALL}, "bfloat16"),
        # Whatever the candidates are now, a run goes on in the data type that it began with.
        ({"_common_jobs": {"jobs": []}, "_common_checkpoints": BEGUN}, "bfloat16"),
        (
            {
                "_common_jobs": {"jobs": []},
                "_common_checkpoints": {"latest_step": 10, "latest_about": {"weight_dtype": "float32"}},
                "tpu_vm_candidates": SMALL,
            },
            "float32",
        ),
        (
            {"_common_jobs": {"jobs": []}, "_common_checkpoints": BEGUN, "sft_weight_dtype": "float32"},
            "float32",
        ),
        # A machine that did not answer tells nothing.
        ({"_common_jobs": {"unreachable": True}, "_common_checkpoints": {"unreachable": True}}, "float32"),
    ],
)
def test_the_data_type_is_that_of_the_checkpoints(values: dict[str, Any], dtype: str) -> None:
    assert variable("_sft_inputs", **values)["weight_dtype"] == dtype


def test_inputs_that_differ_from_those_of_the_checkpoints() -> None:
    about = variable("_sft_inputs", _common_jobs={"jobs": []})
    begun = {"_common_jobs": {"jobs": []}, "_common_checkpoints": {"latest_step": 10, "latest_about": about}}
    assert variable("_sft_other_inputs", **begun) == []
    assert variable("_sft_other_inputs", **begun, sft_weight_dtype="bfloat16") == ["weight_dtype"]
    assert variable("_sft_other_inputs", **begun, hf_revision=COMMIT) == []
    # Only the machine that trains has these files; the program there compares them.
    begun["_common_checkpoints"]["latest_about"] = about | {"formatting_files": {"rows": "0"}}
    assert variable("_sft_other_inputs", **begun) == []
    assert (
        variable("_sft_other_inputs", _common_jobs={"jobs": []}, _common_checkpoints={"latest_step": 3}) == []
    )
    assert variable("_sft_other_inputs") == []


@pytest.mark.parametrize(
    ("values", "again"),
    [
        ({}, False),
        ({"_common_commits": {**CHOSEN, "dataset": {"commit": COMMIT, "newer": NEWER}}}, True),
        ({"_common_commits": {**CHOSEN, "model": {"commit": COMMIT, "newer": NEWER}}}, True),
        ({"_common_commits": {**CHOSEN, "tokenizer": {"commit": COMMIT, "newer": NEWER}}}, True),
        ({"_common_jobs": {"jobs": []}, "_common_checkpoints": BEGUN}, True),
    ],
)
def test_what_preflight_could_not_know_is_checked_again(values: dict[str, Any], again: bool) -> None:
    assert variable("_sft_keeps_other", **values) is again


@pytest.mark.parametrize(
    ("values", "told"),
    [
        # As -e gives them: strings.
        ({"steps": "abc"}, ["steps: 'abc' is not a whole number. Set it to one, such as 10."]),
        ({"steps": "0"}, ["steps: 0 is out of range. Set a number of 1 or more."]),
        ({"learning_rate": "fast"}, ["learning_rate: 'fast' is not a number"]),
        ({"learning_rate": "0"}, ["learning_rate: 0 is out of range. Set a number above 0."]),
        ({"learning_rate": ""}, []),
        ({"per_device_batch_size": "0.5"}, ["per_device_batch_size: '0.5' is not a whole number"]),
        ({"per_device_batch_size": "2.0"}, []),
        ({"per_device_batch_size": "inf"}, ["per_device_batch_size: 'inf' is not a number"]),
        ({"max_target_length": "-1"}, ["max_target_length: -1 is out of range"]),
        ({"sft_checkpoint_period": "x"}, ["sft_checkpoint_period: 'x' is not a whole number"]),
        ({"maxtext_arguments": "a=b,c=d"}, []),
        ({"maxtext_arguments": {"a": "b"}}, ["maxtext_arguments: "]),
        ({"maxtext_environment": "a=b"}, ["maxtext_environment: its value is not a dictionary"]),
        ({"tpu_vm_candidates": "v6e-8"}, ["tpu_vm_candidates: is a text, and must be a list"]),
        ({"data_disk_mount_point": "disks"}, ["data_disk_mount_point: 'disks' is not the absolute path"]),
        ({"data_disk_mount_point": "/"}, ["data_disk_mount_point: '/' is not the absolute path"]),
        ({"data_disk_mount_point": "/a/../b"}, ["data_disk_mount_point: '/a/../b' is not the absolute path"]),
        ({"data_disk_mount_point": "/mnt/disks/checkpoints"}, []),
        ({"steps": "0", "sft_num_epoch": "-2"}, ["steps: 0", "sft_num_epoch: -2"]),
        ({"sft_weight_dtype": "float16"}, ["sft_weight_dtype: 'float16' is not one of bfloat16, float32."]),
        ({"common_base_dtype": "float16"}, ["common_base_dtype: 'float16' is not one of auto, bfloat16"]),
        ({"export_weight_dtype": "float16"}, ["export_weight_dtype: 'float16' is not one of auto, bfloat16"]),
        ({"sft_profiler": "nsys"}, ["sft_profiler: 'nsys' is not one of xplane, '' (empty)."]),
        ({"sft_profiler": ""}, []),
        ({"steps": "200", "per_device_batch_size": "2", "learning_rate": "1e-5"}, []),
    ],
)
def test_a_bad_value_is_named_with_its_remedy(values: dict[str, Any], told: list[str]) -> None:
    found = setting_values.problems(values)
    assert len(found) == len(told)
    assert all(message.startswith(start) for message, start in zip(found, told, strict=True))


@pytest.mark.parametrize("value", ["[prompt, completion]", "prompt,completion", ["prompt", "completion"]])
def test_columns_from_the_command_line_are_the_same_inputs(value: Any) -> None:
    values = {"train_data_columns": value, "_common_jobs": {"jobs": []}}
    assert variable("_sft_inputs", **values)["train_data_columns"] == ["prompt", "completion"]
    given: dict[str, Any] = {"_sft_present": {"checkpoints": []}, "_common_program_dir": "/p"}
    argv = variable("_sft_argv", **values, **given)
    assert "train_data_columns=['prompt', 'completion']" in argv
