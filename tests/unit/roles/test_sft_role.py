# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role tells the program that trains: the role's own templates, filled in as Ansible does."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from .test_disk_space import ROLES, load

COMMITS = {"model": {"commit": "m"}, "tokenizer": {"commit": "m"}, "dataset": {"commit": "d"}}


def rendered(name: str, **values: Any) -> Any:
    variables: dict[str, Any] = {"role_path": "/roles/sft", "sft_weight_dtype": "float32"}
    for role in ("common", "sft"):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / role / kind / "main.yml")
    variables |= {"_common_commits": COMMITS, "sft_weight_dtype": "float32"}
    variables |= values
    return Templar(loader=DataLoader(), variables=variables).template(variables[name])


def test_the_models_tokenizer_has_the_models_commit() -> None:
    argv = rendered("_sft_argv")
    assert "tokenizer_path=Qwen/Qwen3-4B" in argv
    assert argv[argv.index("--tokenizer-commit") + 1] == "m"
    assert "tokenizer_commit" not in rendered("_sft_inputs"), "the model's commit is there"


@pytest.mark.parametrize(
    ("given", "revision"),
    [
        ({"tokenizer": "me/other"}, "main"),
        ({"tokenizer": "me/other", "hf_revision": "v1"}, "main"),
        ({"tokenizer": "me/other", "tokenizer_revision": "v2"}, "v2"),
        ({"tokenizer_revision": "v2"}, "v2"),
    ],
)
def test_another_tokenizer_has_a_commit_that_belongs_to_the_run(given: dict[str, str], revision: str) -> None:
    chosen = {**COMMITS, "tokenizer": {"commit": "t"}}
    argv = rendered("_sft_argv", _common_commits=chosen, **given)
    assert argv[argv.index("--tokenizer-commit") + 1] == "t"
    inputs = rendered("_sft_inputs", _common_commits=chosen, **given)
    assert inputs["tokenizer"] == given.get("tokenizer", "Qwen/Qwen3-4B")
    assert (inputs["tokenizer_revision"], inputs["tokenizer_commit"]) == (revision, "t")


def test_the_data_set_is_read_at_its_commit() -> None:
    argv = rendered("_sft_argv")
    assert argv[argv.index("--dataset-commit") + 1] == "d"
    assert rendered("_sft_inputs")["dataset_commit"] == "d"


@pytest.mark.parametrize(
    ("given", "when"),
    [
        ({}, ["--minutes", "10"]),
        ({"sft_checkpoint_minutes": 3}, ["--minutes", "3"]),
        ({"sft_checkpoint_period": "20"}, ["--period", "20"]),
    ],
)
def test_checkpoints_are_saved_by_time_unless_steps_are_given(given: dict[str, Any], when: list[str]) -> None:
    argv = rendered("_sft_argv", **given)
    begin = argv.index("--keep") + 2
    assert argv[begin : begin + 2] == when


@pytest.mark.parametrize(
    "given",
    [
        {"hf_model": "me/other"},
        {"_common_commits": {**COMMITS, "model": {"commit": "another"}}},
        {"common_base_dtype": "float32"},
        {"maxtext_version": "0.2.4"},
        {"common_scan_layers": False},
        {"maxtext_arguments": ["rope_max_timescale=5000000"]},
        {"convert_arguments": ["--lazy_load_tensors=false"]},
    ],
)
def test_a_conversion_of_other_inputs_has_its_own_directory(given: dict[str, Any]) -> None:
    usual = rendered("_common_base_directory")
    assert rendered("_common_base_directory") == usual
    assert rendered("_common_base_directory", **given) != usual
    assert rendered("_sft_inputs", **given) != rendered("_sft_inputs"), "and the run depends on it"


@pytest.mark.parametrize(
    ("given", "environment", "used"),
    [
        ({}, "", "https://huggingface.co"),
        ({}, "http://hub:1", "http://hub:1"),
        ({"hf_endpoint": "http://mine:2"}, "http://hub:1", "http://mine:2"),
    ],
)
def test_the_hub_is_that_of_the_environment(
    given: dict[str, str], environment: str, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token for another Hub must not go to the public one."""
    monkeypatch.setenv("HF_ENDPOINT", environment)
    assert rendered("hf_endpoint", **given) == used


def test_a_usual_recipe_is_not_in_the_record() -> None:
    """A run that began before there were these settings goes on."""
    assert not rendered("_sft_recipe").keys() & rendered("_sft_inputs").keys()
    assert not [
        each for each in rendered("_sft_argv") if each.startswith(("lora", "mu_dtype", "remat", "warmup"))
    ]


@pytest.mark.parametrize(
    ("given", "argument", "kept"),
    [
        ({"gradient_accumulation_steps": "4"}, "gradient_accumulation_steps=4", 4),
        ({"warmup_steps_fraction": "0"}, "warmup_steps_fraction=0.0", 0.0),
        ({"lr_schedule_type": "wsd"}, "lr_schedule_type=wsd", "wsd"),
        ({"learning_rate_schedule_steps": 500}, "learning_rate_schedule_steps=500", 500),
        ({"remat_policy": "minimal"}, "remat_policy=minimal", "minimal"),
        ({"data_shuffle_seed": 7}, "data_shuffle_seed=7", 7),
    ],
)
def test_a_recipe_reaches_maxtext_and_the_record(given: dict[str, Any], argument: str, kept: Any) -> None:
    assert argument in rendered("_sft_argv", **given)
    assert rendered("_sft_inputs", **given) == {**rendered("_sft_inputs"), next(iter(given)): kept}


def test_adapters_have_a_rate_a_share_and_a_type_of_their_own() -> None:
    given: dict[str, Any] = {"lora_rank": "8"}
    argv = rendered("_sft_argv", **given)
    for each in (
        *("lora.enable_lora=True", "lora.lora_rank=8", "lora.lora_alpha=16.0", "mu_dtype=float32"),
        *("sharding_tolerance=1.0", "learning_rate=2.e-4"),
    ):
        assert each in argv, each
    inputs = rendered("_sft_inputs", **given)
    assert (inputs["lora_rank"], inputs["lora_alpha"]) == (8, 16.0)
    assert "lora_module_path" not in inputs
    assert rendered("_sft_new_weight_dtype", **given) == "bfloat16"
    assert rendered("_sft_new_weight_dtype") == "float32"
    own = {**given, "lora_alpha": 8, "learning_rate": "1e-3", "lora_module_path": ".*query"}
    assert {"lora.lora_alpha=8.0", "learning_rate=1e-3", "lora.lora_module_path=.*query"} <= {
        *rendered("_sft_argv", **own)
    }
    assert rendered("sft_checkpoint_factor", **given) == pytest.approx(0.08)


def test_another_rank_is_another_run() -> None:
    begun = {"latest_step": 10, "latest_about": rendered("_sft_inputs", lora_rank=8)}
    kept: dict[str, Any] = {"_common_jobs": {"jobs": []}, "_common_checkpoints": begun}
    assert rendered("_sft_other_inputs", **kept, lora_rank=8) == []
    assert rendered("_sft_other_inputs", **kept, lora_rank=16) == ["lora_alpha", "lora_rank"]
    assert "lora_rank" in rendered("_sft_other_inputs", **kept)
