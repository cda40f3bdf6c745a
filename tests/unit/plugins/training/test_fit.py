# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from the compiler's figures: what fits, what does not, and what would."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled_rows, memory, models
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe, Row

ROOT = Path(__file__).parents[4]
V5E, V5E4, V5E1, V6E, V5P = "v5litepod-8", "v5litepod-4", "v5litepod-1", "v6e-8", "v5p-8"


def row(recipe: Recipe, accelerator_type: str, verdict: str, total: float) -> Row:
    return Row(recipe, accelerator_type, verdict, total, 1.0, 1.0, 1.0, 1.0, "2026-11-30")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> tuple[Row, ...]:
    found = (
        row(Recipe("qwen3-4b", "float32", 0, 1, 1024), V5E, "fits", 9.5),
        row(Recipe("qwen3-4b", "bfloat16", 0, 4, 1024), V5E, "fits", 8.5),
        row(Recipe("qwen3-14b", "bfloat16", 0, 1, 1024), V5E, "too large", 17.9),
        row(Recipe("qwen3-14b", "bfloat16", 16, 1, 1024), V5E, "fits", 10.0),
        row(Recipe("qwen3-4b", "bfloat16", 16, 1, 1024), V5E1, "too large", 16.5),
    )
    monkeypatch.setattr(memory, "ROWS", found)
    return found


@pytest.mark.parametrize(
    ("recipe", "accelerator_type", "verdict", "needed"),
    [
        (("qwen3-4b", "float32", 1, 1024, 0), V5E, "fits", 9.5),
        (("qwen3-4b", "bfloat16", 1, 1024, 0), V5E, "fits", 8.5),
        # Adapters are float32: 32 million numbers, in five copies, have two bytes more than was compiled.
        (("qwen3-14b", "bfloat16", 1, 1024, 8), V5E, "fits", 10.0 + 32_112_640 * 5 * 2 / 2**30),
        # A larger rank, and all weights, are more than what was compiled.
        (("qwen3-14b", "bfloat16", 1, 1024, 32), V5E, "unknown", None),
        (("qwen3-14b", "bfloat16", 1, 1024, 0), V5E, "too large", 17.9),
        (("qwen3-14b", "float32", 2, 1024, 0), V5E, "too large", None),
        # Half of the devices hold at most twice as much; another generation counts with a margin.
        (("qwen3-4b", "float32", 1, 1024, 0), V5E4, "too large", None),
        (("qwen3-4b", "bfloat16", 1, 1024, 0), V5E4, "unknown", None),
        (("qwen3-4b", "float32", 1, 1024, 0), V6E, "fits", 9.5 * 1.25),
        # What was refused is at least so much; nobody knows how much it is with more memory.
        (("qwen3-14b", "bfloat16", 1, 1024, 0), V6E, "unknown", None),
        (("qwen3-4b", "float32", 1, 1024, 0), V5P, "fits", 9.5 * 2 * 1.25),
        # Where an adapter alone does not fit, all weights with their moments do not.
        (("qwen3-4b", "bfloat16", 1, 1024, 16), V5E1, "too large", 16.5),
        (("qwen3-4b", "bfloat16", 1, 1024, 0), V5E1, "too large", None),
        (("qwen3-4b", "bfloat16", 1, 1024, 8), V5E1, "unknown", None),
        (("qwen3-4b", "bfloat16", 1, 1024, 16), V5E4, "unknown", None),
    ],
)
def test_what_follows_from_a_row(
    rows: tuple[Row, ...],
    recipe: tuple[str, str, float, int, int],
    accelerator_type: str,
    verdict: str,
    needed: float | None,
) -> None:
    model, dtype, batch, length, rank = recipe
    found = memory.fits(model, dtype, accelerator_type, batch, length, rank)
    assert found.verdict == verdict, found
    if needed:
        assert found.needed == pytest.approx(needed, abs=0.01)


