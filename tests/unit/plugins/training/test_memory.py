# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether training a model fits the memory of a TPU."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.weight_dtype import weight_dtype
from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import memory, models

from localcloud import catalog


@pytest.mark.parametrize(
    ("model", "dtype", "accelerator_type", "batch", "length", "verdict"),
    [
        # The TPU compiler's own figures.
        ("qwen3-4b", "bfloat16", "v5litepod-8", 1, 1024, "fits"),
        ("qwen3-4b", "bfloat16", "v5litepod-8", 4, 1024, "fits"),
        ("qwen3-4b", "float32", "v5litepod-8", 1, 1024, "fits"),
        ("qwen3-8b", "bfloat16", "v5litepod-8", 1, 1024, "fits"),
        ("qwen3-14b", "bfloat16", "v5litepod-8", 1, 1024, "too large"),
        ("llama3.1-8b", "bfloat16", "v5litepod-8", 1, 1024, "fits"),
        ("llama3.1-8b", "float32", "v6e-8", 1, 1024, "fits"),
        ("qwen3-8b", "float32", "v6e-8", 1, 1024, "fits"),
        # Nothing is larger than what was measured.
        ("qwen3-4b", "float32", "v5litepod-8", 1, 512, "fits"),
        ("qwen3-4b", "float32", "v5litepod-8", 2, 1024, "fits"),
        ("qwen3-4b", "bfloat16", "v5litepod-8", 2, 1024, "fits"),
        ("qwen3-0.6b", "float32", "v5litepod-8", 1, 1024, "fits"),
        # What was refused, and more.
        ("qwen3-14b", "bfloat16", "v5litepod-8", 4, 1024, "too large"),
        ("qwen3-14b", "bfloat16", "v5litepod-8", 1, 2048, "too large"),
        ("qwen3-14b", "float32", "v5litepod-8", 1, 128, "too large"),
        # The weights, two moments and the new weights are more than the memory, whatever the batch.
        ("qwen3-32b", "bfloat16", "v5litepod-8", 1, 128, "too large"),
        ("llama3.1-70b", "bfloat16", "v5litepod-8", 1, 1024, "too large"),
        ("qwen3-8b", "float32", "v5litepod-4", 1, 128, "too large"),
        # The same chips with more memory; more memory on fewer chips.
        ("qwen3-14b", "bfloat16", "v6e-8", 1, 1024, "fits"),
        ("qwen3-4b", "float32", "v6e-8", 1, 1024, "fits"),
        ("qwen3-4b", "float32", "v5p-8", 1, 1024, "fits"),
        ("qwen3-4b", "bfloat16", "v5litepod-4", 1, 1024, "fits"),
        ("qwen3-0.6b", "bfloat16", "v5litepod-1", 1, 1024, "unknown"),
        # Nobody knows.
        ("qwen3-4b", "float32", "v5litepod-8", 8, 1024, "unknown"),
        ("qwen3-4b", "bfloat16", "v5litepod-8", 1, 4096, "unknown"),
        ("qwen3-8b", "float32", "v5litepod-8", 1, 128, "unknown"),
        ("llama3.1-8b", "bfloat16", "v5litepod-8", 1, 4096, "unknown"),
        ("qwen3-4b", "bfloat16", "v9x-8", 1, 1024, "unknown"),
        ("qwen3-4b", "bfloat16", "v3-8", 1, 1024, "unknown"),
        ("gpt-oss-20b", "bfloat16", "v5litepod-8", 1, 1024, "unknown"),
    ],
)
def test_whether_training_fits(
    model: str, dtype: str, accelerator_type: str, batch: float, length: int, verdict: str
) -> None:
    found = memory.fits(model, dtype, accelerator_type, batch, length)
    assert found.verdict == verdict, found


