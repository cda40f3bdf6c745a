# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRA adapters as MaxText 0.2.5 trains them with Qwix, and what they change of a model.

For each kernel of a linear layer there are two matrices: A is (inputs, rank) and B is (rank, outputs). Where
the layers are stacked, the axis of the layers is that of the kernel, the second one, in both. A kernel's own
inputs and outputs may be several axes, as those of the heads, in this order. The kernel becomes
``kernel + alpha / rank * A B``.

MaxText's own merge (checkpoint_conversion/to_huggingface.py with lora.lora_restore_path) is not used:

- It puts adapters beside a base that to_maxtext wrote, which has one level of names more, and drops them
  without a word. All 310 tensors of such an export were the base's.
- A checkpoint of Tunix does not tell rank and alpha, and without them it takes 1 for alpha / rank.
- It shapes the change of the attention's output layer, whose kernel is (heads, layers, size, outputs), with
  the axis of the layers behind both axes of the inputs. So it mixes layers.

Needs numpy, and TensorStore to read a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

A, B = "kernel_lora_a", "kernel_lora_b"
OVERSAMPLED = 8
LAYERS = 1  # the axis of stacked layers (MaxText's param_scan_axis)


class Unmergeable(Exception):
    """An adapter that does not belong to its kernel; the text says why, in one line."""


def parameter(path: tuple[str, ...]) -> str:
    """The name of a kernel, as MaxText's converter calls it, from the path of one of its adapters."""
    words: list[str] = []
    for word in path[:-1] if path[-1] == "value" else path:  # a layer of attention is called so, too
        if word in ("params", "base") and not words:
            continue
        if word.isdecimal() and words:  # a layer that is not stacked
            words[-1] += f"_{word}"
        else:
            words.append(word)
    return "-".join(["params", *words[:-1], words[-1].removesuffix("_lora_a").removesuffix("_lora_b")])


def pairs(names: list[tuple[str, ...]]) -> Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Name of a kernel -> the paths of its A and B, from the paths of all arrays of a checkpoint."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in names:
        last = path[-2] if path[-1] == "value" else path[-1]
        if last in (A, B):
            found.setdefault(parameter(path), {})[last] = path
    for name, pair in found.items():
        if len(pair) != 2:
            raise Unmergeable(f"the adapter of {name} has one of two matrices")
    return {name: (pair[A], pair[B]) for name, pair in found.items()}


def layers_of(kernel: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]) -> int | None:
    """How many layers are stacked; None where they are not. Unmergeable where the shapes do not fit."""
    stacked = len(a) == 3
    rest = kernel[:LAYERS] + kernel[LAYERS + 1 :] if stacked else kernel
    inputs = [math.prod(rest[:end]) for end in range(1, len(rest))]
    fits = (
        len(a) == len(b)
        and len(a) in (2, 3)
        and a[-1] == b[0]
        and (not stacked or (len(kernel) > LAYERS and a[LAYERS] == b[LAYERS] == kernel[LAYERS]))
        and a[0] in inputs
        and a[0] * b[-1] == math.prod(rest)
    )
    if not fits:
        raise Unmergeable(
            f"adapters of the shapes {a} and {b} do not belong to a kernel of the shape {kernel}"
        )
    return a[LAYERS] if stacked else None


def change(kernel: tuple[int, ...], a: Any, b: Any, scale: float) -> Any:
    """What the adapter adds to a kernel of this shape, in float32."""
    import numpy

    layers = layers_of(kernel, a.shape, b.shape)
    a, b = a.astype(numpy.float32), b.astype(numpy.float32)
    if layers is None:
        return (scale * (a @ b)).reshape(kernel)
    product = numpy.matmul(numpy.moveaxis(a, LAYERS, 0), numpy.moveaxis(b, LAYERS, 0))
    shaped = product.reshape(layers, *kernel[:LAYERS], *kernel[LAYERS + 1 :])
    return scale * numpy.moveaxis(shaped, 0, LAYERS)


def factors(matrix: Any, rank: int) -> tuple[Any, Any]:
    """Two matrices, (rank, inputs) and (outputs, rank), whose product B A is this one of at most that rank.

    It is the change of a weight of the Hub's model, whose rows the converter may have put in another order
    than MaxText has them. So A and B are found in the change itself: they are exact up to float32.
    """
    import numpy

    outputs, inputs = matrix.shape
    # More columns than the rank: with as many, a probe that is nearly singular costs four digits.
    probe = numpy.random.default_rng(0).standard_normal((inputs, rank + OVERSAMPLED)).astype(numpy.float32)
    found, _upper = numpy.linalg.qr(matrix @ probe)
    left, sizes, right = numpy.linalg.svd(found.T @ matrix, full_matrices=False)
    a, b = sizes[:rank, None] * right[:rank], (found @ left)[:, :rank]
    missing = rank - len(a)  # a weight of fewer inputs or outputs than the rank
    if missing > 0:
        a = numpy.concatenate([a, numpy.zeros((missing, inputs), a.dtype)])
        b = numpy.concatenate([b, numpy.zeros((outputs, missing), b.dtype)], axis=1)
    return a, b
