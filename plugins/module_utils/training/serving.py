# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether vLLM can serve a model on a TPU, as it counts itself. Read in vllm and tpu-inference 0.32.0.

A chip holds its share of the weights and of the cache of keys and values. They may have a share of its memory
(worker/tpu_worker.py, determine_available_memory; vllm/config/cache.py), and vLLM does not start unless the
cache has room for one request of the longest context (vllm/v1/core/kv_cache_utils.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, Model

SHARE = 0.92  # gpu_memory_utilization
BYTES = 2  # bfloat16
BLOCK = 256  # tokens; about vLLM's largest page on a TPU. It holds one block back.
LANES = 128  # what a head is filled up to, unless it has 64
SIZES = (2, 4, 8)
GIB = 2**30


def check(model: str, accelerator_types: Sequence[str], size: int, length: int) -> None:
    """Raises HubError where vLLM cannot serve the model on so many chips with this longest context."""
    if size < 1:
        raise HubError(f"tensor_parallel_size: {size} is not above 0. Set the number of chips to serve on")
    shape = MODELS.get(model)
    if shape and shape.heads % size:
        raise HubError(
            f"tensor_parallel_size: {size} does not divide the {shape.heads} attention heads of {model}. "
            "Set a power of 2"
        )
    if shape and not shares(shape, size):
        raise HubError(
            f"tensor_parallel_size: {size} does not go with its {shape.kv_heads} heads of keys and values of "
            f"{model}. Set a power of 2"
        )
    for accelerator_type in accelerator_types:
        check_on(model, accelerator_type, size, length)


def check_on(model: str, accelerator_type: str, size: int, length: int) -> None:
    kind, chips = accelerators.generation(accelerator_type), accelerators.chips(accelerator_type)
    if kind is None or not chips:
        return
    if not kind.serves:
        raise HubError(
            f"tpu_vm_accelerator_type: vLLM cannot serve on a {accelerator_type}: its kernels need v5e or "
            "newer. Choose another type, or leave out the serving with --skip-tags vllm_serve,evaluate"
        )
    if size > chips:
        raise HubError(
            f"tensor_parallel_size: {size} is more than the {chips} chips of a {accelerator_type}. "
            f"Set {chips} or less"
        )
    shape = MODELS.get(model)
    if shape is None or kind.memory is None:
        return
    room = kind.memory * SHARE
    weights, cache = weights_of(shape, size), cache_of(shape, size, length)
    if weights + cache < room:
        return
    enough = [
        more
        for more in SIZES
        if size < more <= chips
        and shares(shape, more)
        and weights_of(shape, more) + cache_of(shape, more, length) < room
    ]
    shorter = int((room - weights) * GIB / (token_bytes(shape, size) / size)) // BLOCK * BLOCK - BLOCK
    if enough:
        remedy = f"Set tensor_parallel_size to {enough[0]}{' or more' if len(enough) > 1 else ''}"
    elif shorter > 0:
        remedy = f"Set vllm_serve_max_model_len to {shorter} or less"
    else:
        remedy = "Choose a tpu_vm_accelerator_type with more memory, or a smaller model"
    held = f"{weights:.1f} GiB of weights"
    if weights < room:
        held += f" and {cache:.1f} GiB for one request of {length} tokens"
    raise HubError(
        f"tensor_parallel_size: {size} is too small for {model} on a {accelerator_type}: each chip would "
        f"hold {held}, and vLLM may use {room:.1f} GiB of it. {remedy}"
    )


def largest_size(model: str, accelerator_types: Sequence[str]) -> int:
    """The most chips of each type that can share the model; 1 where that is not known."""
    shape = MODELS.get(model)
    chips = min((accelerators.chips(each) or 1 for each in accelerator_types), default=1)
    return max((size for size in SIZES if shape and size <= chips and shares(shape, size)), default=1)


def shares(shape: Model, size: int) -> bool:
    """Whether chips can share the heads: each has some of those of keys and values, or a copy of one."""
    return not shape.heads % size and not (shape.kv_heads % size and size % shape.kv_heads)


def weights_of(shape: Model, size: int) -> float:
    """GiB of weights on each chip."""
    return BYTES * shape.parameters / size / GIB


def cache_of(shape: Model, size: int, length: int) -> float:
    """GiB of a chip for one request, and for the block that vLLM holds back."""
    blocks = -(-length // BLOCK) + 1
    return blocks * BLOCK * token_bytes(shape, size) / size / GIB


def token_bytes(shape: Model, size: int) -> int:
    """Bytes of all chips for the keys and values of a token (runner/kv_cache.py, the kernels' shapes)."""
    head = shape.head if shape.head == LANES // 2 else -(-shape.head // LANES) * LANES
    return shape.layers * max(shape.kv_heads, size) * 2 * head * BYTES