@pytest.mark.parametrize(
    ("recipe", "accelerator_type", "named"),
    [
        (("qwen3-14b", "bfloat16", 1, 1024, 0), V5E, ["lora_rank=16", "tpu_vm_accelerator_type=v5p-8"]),
        (
            ("qwen3-14b", "float32", 1, 1024, 0),
            V5E,
            ["lora_rank=16 with sft_weight_dtype=bfloat16", "tpu_vm_accelerator_type=v5p-8"],
        ),
        (
            ("qwen3-4b", "bfloat16", 8, 1024, 0),
            V5E,
            ["per_device_batch_size=4"],
        ),
        (("qwen3-4b", "bfloat16", 4, 4096, 0), V5E, ["max_target_length=1024"]),
        (("qwen3-32b", "float32", 1, 1024, 0), V5E, []),
    ],
)
def test_what_would_fit_is_named(
    monkeypatch: pytest.MonkeyPatch,
    rows: tuple[Row, ...],
    recipe: tuple[str, str, float, int, int],
    accelerator_type: str,
    named: list[str],
) -> None:
    on_v5p = row(Recipe("qwen3-14b", "float32", 0, 1, 1024), V5P, "fits", 70.0)
    monkeypatch.setattr(memory, "ROWS", (*rows, on_v5p))
    model, dtype, batch, length, rank = recipe
    assert memory.remedies(model, dtype, accelerator_type, batch, length, rank) == named


def test_the_largest_batch(rows: tuple[Row, ...]) -> None:
    assert memory.best_batch("qwen3-4b", "bfloat16", [V5E, V6E], 1024) == 4
    assert memory.best_batch("qwen3-4b", "float32", [V5E], 1024) == 1
    assert memory.best_batch("qwen3-4b", "float32", [V5E], 2048) is None
    assert memory.best_batch("qwen3-4b", "float32", [], 1024) is None


def test_float32_with_an_adapter_where_it_is_known_to_fit(rows: tuple[Row, ...]) -> None:
    assert memory.best_dtype("qwen3-4b", [V5E], 1, 1024) == "float32"


@pytest.mark.parametrize(
    "known", compiled_rows.ROWS, ids=lambda known: f"{known.recipe}, {known.accelerator_type}"
)
def test_the_table_says_what_it_can(known: Row) -> None:
    """Its verdicts agree with the memory that the accelerators are said to have, its parts with the sum."""
    kind = accelerators.generation(known.accelerator_type)
    assert kind is not None and kind.memory is not None
    assert (known.total <= kind.memory) == (known.verdict == memory.FITS)
    assert known.recipe.model in models.MODELS
    if known.verdict == memory.FITS:
        assert None not in known
        held = known.arguments + known.temporary + known.output - known.aliased  # type: ignore[operator]
        assert held == pytest.approx(known.total, abs=0.03)
    assert memory.copies(known.recipe, known.accelerator_type) <= known.total
    found = memory.fits(
        known.recipe.model,
        known.recipe.dtype,
        known.accelerator_type,
        known.recipe.batch,
        known.recipe.length,
        known.recipe.rank,
    )
    assert found.verdict == known.verdict


def test_each_row_is_there_once() -> None:
    names = [(each.recipe, each.accelerator_type) for each in compiled_rows.ROWS]
    assert len(names) == len(set(names))


def test_the_table_is_of_the_locked_versions() -> None:
    lock = (ROOT / "environments" / "train-tpu.txt").read_text(encoding="utf-8")
    for name, version in compiled_rows.VERSIONS.items():
        assert f"\n{name}=={version} " in lock, f"{name} {version} is not what the lock has: run make fit"


@pytest.mark.parametrize(
    ("accelerator_type", "name"),
    [
        (V5E, "v5e-8"),
        ("v6e-1", "v6e-1"),
        (V5P, "v5p-8"),
        ("v4-8", "v4-8"),
        ("v5litepod-16", None),
        ("v3-8", None),
        ("v9-8", None),
    ],
)
def test_the_compiler_s_name_of_an_accelerator(accelerator_type: str, name: str | None) -> None:
    assert accelerators.topology(accelerator_type) == name
