# SPDX-License-Identifier: GPL-3.0-or-later
"""How messages name what the user set."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import as_named
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.inputs import for_a_run

NAMES = {
    "steps": "steps",
    "datasets": "dataset",
    "tensor_parallel_size": "tensor_parallel_size",
}


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("steps: 'abc' is no number", "steps: 'abc' is no number"),
        ("steps: 9 steps need more. Set steps to 3", "steps: 9 steps need more. Set steps to 3"),
        ("datasets: there is no me/x", "dataset: there is no me/x"),
        (
            "tensor_parallel_size: 1 is too small. Set tensor_parallel_size to 2",
            "tensor_parallel_size: 1 is too small. Set tensor_parallel_size to 2",
        ),
        ("model: steps of datasets", "model: steps of datasets"),
        ("https://hub answered with HTTP status 500", "https://hub answered with HTTP status 500"),
    ],
)
def test_a_message_names_the_option_as_the_user_set_it(message: str, named: str) -> None:
    assert as_named(message, NAMES) == named
    assert as_named(message, {}) == message


@pytest.mark.parametrize(
    ("message", "option"),
    [
        ("dataset: row 3 of me/x: it has no messages", "dataset_revision"),
        ("steps: 100 steps need more data", "dataset_revision"),
        ("train_data_columns: me/x has no column 'a'", "dataset_revision"),
        ("max_target_length: 9 tokens end before the first answer", "dataset_revision"),
        ("train_split: me/x has no split 'train': it has test", "dataset_revision"),
        ("model: the tokenizer of me/x has no chat template", "tokenizer_revision"),
        ("dataset: there is no me/x at http://hub that the token may see", None),
        ("dataset_revision: me/x at http://hub has no branch, tag or commit 'x'", None),
        ("model: qwen3-14b in float32 needs more than 17.9 GiB", None),
        ("token: http://hub refused it", None),
        ("learning_rate: 'x' is not a number", None),
        ("steps: 'x' is not a number above 0: set one", None),
    ],
)
def test_a_run_that_may_have_begun_is_told_how_to_go_on(message: str, option: str | None) -> None:
    told = for_a_run(message, "demo")
    assert told.startswith(message)
    assert f"Set {option} to that commit" in told if option else told == message
    assert for_a_run(message, None) == message
