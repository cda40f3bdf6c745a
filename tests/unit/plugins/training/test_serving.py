# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a model can be served on a TPU, and on how many of its chips."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.tensor_parallel_size import tensor_parallel_size
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import serving
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, Model


@pytest.mark.parametrize(
    ("model", "accelerator_type", "size", "length", "said"),
    [
        ("qwen3-4b", "v5litepod-8", 1, 8192, None),
        # 14.5 GiB of a chip may be used. The weights are 7.5 GiB; a token is 144 KiB.
        ("qwen3-4b", "v5litepod-8", 1, 40960, None),
        ("qwen3-4b", "v5litepod-8", 1, 65536, "9.0 GiB for one request of 65536 tokens"),
        ("qwen3-4b", "v5litepod-8", 2, 65536, None),
        ("qwen3-8b", "v5litepod-8", 1, 8192, "would hold 15.3 GiB of weights"),
        ("llama3.1-70b", "v5litepod-8", 8, 8192, "Choose a tpu_vm_accelerator_type with more memory"),
        ("qwen3-4b", "v5litepod-1", 1, 65536, "Set vllm_serve_max_model_len to 50688 or less"),
        # The heads of keys are shared, or each is held by several chips.
        ("qwen3-4b", "v6e-8", 8, 8192, None),
        ("qwen3-14b", "v6e-8", 5, 8192, "does not go with its 8 heads of keys and values"),
    ],
)
def test_the_cache_of_one_request_counts(
    model: str, accelerator_type: str, size: int, length: int, said: str | None
) -> None:
    if said is None:
        serving.check(model, [accelerator_type], size, length)
        return
    with pytest.raises(HubError) as error:
        serving.check(model, [accelerator_type], size, length)
    assert said in str(error.value)


def test_bytes_of_a_token() -> None:
    assert serving.token_bytes(MODELS["qwen3-4b"], 1) == 36 * 8 * 2 * 128 * 2
    # More chips than heads of keys and values: each chip has one of its own.
    assert serving.token_bytes(MODELS["qwen3-4b"], 16) == 36 * 16 * 2 * 128 * 2
    # A head is filled up to 128, but for 64, which has a kernel of its own.
    small = Model("llama3.1", 2048, 32, 8, 8192, 16, 128256, head=64)
    assert serving.token_bytes(small, 1) == 16 * 8 * 2 * 64 * 2
    assert serving.token_bytes(small.__class__(**{**small.__dict__, "head": 80}), 1) == 16 * 8 * 2 * 128 * 2


@pytest.mark.parametrize(
    ("model", "types", "size"),
    [
        ("qwen3-4b", ["v5litepod-8"], 8),
        ("qwen3-4b", ["v5litepod-8", "v6e-4"], 4),
        ("qwen3-4b", ["v5p-8"], 4),
        ("qwen3-14b", ["v6e-8"], 8),  # 40 heads
        ("qwen3-4b", ["v6e-1"], 1),
        ("qwen3-4b", ["v9-8"], 1),
        ("qwen3-4b", [], 1),
        ("unheard-of", ["v5litepod-8"], 1),
    ],
)
def test_by_default_all_chips_are_used(model: str, types: list[str], size: int) -> None:
    assert tensor_parallel_size(model, types) == size
    if model in MODELS and types and types != ["v9-8"]:
        serving.check(model, types, size, 8192)
