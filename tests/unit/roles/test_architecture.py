# SPDX-License-Identifier: GPL-3.0-or-later
"""MaxText's presets against the configuration of models: what the shapes of the weights do not show."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BASE = """
normalization_layer_epsilon: 1.e-05
base_num_query_heads: 16
base_num_kv_heads: 16
head_dim: 128
mlp_activations: ["silu", "linear"]
num_experts_per_tok: 1
norm_topk_prob: false
attn_logits_soft_cap: 0.0
final_logits_soft_cap: 0.0
rope_type: "default"
rope_max_timescale: 10_000
"""
#: Presets of MaxText 0.2.5.
PRESETS = {
    "qwen3-4b": "base_num_query_heads: 32\nbase_num_kv_heads: 8\nnormalization_layer_epsilon: 1.0e-6\n",
    "qwen2.5-1.5b": "base_num_query_heads: 12\nbase_num_kv_heads: 2\nnormalization_layer_epsilon: 1e-06\n",
    "llama3.1-8b": "base_num_query_heads: 32\nbase_num_kv_heads: 8\n",
    "llama2-7b": "base_num_query_heads: 32\nbase_num_kv_heads: 32\n",
    "qwen3-30b-a3b": "base_num_query_heads: 32\nbase_num_kv_heads: 4\nnormalization_layer_epsilon: 1.0e-6\n"
    "num_experts_per_tok: 8\nnorm_topk_prob: true\n",
    "gpt-oss-20b": 'base_num_query_heads: 64\nbase_num_kv_heads: 8\nhead_dim: 64\nnum_experts_per_tok: 4\n'
    'mlp_activations: ["sigmoid", "linear"]\n',
}  # fmt: skip
#: From the config.json of the repositories.
QWEN3 = {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 2560,
    "rms_norm_eps": 1e-06,
    "hidden_act": "silu",
}
QWEN25 = {
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "hidden_size": 1536,
    "rms_norm_eps": 1e-06,
    "hidden_act": "silu",
}
LLAMA31 = {
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "rms_norm_eps": 1e-05,
    "hidden_act": "silu",
}
LLAMA2 = {"num_attention_heads": 32, "hidden_size": 4096, "rms_norm_eps": 1e-05, "hidden_act": "silu"}
A3B = QWEN3 | {
    "num_key_value_heads": 4,
    "hidden_size": 2048,
    "num_experts_per_tok": 8,
    "norm_topk_prob": True,
}
OSS = {
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_size": 2880,
    "num_experts_per_tok": 4,
    "hidden_act": "silu",  # MaxText's own for gpt-oss begins with a sigmoid
}
#: The preset, the configuration, the arguments of MaxText; what differs: name, theirs, ours.
MODELS: list[tuple[str, dict[str, Any], list[str], tuple[str, str, str] | None]] = [
    ("qwen3-4b", QWEN3, [], None),
    ("qwen3-4b", {"text_config": QWEN3}, [], None),
    ("qwen2.5-1.5b", QWEN25, [], None),
    ("llama3.1-8b", LLAMA31 | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, [], None),
    ("llama2-7b", LLAMA2, [], None),
    ("qwen3-30b-a3b", A3B, [], None),
    ("gpt-oss-20b", OSS, [], None),
    ("qwen3-4b", {}, [], None),  # it does not say
    ("qwen3-4b", {"attn_logit_softcapping": None}, [], None),
    # All have the arrays of the preset.
    ("qwen3-4b", QWEN3 | {"rms_norm_eps": 1e-5}, [], ("rms_norm_eps", "1e-05", "1e-06")),
    ("llama2-7b", LLAMA2 | {"rms_norm_eps": 1e-6}, [], ("rms_norm_eps", "1e-06", "1e-05")),
    (
        "qwen3-4b",
        QWEN3 | {"num_attention_heads": 64, "num_key_value_heads": 16, "head_dim": 64},
        [],
        ("num_attention_heads", "64", "32"),
    ),
    ("qwen2.5-1.5b", QWEN25, ["base_num_query_heads=24", "head_dim=64"], ("num_attention_heads", "12", "24")),
    ("qwen2.5-1.5b", QWEN25, ["head_dim=64"], ("head_dim", "128", "64")),
    ("qwen3-30b-a3b", A3B | {"num_experts_per_tok": 4}, [], ("num_experts_per_tok", "4", "8")),
    ("qwen3-30b-a3b", A3B | {"norm_topk_prob": False}, [], ("norm_topk_prob", "False", "True")),
    (
        "qwen3-4b",
        QWEN3 | {"hidden_act": "gelu_pytorch_tanh"},
        [],
        ("hidden_act", "[gelu,linear]", "[silu,linear]"),
    ),
    ("llama2-7b", LLAMA2 | {"attn_logit_softcapping": 50.0}, [], ("attn_logit_softcapping", "50", "0")),
]


@pytest.mark.parametrize(("model", "config", "arguments", "difference"), MODELS)
def test_what_maxtext_computes_otherwise(
    architectures: ModuleType,
    tmp_path: Path,
    model: str,
    config: dict[str, Any],
    arguments: list[str],
    difference: tuple[str, str, str] | None,
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "base.yml").write_text(BASE)
    (tmp_path / "models" / f"{model}.yml").write_text(PRESETS[model])
    given = [str(tmp_path / "base.yml"), f"model_name={model}", *arguments]
    problem = architectures.problem(given, config, "me/base")
    if difference is None:
        assert problem is None
        return
    name, theirs, ours = difference
    assert problem is not None
    assert problem.startswith(
        f"hf_model: me/base has {name} {theirs}, but MaxText computes {model} with {ours}. "
    )
    while problem := architectures.problem(
        given, config, "me/base"
    ):  # each remedy helps, one after the other
        remedy = problem.rpartition(" add ")[2].split()[0]
        assert remedy not in given
        given.append(remedy)


def test_the_rope_is_compared_as_well(architectures: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "base.yml").write_text(BASE)
    given = [str(tmp_path / "base.yml"), "model_name=x"]
    assert "rope base 5000000" in architectures.problem(given, {"rope_theta": 5000000}, "me/base")
