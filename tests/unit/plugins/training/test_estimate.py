# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run takes, and what it costs: estimates, held against what others published."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.run_estimate import run_estimate
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import estimate
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS

QWEN = Recipe("qwen3-4b", "float32", 0, 1, 1024)
V5E = "v5litepod-8"


def test_operations_follow_from_the_shape() -> None:
    """Six for a weight and token, two more as the step computes its activations again, and attention."""
    weights = MODELS["qwen3-4b"].parameters
    attention = 4 * 36 * 32 * 128 * 1024 * 2
    assert estimate.operations(QWEN) == pytest.approx(1024 * (8 * weights + attention), rel=0.001)
    # An adapter leaves out the gradients of the weights, and reads of the embedding cost nothing.
    assert estimate.operations(QWEN._replace(rank=16)) == pytest.approx(
        1024 * (6 * weights + attention), rel=0.001
    )
    untied = MODELS["qwen3-8b"]
    assert estimate.operations(QWEN._replace(model="qwen3-8b")) == pytest.approx(
        1024 * (8 * (untied.parameters - 151936 * 4096) + 4 * 36 * 32 * 128 * 1024 * 2), rel=0.001
    )
    # Twice the sequences are twice the operations. Sequences twice as long are more than that.
    assert estimate.operations(QWEN._replace(batch=2)) == 2 * estimate.operations(QWEN)
    assert estimate.operations(QWEN._replace(length=2048)) > 2 * estimate.operations(QWEN)


def test_the_tutorial_s_run() -> None:
    """Its author: the VM about 5 minutes, 100 steps 5 to 10 minutes, vLLM about 5 minutes."""
    found = estimate.estimate(QWEN, V5E, steps=100, disk_gb=256)
    assert found is not None
    training = found.load + found.compile + found.steps + found.save
    assert found.node == 300
    assert 100 < training < 600
    assert found.serve == pytest.approx(300, rel=0.2)


def test_the_time_of_a_step() -> None:
    """At the peak of v5e it is 0.17 s, by six operations a weight and a third more."""
    kind = estimate.RATES["v5e"]
    at_peak = estimate.operations(QWEN) / (kind.peak * 1e12)
    assert at_peak == pytest.approx(0.17, rel=0.1)
    found = estimate.estimate(QWEN, V5E, steps=100, disk_gb=256)
    assert found is not None
    assert found.steps == pytest.approx(100 * at_peak / kind.share)


def test_what_is_not_known_has_no_estimate() -> None:
    assert estimate.estimate(QWEN, "v9-8", steps=100, disk_gb=256) is None
    assert estimate.estimate(QWEN, "v3-8", steps=100, disk_gb=256) is None
    assert estimate.estimate(QWEN._replace(model="unheard-of"), V5E, steps=100, disk_gb=256) is None
    assert estimate.estimate(QWEN, V5E, steps=100, disk_gb=0) is not None


def candidate(**changes: object) -> dict[str, object]:
    known = {"label": f"us-west1-c {V5E} spot", "accelerator_type": V5E, "total_hour": 2.0, "currency": "USD"}
    return known | changes


def lines(candidates: list[dict[str, object]], **changes: object) -> list[str]:
    settings: dict[str, Any] = {
        "dtype": "float32",
        "batch": "1",
        "length": "1024",
        "steps": "100",
        "disk_gb": 256,
    }
    return run_estimate("qwen3-4b", candidates, **{**settings, **changes})


def test_a_plan_says_whether_it_fits_how_long_it_takes_and_what_it_costs() -> None:
    fit, time = lines([candidate()])
    assert fit.startswith(
        f"{V5E}: fits: qwen3-4b in float32 with 1 sequence of 1024 tokens a device needs 10.21 GiB of"
    )
    assert time.startswith("us-west1-c v5litepod-8 spot: about ")
    assert " USD (" in time
    assert all(part in time for part in ("node 5", "steps", "compile", "load", "save", "serve"))


def test_a_plan_says_what_would_fit() -> None:
    large = run_estimate(
        "qwen3-14b", [candidate()], dtype="bfloat16", batch=1, length=1024, steps=100, disk_gb=256
    )
    assert large[0].startswith(f"{V5E}: too large: qwen3-14b")
    assert "What fits: lora_rank=16" in large[0]
    assert len(large) == 1, "no time of what does not run"


def test_a_price_that_is_not_known_is_none() -> None:
    _, time = lines([candidate(total_hour=None)])
    assert "no price known" in time
    same_type_twice = lines([candidate(), candidate(label="us-east1-d v5litepod-8")])
    assert len(same_type_twice) == 3, "the verdict of a type is said once"


def test_numbers_that_are_none_are_refused_elsewhere() -> None:
    assert lines([candidate()], batch="many") == []
