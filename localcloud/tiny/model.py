# SPDX-License-Identifier: GPL-3.0-or-later
"""Qwen3 models of some million random parameters, in the layout of their big namesakes on the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
from safetensors.numpy import save

from .tokenizer import END_OF_TEXT, SPECIAL_TOKENS, TURN_END

Tensor = npt.NDArray[np.generic]


@dataclass(frozen=True)
class ModelShape:
    """Sizes of one Qwen3.

    layers stays the namesake's, since MaxText's converters take it from the model's name; head_dim is one of
    those that vLLM takes; std is that of the initial weights: with the usual 0.02 so small a model
    learns little in 100 steps, with 0.1 it learns the frame of the answers.
    """

    layers: int
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp: int = 128
    vocab: int = 1024
    max_length: int = 40960
    std: float = 0.1


def model_files(shape: ModelShape, seed: int) -> dict[str, bytes]:
    """config.json, generation_config.json, model.safetensors; the same shape and seed give the same bytes."""
    return {
        "config.json": _json(_config(shape)),
        "generation_config.json": _json(_generation_config()),
        "model.safetensors": save(dict(_tensors(shape, seed)), metadata={"format": "pt"}),
    }


def _config(shape: ModelShape) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": SPECIAL_TOKENS.index(END_OF_TEXT),
        "eos_token_id": SPECIAL_TOKENS.index(TURN_END),
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "initializer_range": shape.std,
        "intermediate_size": shape.mlp,
        "max_position_embeddings": shape.max_length,
        "model_type": "qwen3",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": shape.vocab,
    }


def _generation_config() -> dict[str, object]:
    end_of_text, turn_end = SPECIAL_TOKENS.index(END_OF_TEXT), SPECIAL_TOKENS.index(TURN_END)
    return {"bos_token_id": end_of_text, "eos_token_id": [turn_end, end_of_text], "pad_token_id": end_of_text}


def _tensors(shape: ModelShape, seed: int) -> Iterator[tuple[str, Tensor]]:
    rng = np.random.default_rng(seed)

    def weights(*size: int) -> Tensor:
        return (rng.standard_normal(size) * shape.std).astype(ml_dtypes.bfloat16)

    def ones(size: int) -> Tensor:
        return np.ones(size, ml_dtypes.bfloat16)

    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", weights(shape.vocab, shape.hidden)
    yield "model.norm.weight", ones(shape.hidden)
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", ones(shape.hidden)
        yield prefix + "self_attn.q_proj.weight", weights(queries, shape.hidden)
        yield prefix + "self_attn.k_proj.weight", weights(keys, shape.hidden)
        yield prefix + "self_attn.v_proj.weight", weights(keys, shape.hidden)
        yield prefix + "self_attn.o_proj.weight", weights(shape.hidden, queries)
        yield prefix + "self_attn.q_norm.weight", ones(shape.head_dim)
        yield prefix + "self_attn.k_norm.weight", ones(shape.head_dim)
        yield prefix + "post_attention_layernorm.weight", ones(shape.hidden)
        yield prefix + "mlp.gate_proj.weight", weights(shape.mlp, shape.hidden)
        yield prefix + "mlp.up_proj.weight", weights(shape.mlp, shape.hidden)
        yield prefix + "mlp.down_proj.weight", weights(shape.hidden, shape.mlp)


def _json(document: dict[str, object]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()
