# SPDX-License-Identifier: GPL-3.0-or-later
"""The figures of the TPU's compiler for the trainer's step equal the table's."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled_rows
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe

from scripts import compile_fit

SMALLEST = Recipe("qwen3-0.6b", "float32", 0, 1, 1024)
TYPES = ("v5litepod-8", "v6e-8")


@pytest.mark.timeout(0)  # two minutes of a core, which others may use
def test_the_step_needs_what_the_table_says() -> None:
    asked = [(SMALLEST, accelerator_type) for accelerator_type in TYPES]
    answers = list(compile_fit.compile_all(compile_fit.environment(), asked))
    assert [answer.get("error") for answer in answers] == [None, None]
    assert [answer["versions"] for answer in answers] == [compiled_rows.VERSIONS] * 2
    assert [answer["splash"] for answer in answers] == [True, True]
    known = {(row.recipe, row.accelerator_type): row for row in compiled_rows.ROWS}
    found = [compile_fit.row(*one, answer) for one, answer in zip(asked, answers, strict=True)]
    assert [each._replace(date="") for each in found] == [known[one]._replace(date="") for one in asked]
