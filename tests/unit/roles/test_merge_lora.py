# SPDX-License-Identifier: GPL-3.0-or-later
"""The merge of adapters around the converter: what it refuses, and what it gives to peft."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from .conftest import load

KEY = "params-decoder-layers-mlp-wo-kernel"
LAYERS, INPUTS, OUTPUTS, RANK = 3, 8, 6, 2
RANDOM = np.random.default_rng(3)


@pytest.fixture
def merger(shared_programs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setitem(sys.modules, "jax", ModuleType("jax"))
    monkeypatch.setitem(sys.modules, "jax.numpy", SimpleNamespace(asarray=np.asarray))
    load("roles/export/files/export_exactly.py")
    return load("roles/export/files/merge_lora.py")


def convert(key: str, weight: Any, config: Any) -> list[tuple[str, Any]]:
    """As MaxText's converter: a tensor for each layer, turned, with its rows in another order, and scaled."""
    dtype = ml_dtypes.bfloat16 if config.weight_dtype == "bfloat16" else np.dtype(config.weight_dtype)
    return [
        (f"model.layers.{layer}.mlp.down_proj.weight", (weight[:, layer].T[::-1] * 0.5).astype(dtype))
        for layer in range(weight.shape[1])
    ]


def random(*shape: int) -> Any:
    return RANDOM.standard_normal(shape).astype(np.float32)


def prepared(merger: ModuleType, a: Any, b: Any, **more: Any) -> Any:
    return merger.Merge(convert, {KEY: lambda: (a, b)}, rank=RANK, alpha=4.0, **more)


def config(dtype: str = "float32") -> SimpleNamespace:
    return SimpleNamespace(weight_dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_each_tensor_is_the_bases_and_the_adapters(merger: ModuleType, dtype: str, tmp_path: Path) -> None:
    kernel, a, b = (
        random(INPUTS, LAYERS, OUTPUTS),
        random(INPUTS, LAYERS, RANK),
        random(RANK, LAYERS, OUTPUTS),
    )
    merge = prepared(merger, a, b, peft=True)
    result = merge(KEY, kernel, config(dtype))
    for layer, (_name, tensor) in enumerate(result):
        wanted = 0.5 * (kernel[:, layer] + 2.0 * (a[:, layer] @ b[:, layer])).T[::-1]
        np.testing.assert_allclose(
            tensor.astype(np.float32), wanted, rtol=1e-5 if dtype == "float32" else 2**-8, atol=1e-5
        )
    merge.check()
    merger.write_peft(tmp_path / "adapter", merge, "me/base", "c0ffee")
    written = load_file(tmp_path / "adapter/adapter_model.safetensors")
    known = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert (known["r"], known["lora_alpha"], known["target_modules"]) == (RANK, 4.0, ["down_proj"])
    assert (known["base_model_name_or_path"], known["revision"]) == ("me/base", "c0ffee")
    for layer in range(LAYERS):
        module = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        of_peft = 2.0 * (written[f"{module}.lora_B.weight"] @ written[f"{module}.lora_A.weight"])
        wanted = 0.5 * 2.0 * (a[:, layer] @ b[:, layer]).T[::-1]
        np.testing.assert_allclose(of_peft, wanted, atol=1e-5)


def test_other_parameters_are_the_converters(merger: ModuleType) -> None:
    merge = prepared(merger, random(1), random(1))
    kernel = random(INPUTS, LAYERS, OUTPUTS)
    np.testing.assert_array_equal(merge("params-other", kernel, config())[0][1], 0.5 * kernel[:, 0].T[::-1])
    with pytest.raises(merger.MergeError, match=f"the base has no {KEY}"):
        merge.check()


def test_adapters_that_are_zero_are_an_error(merger: ModuleType) -> None:
    merge = prepared(merger, random(INPUTS, LAYERS, RANK), np.zeros((RANK, LAYERS, OUTPUTS), np.float32))
    merge(KEY, random(INPUTS, LAYERS, OUTPUTS), config())
    with pytest.raises(merger.MergeError, match="nothing was trained"):
        merge.check()


def test_a_change_that_is_rounded_away_is_an_error(merger: ModuleType) -> None:
    kernel = np.ones((INPUTS, LAYERS, OUTPUTS), np.float32)
    a, b = np.full((INPUTS, LAYERS, RANK), 1e-3), np.full((RANK, LAYERS, OUTPUTS), 1e-3)
    for dtype, whole in (("float32", True), ("bfloat16", False)):
        merge = prepared(merger, a.astype(np.float32), b.astype(np.float32))
        merge(KEY, kernel, config(dtype))
        if whole:
            merge.check()
            continue
        with pytest.raises(merger.MergeError, match="The adapters change no weight in bfloat16"):
            merge.check()


def test_a_layout_that_mixes_layers_is_an_error(merger: ModuleType) -> None:
    """A converter whose result for a sum is not the sum of its results."""

    def mixes(key: str, weight: Any, config: Any) -> list[tuple[str, Any]]:
        return convert(
            key, np.roll(weight, 1, axis=1) if config.weight_dtype == "bfloat16" else weight, config
        )

    a, b = random(INPUTS, LAYERS, RANK), random(RANK, LAYERS, OUTPUTS)
    merge = merger.Merge(mixes, {KEY: lambda: (a, b)}, rank=RANK, alpha=4.0)
    with pytest.raises(merger.MergeError, match="differs from the base's and the adapter's"):
        merge(KEY, random(INPUTS, LAYERS, OUTPUTS), config("bfloat16"))


def test_a_file_of_other_content_is_an_error(merger: ModuleType, tmp_path: Path) -> None:
    tensor = random(4, 4).astype(ml_dtypes.bfloat16)
    save_file({"w": tensor}, tmp_path / "model.safetensors")
    merger.check_files(tmp_path, {"w": merger.digest(tensor)})
    with pytest.raises(merger.MergeError, match="w has other content than was merged"):
        merger.check_files(tmp_path, {"w": merger.digest(tensor * 2)})
    with pytest.raises(merger.MergeError, match="did not write v"):
        merger.check_files(tmp_path, {"w": merger.digest(tensor), "v": ""})
