# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting on the command line reaches all that it should, whatever the inventory sets."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
import yaml

from . import expressions
from .test_typed_settings import RUN

settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")

INVENTORIES = {
    "gcp": ["inventories/gcp/group_vars/all.yml"],
    "local": ["inventories/local/group_vars/all/cloud.yml", "inventories/local/group_vars/all/run.yml"],
}
LOCALCLOUD = dict.fromkeys(
    (
        *("project", "zone", "service_account_file", "token_uri", "address", "port", "state_dir", "hub"),
        *("hf_username", "python", "uv_cache", "serve_python", "wheels"),
    ),
    "here",
) | {
    "endpoints": dict.fromkeys(
        ("tpu", "compute", "serviceusage", "resourcemanager", "oslogin"), "http://here"
    )
}
JOB = "tpuops.maxtext.job"

# Where each setting of the run must arrive: parts of the places.
CONVERT = f"roles/convert/tasks/main.yml: 0.Convert the model/block.Download the model and convert it/{JOB}"
TRAIN = f"roles/sft/tasks/main.yml: 0.Fine-tune the model/block.Train/{JOB}"
CHECK = "roles/sft/tasks/check_inputs.yml"
SERVE = "variable _vllm_serve_argv"
REACHED: dict[str, tuple[Any, list[str]]] = {
    "steps": (321, [f"{TRAIN}.argv", CHECK, "roles/sft/tasks/check.yml"]),
    "learning_rate": (0.25, [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK]),
    "per_device_batch_size": (9, [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK]),
    "max_target_length": (77, [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK]),
    "train_split": ("other", [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK, "variable evaluate_split"]),
    "train_data_columns": (
        ["q", "a"],
        [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK, "variable evaluate_column"],
    ),
    "dataset": (
        "me/data",
        [f"{TRAIN}.argv", f"{TRAIN}.inputs", CHECK, "roles/common/tasks/choose_commits.yml"],
    ),
    "model": (
        "qwen3-8b",
        [f"{CONVERT}.argv", f"{TRAIN}.argv", CHECK, "roles/vllm_serve/tasks/check_inputs.yml"],
    ),
    "hf_model": ("me/model", [f"{CONVERT}.argv", "roles/preflight/tasks/main.yml", "variable _export_argv"]),
    "run_name": (
        "another",
        [
            *(
                f"{TRAIN}.argv",
                f"{TRAIN}.name",
                "variable export_directory",
                "variable _vllm_serve_model_dir",
            ),
            *("roles/preflight/tasks/main.yml", "variable _evaluate_question_file", "variable tpu_vm_run"),
        ],
    ),
    "hf_repo": ("me/other", ["roles/preflight/tasks/main.yml", "roles/export/tasks/main.yml", SERVE]),
    "hf_replace": (True, ["roles/preflight/tasks/main.yml", "roles/export/tasks/main.yml"]),
    "serve_port": (8123, [SERVE, "variable evaluate_url"]),
    "tensor_parallel_size": (4, [SERVE, "roles/vllm_serve/tasks/check_inputs.yml"]),
    "maxtext_arguments": (["a=b"], [f"{CONVERT}.argv", f"{TRAIN}.argv", "variable _export_argv", CHECK]),
    "data_disk_mount_point": (
        "/elsewhere",
        [f"{CONVERT}.argv", f"{TRAIN}.argv", SERVE, "roles/data_disk/templates/data_disk.mount.j2"],
    ),
    "zone": ("eu-west4-b", ["variable _tpu_vm_place"]),
}


def unnumbered(place: str) -> str:
    """A place without the number of its task in a block."""
    return re.sub(r"block\.\d+\.", "block.", place)


def inventory(name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in INVENTORIES[name]:
        found |= yaml.safe_load((expressions.ROOT / path).read_text(encoding="utf-8"))
    return found | {
        "localcloud": LOCALCLOUD | {"locks": str(expressions.ROOT / "environments")},
        "hf_token": "hf_x",
        "hf_username": "me",
    }


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize("name", REACHED)
@pytest.mark.parametrize("where", INVENTORIES)
def test_a_setting_reaches_each_command_check_and_record(where: str, name: str) -> None:
    value, expected = REACHED[name]
    base = {**RUN, **inventory(where)}
    # Served is the export here, so that the model's directory is known before the run.
    base |= {"vllm_serve_source": "export"} if name == "run_name" else {}
    places = [
        place for place in expressions.places_of(name) if any(part in unnumbered(place) for part in expected)
    ]
    changed = [
        place
        for place in places
        if expressions.evaluate(place, base) != expressions.evaluate(place, {**base, name: value})
    ]
    changed = [unnumbered(place) for place in changed]
    assert [part for part in expected if not any(part in place for place in changed)] == []


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize("name", [each.name for each in settings.of_role("common", "run")])
def test_each_setting_of_the_run_is_read(name: str) -> None:
    assert [place for place in expressions.places_of(name) if not place.startswith("variable ")] != []


def test_a_role_has_no_second_name_for_a_setting_of_the_run() -> None:
    """A default that is only another setting would be one."""
    plain = {each.name for each in settings.of_role("common", "run")}
    variables = expressions.role_variables()
    # What is asked or served may differ from what was trained and uploaded.
    others = {"evaluate_split", "tpu_vm_run", "locked_env_uv_cache_dir"}
    second = {
        name
        for name, value in variables.items()
        if name not in plain and isinstance(value, str) and value.strip("{} ") in plain
    }
    assert second == others
