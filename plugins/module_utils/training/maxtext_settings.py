# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of MaxText that a user's arguments must not have, since a later stage could not follow them.

MaxText itself takes them all. The run would then fail after its training is paid for, or end well with a
result that is not what was trained. Read in MaxText 0.2.5 (configs/base.yml).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError

#: What the collection sets itself, from an option that preflight, the records and later stages read, too.
OPTIONS = {
    "base_output_directory": "data_disk_mount_point",
    "checkpoint_period": "sft_checkpoint_period or sft_checkpoint_minutes",
    "dataset_name": "dataset",
    "dataset_path": "dataset",
    "dataset_type": "dataset",
    "grain_train_files": "dataset",
    "hf_access_token": "hf_token",
    "hf_data_dir": "dataset",
    "hf_model_path": "hf_model",
    "hf_name": "dataset_config",
    "hf_path": "dataset",
    "hf_train_files": "dataset",
    "data_shuffle_seed": "data_shuffle_seed",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "learning_rate": "learning_rate",
    "learning_rate_schedule_steps": "learning_rate_schedule_steps",
    "lora.enable_lora": "lora_rank",
    "lora.lora_alpha": "lora_alpha",
    "lora.lora_module_path": "lora_module_path",
    "lora.lora_rank": "lora_rank",
    "lr_schedule_type": "lr_schedule_type",
    "load_full_state_path": "hf_model",
    "load_parameters_path": "hf_model",
    "max_num_checkpoints_to_keep": "sft_checkpoints_kept",
    "max_target_length": "max_target_length",
    "model_name": "model",
    "num_epoch": "sft_num_epoch",
    "per_device_batch_size": "per_device_batch_size",
    "profiler": "sft_profiler",
    "remat_policy": "remat_policy",
    "run_name": "run_name",
    "save_dtype": "common_base_dtype",
    "scan_layers": "common_scan_layers",
    "steps": "steps",
    "tokenizer_path": "tokenizer",
    "train_data_columns": "train_data_columns",
    "train_split": "train_split",
    "warmup_steps_fraction": "warmup_steps_fraction",
    "weight_dtype": "sft_weight_dtype",
}

#: The same, where a stage has one of its own.
OF_A_STAGE = {"export_arguments": {"weight_dtype": "export_weight_dtype"}}


def is_set(value: str) -> bool:
    return value.strip("'\" ").lower() not in ("", "0", "false", "no", "none", "null")


def is_off(value: str) -> bool:
    return not is_set(value)


def always(_value: str) -> bool:
    return True


_LAYOUT = "with {value!r} checkpoints have a layout that the next stages do not read"
_QUANTIZED = "with {value!r} quantized weights are trained, and others are published"
_TEMPLATE = (
    "the training would use it, and the model would be published and served with the template of its "
    "tokenizer. Put it in chat_template.jinja of a repository with the tokenizer, and name that in "
    "tokenizer"
)
#: Setting -> which values cannot work, and why. Each message ends with the advice to leave the setting out.
REFUSED: dict[str, tuple[Callable[[str], bool], str]] = {
    "chat_template": (is_set, _TEMPLATE),
    "chat_template_path": (is_set, _TEMPLATE),
    "checkpoint_storage_use_ocdbt": (is_off, _LAYOUT),
    "checkpoint_storage_use_zarr3": (is_off, _LAYOUT),
    "enable_checkpointing": (is_off, "with {value!r} nothing is saved, so nothing can be exported"),
    "enable_emergency_checkpoint": (is_set, _LAYOUT),
    "enable_multi_tier_checkpointing": (is_set, _LAYOUT),
    "enable_orbax_v1": (is_set, _LAYOUT),
    "hf_lora_adapter_path": (is_set, "adapters are not trained on and not exported"),
    "lora_input_adapters_path": (is_set, "adapters are not trained on and not exported"),
    "lora": (
        always,
        "adapters are trained by lora_rank, lora_alpha and lora_module_path alone, on weights that are not "
        "quantized",
    ),
    "quantization": (is_set, _QUANTIZED),
    "reuse_example_batch": (is_set, "with {value!r} all steps train on one batch"),
    "use_dpo": (is_set, "with {value!r} it is no supervised fine-tuning"),
    "use_qwix_quantization": (is_set, _QUANTIZED),
    "use_sft": (is_off, "with {value!r} it is no supervised fine-tuning"),
}

#: What a model computes. One stage alone must not change it.
MODEL = re.compile(
    r"override_model_config|base_.*|head_dim|global_head_dim|global_num_kv_heads|vocab_size|rope_.*|.*_rope_.*"
    r"|max_position_embeddings|original_max_position_embeddings|beta_fast|beta_slow|mscale|decoder_block"
    r"|normalization_layer_epsilon|mlp_activations.*|attention_type|attention_bias|attention_sink|mlp_bias"
    r"|sliding_window_size|chunk_attn_window_size|.*_logits_soft_cap|logits_via_embedding|use_qk_norm"
    r"|normalize_embedding_logits|use_post_.*_norm|param_scan_axis|fused_qkv|fused_mlp|num_experts.*"
    r"|norm_topk_prob|use_iota_embed|use_multimodal"
)

#: What the datasets library reads from files that other arguments name.
BUILDERS = ("json", "csv", "parquet", "arrow", "text", "webdataset")


def parsed(arguments: Iterable[str]) -> list[tuple[str, str]]:
    """Settings and values as MaxText's command line takes them (OmegaConf): a.b=v and a[b]=v are one."""
    pairs = (argument.split("=", 1) for argument in arguments if "=" in argument)
    return [(re.sub(r"\[([^\]]*)\]", r".\1", name.strip(" -")), value.strip()) for name, value in pairs]


def check(shared: list[str], own: Mapping[str, list[str]], environment: Mapping[str, object]) -> None:
    """Raises HubError for the first argument that cannot work.

    shared: those of every MaxText program (maxtext_arguments), own: those of one stage, by their variable.
    """
    for variable in sorted(environment):
        if variable.startswith("M_"):
            raise HubError(
                f"maxtext_environment: {variable} sets a setting of MaxText. Leave it out, and set "
                f"{variable[2:].lower()} by its option, or in maxtext_arguments"
            )
    for where, arguments in ({"maxtext_arguments": shared} | dict(own)).items():
        for name, value in parsed(arguments):
            check_one(where, name, value)
            if where != "maxtext_arguments" and MODEL.fullmatch(name):
                raise HubError(
                    f"{where}: {name} is part of the model, which must be the same in all stages. Move it to "
                    "maxtext_arguments"
                )


def check_one(where: str, name: str, value: str) -> None:
    if name in OPTIONS:
        option = OF_A_STAGE.get(where, {}).get(name, OPTIONS[name])
        raise HubError(
            f"{where}: {name}: is set by an option of its own. Set {option} instead, and leave it out "
            f"of {where}"
        )
    cannot_work, reason = REFUSED.get(name.partition(".")[0], (is_off, ""))
    if reason and cannot_work(value):
        raise HubError(f"{where}: {name}: {reason.format(value=value)}. Leave it out of {where}")


def check_dataset(name: str) -> None:
    """Raises HubError for files in place of a data set: nothing tells which rows a run began with."""
    if name in BUILDERS or name.startswith(("/", ".", "~")):
        raise HubError(
            f"dataset: {name!r} is no repository of the Hub, and a run keeps the commit of its data. Upload "
            "the files as a data set (hf upload --repo-type dataset USER/NAME DIRECTORY), and name it"
        )
