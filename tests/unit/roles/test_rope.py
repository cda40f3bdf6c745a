# SPDX-License-Identifier: GPL-3.0-or-later
"""The rope of MaxText's presets against that of a model's configuration."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
LLAMA = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LINEAR = {"type": "linear", "factor": 4.0}
AS_YARN = [
    "rope_type=yarn",
    "rope_factor=4",
    "original_max_position_embeddings=32768",
    "rope_interleave=False",
    "rope_attention_scaling=True",
]
FIVE = 5000000
BASE = """
rope_type: "default" # or another
rope_max_timescale: 10_000
rope_linear_scaling_factor: 1.0
rope_use_scale: true
rope_factor: 40
original_max_position_embeddings: 4096
beta_fast: 32
beta_slow: 1
rope_interleave: true
rope_truncate: true
rope_attention_scaling: false
"""
#: The model's configuration; the preset and the arguments of MaxText; what differs.
ROPES: list[tuple[dict[str, Any], str, list[str], str | None]] = [
    ({"rope_theta": 1000000}, "qwen3-4b", [], None),
    ({"rope_theta": FIVE}, "qwen3-4b", [], "base 5000000, 1000000"),
    ({"rope_theta": FIVE}, "qwen3-4b", ["rope_max_timescale=5000000"], None),
    ({"rope_parameters": {"rope_theta": FIVE}}, "qwen3-4b", [], "base 5000000, 1000000"),
    ({"text_config": {"rope_theta": FIVE}}, "qwen3-4b", [], "base 5000000, 1000000"),
    ({}, "qwen3-4b", [], None),  # it does not say
    ({"rope_theta": 10000}, "unknown", [], None),
    ({"rope_theta": FIVE}, "unknown", [], "base 5000000, 10000"),
    ({"rope_theta": 500000, "rope_scaling": LLAMA}, "llama3.1-8b", [], None),
    ({"rope_theta": 500000, "rope_scaling": LLAMA}, "llama3.3-70b", [], "scaling llama3.1, default"),
    ({"rope_theta": 500000}, "llama3.1-8b", [], "scaling default, llama3.1"),
    ({"rope_theta": 1000000, "rope_scaling": YARN}, "qwen3-4b", [], "scaling yarn, default"),
    ({"rope_theta": 1000000, "rope_scaling": YARN}, "qwen3-4b", ["rope_type=yarn"], "rope_factor 4, 40"),
    ({"rope_theta": 1000000, "rope_scaling": YARN}, "qwen3-4b", AS_YARN, None),
    (
        {"rope_theta": 1000000, "rope_scaling": YARN | {"beta_fast": 8}},
        "qwen3-4b",
        AS_YARN,
        "beta_fast 8, 32",
    ),
    ({"rope_theta": 1000000, "rope_scaling": LINEAR}, "qwen3-4b", [], "rope_linear_scaling_factor 4, 1"),
    (
        {"rope_theta": 1000000, "rope_scaling": LINEAR},
        "qwen3-4b",
        ["rope_linear_scaling_factor=4.0"],
        None,
    ),
    ({"rope_theta": 1000000, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "qwen3-4b", [], None),
    ({"rope_theta": 500000}, "llama3.1-8b", ["rope_type=default"], "scaling default, llama3.1"),
    ({"rope_theta": 500000}, "llama3.1-8b", ["rope_use_scale=False"], None),
]


@pytest.mark.parametrize(("config", "model", "arguments", "difference"), ROPES)
def test_a_rope_that_maxtext_computes_otherwise(
    ropes: ModuleType,
    tmp_path: Path,
    config: dict[str, Any],
    model: str,
    arguments: list[str],
    difference: str | None,
) -> None:
    """As with qwen3-4b and the weights of Qwen/Qwen3-4B-Instruct-2507, whose rope base is another."""
    (tmp_path / "models").mkdir()
    (tmp_path / "base.yml").write_text(BASE)
    for name, base in {"qwen3-4b": 1000000, "llama3.1-8b": "500_000", "llama3.3-70b": "500_000"}.items():
        (tmp_path / "models" / f"{name}.yml").write_text(f"rope_max_timescale: {base}\n")
    given = [str(tmp_path / "base.yml"), f"model_name={model}", *arguments, "--override_model_architecture"]
    problem = ropes.problem(given, config, "me/base")
    if difference is None:
        assert problem is None
    else:
        theirs, ours = difference.split(", ")
        known = theirs if theirs.startswith(("base", "scaling")) else f"setting {theirs}"
        told = f"hf_model: me/base has the rope {known}, but MaxText computes {model} with {ours}. "
        assert problem is not None
        assert problem.startswith(told)
        remedy = [each for each in problem.rpartition(" add ")[2].split() if "=" in each]
        assert remedy
        assert ropes.problem([*given, *remedy], config, "me/base") is None, "the remedy helps"


@pytest.mark.parametrize(
    "scaling",
    [
        LLAMA | {"factor": 32.0},
        {"rope_type": "longrope", "short_factor": [1.0]},
        YARN | {"factor": 2.5},
        YARN | {"attention_factor": 1.5},
        YARN | {"mscale": 0.7, "mscale_all_dim": 0.7},
    ],
)
def test_a_rope_that_maxtext_cannot_compute(
    ropes: ModuleType, tmp_path: Path, scaling: dict[str, Any]
) -> None:
    """No setting helps."""
    given = [str(tmp_path / "base.yml"), "model_name=qwen3-4b"]
    problem = ropes.problem(given, {"rope_theta": 1, "rope_scaling": scaling}, "me/base")
    assert problem.startswith(f"hf_model: MaxText cannot compute the rope of me/base, {scaling['rope_type']}")
    assert problem.endswith("Name another model in hf_model")


def test_maxtext_s_files_need_not_be_there(ropes: ModuleType, tmp_path: Path) -> None:
    given = [str(tmp_path / "base.yml"), "model_name=qwen3-4b"]
    assert ropes.problem(given, {"rope_theta": FIVE}, "me/base") is None
