# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the TPU compiler said. Written by make fit; do not edit."""

from __future__ import annotations

from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe, Row

# fmt: off
VERSIONS = {"google-tunix": "0.1.7", "jax": "0.11.0", "libtpu": "0.0.44.1", "maxtext": "0.2.5"}
ROWS: tuple[Row, ...] = (
    Row(
        Recipe("qwen3-0.6b", "float32", 0, 1, 1024),
        "v5litepod-8", "fits", 2.12, 0.83, 1.01, 0.83, 0.56, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-0.6b", "float32", 0, 1, 1024),
        "v6e-8", "fits", 2.03, 0.83, 0.92, 0.83, 0.56, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "float32", 0, 1, 1024),
        "v5litepod-8", "fits", 10.21, 5.62, 2.71, 5.62, 3.75, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-14b", "bfloat16", 0, 1, 1024),
        "v5litepod-8", "too large", 17.69, None, None, None, None, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-14b", "bfloat16", 16, 1, 1024),
        "v5litepod-8", "fits", 9.82, 3.8, 2.46, 3.8, 0.24, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "bfloat16", 16, 1, 1024),
        "v5litepod-4", "fits", 4.73, 2.06, 0.74, 2.06, 0.12, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "bfloat16", 16, 1, 1024),
        "v5litepod-1", "fits", 15.28, 7.68, 0.05, 7.68, 0.12, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-8b", "float32", 0, 1, 1024),
        "v6e-8", "fits", 17.97, 11.45, 2.71, 11.45, 7.63, "2026-11-30",
    ),
    Row(
        Recipe("llama3.1-8b", "bfloat16", 0, 1, 1024),
        "v5litepod-8", "fits", 10.88, 5.61, 3.4, 5.61, 3.74, "2026-11-30",
    ),
    Row(
        Recipe("llama3.1-8b", "float32", 0, 1, 1024),
        "v6e-8", "fits", 18.47, 11.22, 3.51, 11.22, 7.48, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "bfloat16", 0, 4, 1024),
        "v5litepod-8", "fits", 8.66, 2.81, 4.91, 2.81, 1.87, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "float32", 0, 1, 1024),
        "v6e-8", "fits", 10.69, 5.62, 3.19, 5.62, 3.75, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-8b", "bfloat16", 0, 1, 1024),
        "v5litepod-8", "fits", 9.66, 5.72, 2.03, 5.72, 3.82, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-14b", "bfloat16", 0, 1, 1024),
        "v6e-8", "fits", 20.88, 10.32, 7.12, 10.32, 6.88, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "float32", 0, 4, 1024),
        "v5litepod-8", "fits", 13.58, 5.62, 6.09, 5.62, 3.75, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "float32", 0, 1, 1024),
        "v5p-8", "fits", 17.77, 11.24, 2.78, 11.24, 7.49, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-1.7b", "float32", 0, 1, 1024),
        "v5litepod-8", "fits", 5.05, 2.41, 1.84, 2.41, 1.6, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-32b", "bfloat16", 0, 1, 1024),
        "v6e-8", "too large", 39.14, None, None, None, None, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-4b", "bfloat16", 0, 1, 1024),
        "v5litepod-4", "fits", 9.23, 5.62, 1.74, 5.62, 3.75, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-32b", "bfloat16", 16, 1, 1024),
        "v6e-8", "fits", 18.64, 8.38, 2.38, 8.38, 0.5, "2026-11-30",
    ),
    Row(
        Recipe("qwen3-8b", "float32", 0, 1, 1024),
        "v5litepod-8", "too large", 17.83, None, None, None, None, "2026-11-30",
    ),
    Row(
        Recipe("llama3.1-8b", "float32", 0, 1, 1024),
        "v5litepod-8", "too large", 17.66, None, None, None, None, "2026-11-30",
    ),
)
