# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of a training bfloat16 rounds away: AdamW as MaxText 0.2.5 sets it, on one matrix of real size.

    PYTHON bench/rounding.py [--weights FILE.safetensors NAME] [--rate 2e-5] [--steps 100]

PYTHON is that of the training environment, with jax and optax. Without --weights the matrix has the shape
of a layer of Qwen3 4B (mlp/wi_0, 25 million weights) and normally distributed values of deviation 0.02.
The gradient of each step is one that stays and noise of three times its size. Weights and both moments have
the data type, as in MaxText.
"""

from __future__ import annotations

import argparse
from typing import Any

SHAPE = (2560, 9728)
DEVIATION, NOISE = 0.02, 3.0


def weights(given: list[str] | None) -> Any:
    import numpy

    if given is None:
        return (numpy.random.default_rng(0).standard_normal(SHAPE) * DEVIATION).astype(numpy.float32)
    import ml_dtypes  # noqa: F401  (numpy learns bfloat16 by it)
    from safetensors import safe_open

    with safe_open(given[0], framework="numpy") as file:
        return file.get_tensor(given[1]).astype(numpy.float32)


def train(start: Any, dtype: str, rate: float, steps: int) -> tuple[Any, list[float]]:
    """The weights after the steps, and the share of them that moved in each."""
    import jax
    import jax.numpy as jnp
    import optax

    rule = optax.adamw(rate, b1=0.9, b2=0.95, eps=1e-8, eps_root=0.0, weight_decay=0.1, mu_dtype=dtype)
    direction = jax.random.normal(jax.random.key(1), start.shape, jnp.float32)

    @jax.jit  # type: ignore[untyped-decorator]
    def step(params: Any, state: Any, key: Any) -> tuple[Any, Any, Any]:
        noise = NOISE * jax.random.normal(key, params.shape, jnp.float32)
        gradient = (direction + noise).astype(params.dtype)
        updates, state = rule.update(gradient, state, params)
        after = optax.apply_updates(params, updates)
        return after, state, jnp.mean((after != params).astype(jnp.float32))

    params = jnp.asarray(start, dtype)
    state = rule.init(params)
    moved = []
    for key in jax.random.split(jax.random.key(2), steps):
        params, state, share = step(params, state, key)
        moved.append(float(share))
    return params.astype(jnp.float32), moved


def main() -> None:
    import numpy

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--weights", nargs=2, metavar=("FILE", "NAME"))
    parser.add_argument("--rate", type=float, default=2e-5)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    import jax.numpy as jnp

    # Both begin with what bfloat16 holds, as a base model is published.
    start = numpy.asarray(jnp.asarray(weights(options.weights), "bfloat16").astype("float32"))
    exact, _ = train(start, "float32", options.rate, options.steps)
    rounded, moved = train(start, "bfloat16", options.rate, options.steps)
    wanted, got = numpy.asarray(exact) - start, numpy.asarray(rounded) - start
    error = numpy.linalg.norm(got - wanted) / numpy.linalg.norm(wanted)
    later = moved[len(moved) // 2 :]
    print(f"weights                                   {start.size}")
    print(f"do not move in the first step, bfloat16   {1 - moved[0]:.0%}")
    print(f"do not move in a later step, bfloat16     {1 - sum(later) / len(later):.0%}")
    print(f"never moved in {options.steps} steps, bfloat16        {numpy.mean(got == 0):.0%}")
    print(f"never moved in {options.steps} steps, float32         {numpy.mean(wanted == 0):.0%}")
    print(f"change against that of float32            {error:.0%} away from it")


if __name__ == "__main__":
    main()