def test_the_numbers_are_said() -> None:
    fits = memory.fits("qwen3-4b", "float32", "v5litepod-8", 1, 1024)
    assert (fits.needed, fits.available) == (10.21, 15.75)
    assert str(fits) == (
        "qwen3-4b in float32 with 1 sequence of 1024 tokens a device needs 10.21 GiB of the 15.75 GiB "
        "of a v5litepod-8's device (the TPU compiler's figure for qwen3-4b in float32 with 1 sequence of "
        "1024 tokens on a v5litepod-8)"
    )
    refused = memory.fits("qwen3-14b", "bfloat16", "v5litepod-8", 1, 1024)
    assert str(refused) == (
        "qwen3-14b in bfloat16 with 1 sequence of 1024 tokens a device needs 17.69 GiB or more, and a "
        "v5litepod-8's device has 15.75 GiB (the TPU compiler's figure for qwen3-14b in bfloat16 with 1 "
        "sequence of 1024 tokens on a v5litepod-8)"
    )
    large = memory.fits("llama3.1-70b", "bfloat16", "v5litepod-8", 1, 1024)
    copies = 4 * 2 * models.MODELS["llama3.1-70b"].parameters / 8 / 2**30
    assert large.needed is not None
    assert large.needed >= copies
    assert f"needs more than {large.needed:.1f} GiB of the 15.75 GiB" in str(large)
    unknown = memory.fits("qwen3-8b", "float32", "v5litepod-8", 1, 128)
    assert str(unknown) == (
        "it is not known whether qwen3-8b in float32 with 1 sequence of 128 tokens a device fits the "
        "15.75 GiB of a v5litepod-8's device; it needs more than 15.3 GiB"
    )
    assert "its memory is not known here" in str(memory.fits("qwen3-4b", "bfloat16", "v9x-8", 1, 1024))
    assert "the size of int4 is not known" in str(memory.fits("qwen3-4b", "int4", "v6e-8", 1, 1024))
    assert "gpt-oss-20b's size is not known here" in str(
        memory.fits("gpt-oss-20b", "bfloat16", "v5litepod-8", 1, 1024)
    )


@pytest.mark.parametrize(
    ("model", "billions"),
    [  # as the models' cards have them
        ("qwen3-0.6b", 0.596),
        ("qwen3-4b", 4.02),
        ("qwen3-8b", 8.19),
        ("qwen3-14b", 14.77),
        ("qwen3-32b", 32.76),
        ("llama3.1-8b", 8.03),
        ("llama3.1-70b", 70.55),
    ],
)
def test_parameters_follow_from_the_shape(model: str, billions: float) -> None:
    assert models.MODELS[model].parameters / 1e9 == pytest.approx(billions, rel=0.001)


@pytest.mark.parametrize(
    "kind", [kind for family in catalog._FAMILIES.values() for kind in family], ids=lambda kind: kind.name
)
def test_chips_and_workers_are_those_of_google_s_table(kind: catalog.AcceleratorType) -> None:
    assert accelerators.workers(kind.name) == kind.workers
    assert accelerators.chips(kind.name) == kind.chips


def test_devices() -> None:
    types = ["v5litepod-8", "v3-8", "v5p-8", "v9-1", "v5litepod-x"]
    assert [accelerators.devices(each) for each in types] == [8, 8, 4, None, None]


@pytest.mark.parametrize(
    ("model", "types", "batch", "length", "dtype"),
    [
        ("qwen3-4b", ["v5litepod-8"], 1, 1024, "float32"),
        ("qwen3-0.6b", ["v5litepod-8"], 1, 1024, "float32"),
        ("qwen3-4b", ["v5litepod-8", "v6e-8"], 1, 1024, "float32"),
        ("qwen3-4b", ["v5litepod-8", "v5litepod-1"], 1, 1024, "bfloat16"),
        ("qwen3-4b", ["v5litepod-8"], 4, 1024, "float32"),
        ("qwen3-4b", ["v5litepod-8"], 8, 1024, "bfloat16"),
        ("qwen3-4b", ["v5litepod-8"], 1, 4096, "bfloat16"),
        ("qwen3-8b", ["v5litepod-8"], 1, 1024, "bfloat16"),
        ("unheard-of", ["v5litepod-8"], 1, 1024, "bfloat16"),
        ("qwen3-4b", [], 1, 1024, "bfloat16"),
    ],
)
def test_float32_where_it_is_known_to_fit(
    model: str, types: list[str], batch: float, length: int, dtype: str
) -> None:
    assert memory.best_dtype(model, types, batch, length) == dtype
    assert weight_dtype(model, types, str(batch), str(length)) == dtype


def test_a_number_that_is_none_is_refused_elsewhere() -> None:
    assert weight_dtype("qwen3-4b", ["v5litepod-8"], "many", "long") == "bfloat16"
