# SPDX-License-Identifier: GPL-3.0-or-later
"""What adapters change of a model: the shapes are those that Qwix and MaxText 0.2.5 wrote for Qwen3."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

RANDOM = np.random.default_rng(7)


def random(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("kernel", "inputs", "outputs"),
    [
        ((64, 28, 128), 1, 1),  # mlp/wi_0: inputs, layers, outputs
        ((64, 28, 4, 32), 1, 2),  # query: inputs, layers, heads, size
        ((4, 28, 32, 64), 2, 1),  # out: heads, layers, size, outputs
        ((28, 28, 28), 1, 1),  # no shape tells which axis is that of the layers
        ((4, 4, 4, 4), 2, 1),
    ],
)
def test_each_layer_has_its_own_change(
    adapters: ModuleType, kernel: tuple[int, ...], inputs: int, outputs: int
) -> None:
    layers, rank = kernel[1], 3
    rest = (kernel[0], *kernel[2:])
    shape = int(np.prod(rest[:inputs])), int(np.prod(rest[inputs:]))
    a, b = random(shape[0], layers, rank), random(rank, layers, shape[1])
    found = adapters.change(kernel, a, b, 2.0)
    assert found.shape == kernel
    for layer in range(layers):
        wanted = 2.0 * (a[:, layer] @ b[:, layer]).reshape(rest)
        np.testing.assert_allclose(found[:, layer], wanted, rtol=1e-5, atol=1e-5)


def test_a_layer_that_is_not_stacked(adapters: ModuleType) -> None:
    a, b = random(8, 2), random(2, 12)
    np.testing.assert_allclose(
        adapters.change((8, 3, 4), a, b, 0.5), 0.5 * (a @ b).reshape(8, 3, 4), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("kernel", "a", "b"),
    [
        ((64, 28, 128), (64, 27, 4), (4, 28, 128)),
        ((64, 28, 128), (64, 28, 4), (8, 28, 128)),
        ((64, 28, 128), (128, 28, 4), (4, 28, 64)),
        ((64, 4, 28, 128), (64, 4, 28, 4), (4, 4, 28, 128)),  # two axes of layers, as Gemma's
        ((64,), (64, 4), (4, 1)),
    ],
)
def test_what_does_not_belong_together_is_refused(
    adapters: ModuleType, kernel: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    with pytest.raises(adapters.Unmergeable, match="do not belong to a kernel"):
        adapters.layers_of(kernel, a, b)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("decoder", "layers", "mlp", "wo", "kernel_lora_a", "value"), "params-decoder-layers-mlp-wo-kernel"),
        (("d", "self_attention", "value", "kernel_lora_a", "value"), "params-d-self_attention-value-kernel"),
        (("decoder", "layers", "3", "mlp", "wo", "kernel_lora_b"), "params-decoder-layers_3-mlp-wo-kernel"),
        (
            ("base", "decoder", "layers_0", "mlp", "wo", "kernel_lora_b"),
            "params-decoder-layers_0-mlp-wo-kernel",
        ),
    ],
)
def test_an_adapter_has_the_name_of_its_kernel(
    adapters: ModuleType, path: tuple[str, ...], name: str
) -> None:
    assert adapters.parameter(path) == name


def test_half_an_adapter_is_refused(adapters: ModuleType) -> None:
    whole = [("d", "wo", "kernel_lora_a", "value"), ("d", "wo", "kernel_lora_b", "value")]
    assert adapters.pairs([*whole, ("d", "norm", "scale")]) == {"params-d-wo-kernel": tuple(whole)}
    with pytest.raises(adapters.Unmergeable, match="one of two matrices"):
        adapters.pairs(whole[:1])


@pytest.mark.parametrize(("outputs", "inputs", "rank"), [(96, 40, 4), (3, 40, 8), (40, 3, 8)])
def test_the_factors_give_the_change(adapters: ModuleType, outputs: int, inputs: int, rank: int) -> None:
    of_rank = min(rank, outputs, inputs)
    matrix = random(outputs, of_rank) @ random(of_rank, inputs)
    a, b = adapters.factors(matrix, rank)
    assert (a.shape, b.shape) == ((rank, inputs), (outputs, rank))
    np.testing.assert_allclose(b @ a, matrix, atol=1e-6 * float(np.abs(matrix).max()))


def test_the_factors_are_exact_for_any_change(adapters: ModuleType) -> None:
    """Some of a hundred changes are nearly singular in what a probe of as many columns as the rank sees."""
    for _ in range(100):
        matrix = random(64, 4) @ random(4, 64)
        a, b = adapters.factors(matrix, 4)
        assert np.abs(b @ a - matrix).max() < 3e-6 * np.abs(matrix).max()
