# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of MaxText that a later stage could not follow, or would follow with a wrong result."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import maxtext_settings

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("lora.enable_lora=True", "lora.enable_lora: is set by an option of its own. Set lora_rank instead"),
        ("lora[lora_alpha]=8", "Set lora_alpha instead"),
        ("lora={enable_lora: true, lora_rank: 8}", "lora: adapters are trained by lora_rank"),
        ("lora.lora_weight_qtype=nf4", "lora.lora_weight_qtype: adapters are trained by lora_rank"),
        ("lora.lora_restore_path=/x", "lora.lora_restore_path: adapters are trained by lora_rank"),
        ("gradient_accumulation_steps=4", "Set gradient_accumulation_steps instead"),
        ("warmup_steps_fraction=0.2", "Set warmup_steps_fraction instead"),
        ("remat_policy=full", "Set remat_policy instead"),
        ("data_shuffle_seed=1", "Set data_shuffle_seed instead"),
        ("lr_schedule_type=wsd", "Set lr_schedule_type instead"),
        ("learning_rate_schedule_steps=9", "Set learning_rate_schedule_steps instead"),
        ("enable_checkpointing=false", "enable_checkpointing: with 'false' nothing is saved"),
        ("enable_checkpointing=0", "enable_checkpointing: with '0'"),
        ("checkpoint_storage_use_ocdbt=False", "checkpoint_storage_use_ocdbt: "),
        ("quantization=int8", "quantization: "),
        ("use_qwix_quantization=true", "use_qwix_quantization: "),
        ("use_sft=False", "use_sft: "),
        ("use_dpo=True", "use_dpo: "),
        ("chat_template_path=x.jinja", "chat_template_path: the training would use it"),
        ("chat_template={{ messages }}", "chat_template: the training would use it"),
        ("reuse_example_batch=1", "reuse_example_batch: "),
        ("steps=200", "steps: is set by an option of its own. Set steps instead"),
        ("run_name=other", "Set run_name instead"),
        ("model_name=qwen3-8b", "Set model instead"),
        ("base_output_directory=gs://x", "Set data_disk_mount_point instead"),
        ("load_parameters_path=/x", "Set hf_model instead"),
        ("tokenizer_path=me/x", "Set tokenizer instead"),
        ("hf_path=json", "Set dataset instead"),
        ("hf_train_files=/x.jsonl", "Set dataset instead"),
        ("dataset_type=synthetic", "Set dataset instead"),
        ("hf_name=ja", "Set dataset_config instead"),
        ("train_split=train", "Set train_split instead"),
        ("weight_dtype=float32", "Set sft_weight_dtype instead"),
        ("scan_layers=false", "Set common_scan_layers instead"),
        ("checkpoint_period=10", "Set sft_checkpoint_period or sft_checkpoint_minutes instead"),
        ("num_epoch=2", "Set sft_num_epoch instead"),
        ("save_dtype=float32", "Set common_base_dtype instead"),
        ("--hf_model_path=/x", "Set hf_model instead"),
        ("hf_access_token=hf_x", "Set hf_token instead"),
        (" steps = 5", "Set steps instead"),
    ],
)
@pytest.mark.parametrize("where", ["maxtext_arguments", "sft_arguments", "convert_arguments"])
def test_what_a_later_stage_cannot_follow_is_refused(argument: str, said: str, where: str) -> None:
    given = {each: [argument] * (each == where) for each in ("maxtext_arguments", where)}
    with pytest.raises(HubError) as refused:
        maxtext_settings.check(given.pop("maxtext_arguments"), given, {})
    message = str(refused.value)
    assert said in message
    assert where in message
    assert "hf_x" not in message


def test_the_data_type_of_the_export_has_an_option_of_its_own() -> None:
    """That of the training would be told to whom it cannot help."""
    with pytest.raises(
        HubError, match=r"^export_arguments: weight_dtype: .* Set export_weight_dtype instead"
    ):
        maxtext_settings.check([], {"export_arguments": ["weight_dtype=float32"]}, {})


@pytest.mark.parametrize(
    "argument",
    [
        "override_model_config=True",
        "rope_max_timescale=5000000",
        "rope_type=yarn",
        "max_position_embeddings=1000",
        "base_emb_dim=64",
        "head_dim=32",
        "vocab_size=1024",
        "normalization_layer_epsilon=1e-6",
        "logits_via_embedding=true",
        "sliding_window_size=4096",
        "param_scan_axis=0",
    ],
)
def test_a_model_is_the_same_in_all_stages(argument: str) -> None:
    for where in ("sft_arguments", "convert_arguments", "export_arguments"):
        with pytest.raises(HubError, match=f"{where}: .* part of the model.* Move it to maxtext_arguments"):
            maxtext_settings.check([], {where: [argument]}, {})
    maxtext_settings.check([argument], {}, {})


@pytest.mark.parametrize(
    "argument",
    [
        "dtype=float32",
        "packing=False",
        "async_checkpointing=false",
        "enable_checkpointing=true",
        "gradient_clipping_threshold=0.5",
        "quantization=",
        "lora",
        "--override_model_architecture",
        "init_weights_seed=1",
        "use_dpo=false",
    ],
)
def test_what_all_stages_can_follow_is_taken(argument: str) -> None:
    maxtext_settings.check([argument], {"sft_arguments": [argument]}, {"XLA_FLAGS": "--x", "MODEL": "x"})


@pytest.mark.parametrize("name", ["M_STEPS", "M_LORA"])
def test_the_environment_sets_none(name: str) -> None:
    """MaxText takes M_NAME as NAME, and then refuses NAME as an argument, on the node."""
    with pytest.raises(HubError, match=f"maxtext_environment: {name} sets a setting of MaxText"):
        maxtext_settings.check([], {}, {name: "1"})


def test_the_local_run_is_taken() -> None:
    path = ROOT / "inventories" / "local" / "group_vars" / "all" / "run.yml"
    run = yaml.safe_load(path.read_text())
    own = {"sft_arguments": run["sft_arguments"]}
    maxtext_settings.check(run["maxtext_arguments"], own, run["maxtext_environment"])


@pytest.mark.parametrize("name", ["json", "csv", "parquet", "/mnt/data"])
def test_files_are_no_data_set(name: str) -> None:
    with pytest.raises(HubError, match=f"dataset: {name!r} is no repository of the Hub.* Upload the files"):
        maxtext_settings.check_dataset(name)
    maxtext_settings.check_dataset("me/json")
