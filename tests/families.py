# SPDX-License-Identifier: GPL-3.0-or-later
"""A small random model of each architecture that the table of models has, as its big namesake is on the Hub.

Nothing is 0 or 1 that is not so in the architecture: norms, biases and the rope differ from what a program
takes where it does not read them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from localcloud.tiny import rows
from localcloud.tiny.tokenizer import tokenizer_files, train_tokenizer

VOCABULARY, WIDTH, MLP, HEADS, KV_HEADS, HEAD, LAYERS, EXPERTS = 512, 128, 192, 4, 2, 32, 3, 4
SIZES = {
    "override_model_config": True,
    "base_emb_dim": WIDTH,
    "base_mlp_dim": MLP,
    "base_num_query_heads": HEADS,
    "base_num_kv_heads": KV_HEADS,
    "base_num_decoder_layers": LAYERS,
    "head_dim": HEAD,
    "vocab_size": VOCABULARY,
}
SHARED = {
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "intermediate_size": MLP,
    "max_position_embeddings": 40960,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-06,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": VOCABULARY,
}
LLAMA_ROPE = {
    "factor": 8.0,
    "high_freq_factor": 4.0,
    "low_freq_factor": 1.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}
QWEN3 = {"head_dim": HEAD, "attention_bias": False, "model_type": "qwen3", "rope_theta": 1000000}
MOE = {
    **QWEN3,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": MLP // 2,
    "norm_topk_prob": True,
    "num_experts": EXPERTS,
    "num_experts_per_tok": 2,
    "router_aux_loss_coef": 0.001,
}


@dataclass(frozen=True)
class Family:
    """name: of a row of the table. config: what its config.json has beside the sizes, in the row's values."""

    name: str
    architecture: str
    tied: bool
    config: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)  # of MaxText, beside the sizes and the row's own


FAMILIES = [
    Family("qwen3-4b", "Qwen3ForCausalLM", True, QWEN3),
    Family("qwen2.5-1.5b", "Qwen2ForCausalLM", True, {"model_type": "qwen2", "rope_theta": 1000000.0}),
    Family(
        "llama3.1-8b",
        "LlamaForCausalLM",
        False,
        {
            "attention_bias": False,
            "max_position_embeddings": 131072,
            "mlp_bias": False,
            "model_type": "llama",
            "rms_norm_eps": 1e-05,
            "rope_scaling": LLAMA_ROPE,
            "rope_theta": 500000.0,
        },
    ),
    Family(
        "qwen3-30b-a3b",
        "Qwen3MoeForCausalLM",
        False,
        MOE,
        {
            "base_mlp_dim": MLP // 2,
            "base_moe_mlp_dim": MLP // 2,
            "num_experts": EXPERTS,
            "num_experts_per_tok": 2,
        },
    ),
]
#: The same architectures with what differs inside of a family.
VARIANTS = [
    Family("qwen3-8b", "Qwen3ForCausalLM", False, QWEN3),
    Family("qwen3-1.7b", "Qwen3ForCausalLM", True, QWEN3),
    Family("qwen3-4b-instruct-2507", "Qwen3ForCausalLM", True, {**QWEN3, "rope_theta": 5000000}),
    Family("qwen2.5-7b", "Qwen2ForCausalLM", False, {"model_type": "qwen2", "rope_theta": 1000000.0}),
    Family(
        "qwen3-30b-a3b-instruct-2507",
        "Qwen3MoeForCausalLM",
        False,
        {**MOE, "rope_theta": 10000000},
        FAMILIES[3].settings,
    ),
]


def config(family: Family) -> dict[str, Any]:
    own = {"architectures": [family.architecture], "tie_word_embeddings": family.tied}
    return {**SHARED, **own, **family.config}


def settings(family: Family, given: list[str]) -> list[str]:
    """Of MaxText: those of the sizes, which win over the row's own (given)."""
    sizes = {name: str(value) for name, value in {**SIZES, **family.settings}.items()}
    return [f"{key}={value}" for key, value in {**dict(each.split("=") for each in given), **sizes}.items()]


def files(family: Family) -> dict[str, bytes]:
    """All files of its repository."""
    ends = {"bos_token_id": 0, "eos_token_id": [2, 0], "pad_token_id": 0}
    texts = (message["content"] for row in rows() for message in row["messages"])
    return {
        "config.json": json.dumps(config(family), indent=2).encode(),
        "generation_config.json": json.dumps(ends).encode(),
        "model.safetensors": save(dict(tensors(family)), metadata={"format": "pt"}),
        **tokenizer_files(train_tokenizer(texts, VOCABULARY), 40960),
    }


def tensors(family: Family) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    random = np.random.default_rng(0)
    kind = family.config["model_type"]

    def around(middle: float, spread: float, *size: int) -> npt.NDArray[Any]:
        return (middle + random.standard_normal(size) * spread).astype(ml_dtypes.bfloat16)

    yield "model.embed_tokens.weight", around(0, 0.3, VOCABULARY, WIDTH)
    yield "model.norm.weight", around(1, 0.2, WIDTH)
    if not family.tied:
        yield "lm_head.weight", around(0, 0.1, VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        attention = f"{prefix}self_attn."
        yield f"{prefix}input_layernorm.weight", around(1, 0.2, WIDTH)
        yield f"{prefix}post_attention_layernorm.weight", around(1, 0.2, WIDTH)
        for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
            yield f"{attention}{name}_proj.weight", around(0, 0.15, heads * HEAD, WIDTH)
            if kind == "qwen2":
                yield f"{attention}{name}_proj.bias", around(0, 0.5, heads * HEAD)
        yield f"{attention}o_proj.weight", around(0, 0.15, WIDTH, HEADS * HEAD)
        if kind.startswith("qwen3"):
            yield f"{attention}q_norm.weight", around(1, 0.2, HEAD)
            yield f"{attention}k_norm.weight", around(1, 0.2, HEAD)
        parts, width = [f"{prefix}mlp."], MLP
        if kind == "qwen3_moe":
            yield f"{prefix}mlp.gate.weight", around(0, 0.5, EXPERTS, WIDTH)
            parts, width = [f"{prefix}mlp.experts.{expert}." for expert in range(EXPERTS)], MLP // 2
        for part in parts:
            yield f"{part}gate_proj.weight", around(0, 0.1, width, WIDTH)
            yield f"{part}up_proj.weight", around(0, 0.1, width, WIDTH)
            yield f"{part}down_proj.weight", around(0, 0.1, WIDTH, width)
