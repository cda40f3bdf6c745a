# SPDX-License-Identifier: GPL-3.0-or-later
"""What conversion and export agree on about the tensors of a model."""

from __future__ import annotations

from types import ModuleType

import pytest


@pytest.fixture
def tensors(shared_programs: ModuleType) -> ModuleType:
    module = shared_programs.tensors
    assert isinstance(module, ModuleType)
    return module


@pytest.mark.parametrize(
    ("name", "buffer"),
    [
        ("rotary_emb.inv_freq", True),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", True),
        ("h.0.attn.bias", True),
        ("h.0.attn.masked_bias", True),
        ("h.0.attn.c_attn.bias", False),  # a weight, whose name ends alike
        ("model.layers.0.self_attn.q_proj.bias", False),
        ("model.norm.weight", False),
    ],
)
def test_buffers(tensors: ModuleType, name: str, buffer: bool) -> None:
    assert tensors.is_buffer(name) is buffer


def test_what_bfloat16_would_round(tensors: ModuleType) -> None:
    types = {"a": "BF16", "b": "F16", "c": "F32", "d": "F64", "rotary_emb.inv_freq": "F32", "e": "I64"}
    assert tensors.finer(types) == ["b", "c", "d"]


def test_only_auto_is_replaced(tensors: ModuleType) -> None:
    given = ["save_dtype=auto", "weight_dtype=auto", "save_dtype=bfloat16"]
    assert tensors.with_dtype(given, "save_dtype", "float32") == [
        "save_dtype=float32",
        "weight_dtype=auto",
        "save_dtype=bfloat16",
    ]
