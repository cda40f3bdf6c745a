# SPDX-License-Identifier: GPL-3.0-or-later
"""What MaxText 0.2.5 leaves out where LoRA adapters are trained beside frozen weights.

- It creates the adapters in the data type of the weights. In bfloat16 an update of usual size is rounded
  away, as with weights. So the adapters are float32, whatever the weights are. Their products are computed in
  the data type of the activations, as MaxText computes with all weights.
- ``lora_module_path`` may name what the export cannot merge. Only the kernel of a linear layer can be
  (``tpuops/adapters.py``).

Qwix makes two matrices for each kernel: ``kernel_lora_a`` and ``kernel_lora_b``. B begins with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from tpuops import adapters


def is_set(config: Any) -> bool:
    """Whether the trainer's configuration asks for adapters."""
    return bool(getattr(getattr(config, "lora", None), "enable_lora", False))


def unmergeable(shapes: Mapping[tuple[Any, ...], tuple[int, ...]]) -> str | None:
    """The first module, by its path, whose adapter has no kernel of its shape; None where there is none.

    shapes: path -> shape, of all arrays of the model.
    """
    for path, shape in shapes.items():
        last = str(path[-1])
        if not last.endswith("_lora_a"):
            continue
        kernel, b = (*path[:-1], "kernel"), (*path[:-1], adapters.B)
        if last != adapters.A or kernel not in shapes or b not in shapes:
            return "/".join(map(str, path[:-1]))
        try:
            adapters.layers_of(shapes[kernel], shape, shapes[b])
        except adapters.Unmergeable as error:
            return f"{'/'.join(map(str, path[:-1]))} ({error})"
    return None


def shaped(variable: Any) -> bool:
    """Whether it is an array: a model has counters and keys of random numbers, too."""
    return hasattr(variable.get_value(), "shape")


def change_adapters(trainer: ModuleType, refused: type[Exception]) -> None:
    """Let the trainer make adapters in float32, and refuse those that the export cannot merge."""
    lora_utils = getattr(trainer, "lora_utils", None)
    if lora_utils is None:  # before MaxText had it
        return
    import jax.numpy as jnp
    from flax import nnx
    from qwix._src.providers import lora as provider

    make, delta = lora_utils.apply_lora_to_model, provider._compute_lora_delta

    def apply_lora_to_model(model: Any, mesh: Any, config: Any) -> Any:
        result = make(model, mesh, config)
        variables = [(path, each) for path, each in nnx.iter_graph(result) if isinstance(each, nnx.Variable)]
        if wrong := unmergeable({path: each.get_value().shape for path, each in variables if shaped(each)}):
            raise refused(
                f"lora_module_path: the adapter of {wrong} could not be merged into the model after the "
                "training. Name linear layers alone, or leave it out."
            )
        for _path, each in variables:
            if not isinstance(each, nnx.LoRAParam):
                continue
            each.set_value(each.get_value().astype(jnp.float32))
        return result

    def compute(lhs: Any, lora_a: Any, lora_b: Any, *arguments: Any, **options: Any) -> Any:
        return delta(lhs, lora_a.astype(lhs.dtype), lora_b.astype(lhs.dtype), *arguments, **options)

    lora_utils.apply_lora_to_model = apply_lora_to_model
    provider._compute_lora_delta = compute
