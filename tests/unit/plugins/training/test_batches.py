# SPDX-License-Identifier: GPL-3.0-or-later
"""How many batches a data set gives, as MaxText forms them."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import batches
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.batches import Plan
from hypothesis import given
from hypothesis import strategies as st

DEFAULT = Plan(steps=100, sequences=8, length=1024)


@pytest.mark.parametrize(
    ("lengths", "sequences", "expected"),
    [
        ([], 2, 0),
        ([4, 4, 4], 2, 1),  # all in the first batch, with room left: the last batch is not full
        ([6, 6, 6], 2, 2),
        ([10, 10, 10, 10], 2, 2),
        ([6, 4, 6, 4, 1], 2, 2),
        ([6, 7, 4, 3, 1], 2, 2),  # each row goes where there is room first
        ([99, 99, 99], 2, 2),  # a row that is too long is cut
        ([0, 0, 0], 1, 1),
    ],
)
def test_rows_are_packed_first_fit(lengths: list[int], sequences: int, expected: int) -> None:
    assert len(batches.packed(lengths, sequences, 10)) == expected


@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=60),
    st.integers(1, 5),
    st.integers(1, 3),
)
def test_what_holds_for_any_packing(lengths: list[int], sequences: int, epochs: int) -> None:
    found = len(batches.packed(lengths * epochs, sequences, 16))
    tokens = sum(min(length, 16) for length in lengths) * epochs
    assert -(-tokens // (sequences * 16)) <= found <= -(-len(lengths) * epochs // sequences)
    assert found <= batches.at_most(len(lengths), Plan(1, sequences, 16, epochs))


@pytest.mark.parametrize(
    ("rows", "plan", "expected"),
    [
        (3, DEFAULT, 1),
        (800, DEFAULT, 100),
        (801, DEFAULT, 101),
        (80, Plan(100, 8, 1024, epochs=10), 100),
        (807, Plan(100, 8, 1024, packing=False), 100),  # the rest is dropped
        (7, Plan(100, 8, 1024, packing=False), 0),
    ],
)
def test_rows_alone_give_so_many_batches_at_most(rows: int, plan: Plan, expected: int) -> None:
    assert batches.at_most(rows, plan) == expected


def test_three_rows_do_not_give_a_hundred_steps() -> None:
    short = batches.shortage(batches.Amount(rows=3, likely=[50] * 3, most=[400] * 3), DEFAULT)
    assert short == (
        "100 steps need more data: 3 rows, read once, give 1 batch of 8 sequences of 1024 tokens. "
        "Set steps to 1 at most, or take a data set of about 16,400 rows like these. "
        "A run that has checkpoints takes other steps alone; for the rest use another run_name"
    )


def test_more_epochs_are_a_way_out_where_they_are_not_absurd() -> None:
    lengths = [1000] * 400
    short = batches.shortage(batches.Amount(400, lengths, lengths), DEFAULT)
    assert short == (
        "100 steps need more data: 400 rows, read once, give 50 batches of 8 sequences of 1024 tokens. "
        "Set steps to 50 at most, or sft_num_epoch to 2 at least, or take a data set of about 800 rows "
        "like these. A run that has checkpoints takes other steps alone; for the rest use another run_name"
    )
    assert batches.shortage(batches.Amount(400, lengths, lengths), Plan(50, 8, 1024)) is None
    assert batches.shortage(batches.Amount(400, lengths, lengths), Plan(100, 8, 1024, epochs=2)) is None


def test_a_larger_batch_than_it_must_be_is_named() -> None:
    lengths = [1000] * 400
    short = batches.shortage(batches.Amount(400, lengths, lengths), Plan(50, 16, 1024, per_device=2))
    assert short is not None
    assert "or a smaller per_device_batch_size than 2" in short


def test_an_amount_between_the_bounds_is_not_refused_and_not_sure() -> None:
    amount = batches.Amount(1000, likely=[300] * 1000, most=[1024] * 1000)
    assert batches.shortage(amount, DEFAULT) is None
    assert not batches.surely_enough(amount, DEFAULT)
    assert batches.surely_enough(amount, Plan(5, 8, 1024))


def test_counted_tokens_decide() -> None:
    amount = batches.Amount(1000, likely=[300] * 1000, most=[300] * 1000)
    short = batches.shortage(amount, DEFAULT)
    assert short is not None
    assert "1,000 rows, read once, give 42 batches" in short


def test_a_part_of_the_rows_stands_for_all_with_a_margin() -> None:
    part = batches.Amount(10_000, likely=[100] * 1000, most=[100] * 1000)
    assert batches.shortage(part, Plan(150, 8, 1024)) is None  # about 123: not sure enough to refuse
    assert not batches.surely_enough(part, Plan(150, 8, 1024))
    short = batches.shortage(part, Plan(300, 8, 1024))
    assert short is not None
    assert "about 10,000 rows, read once, give about 125 batches" in short


def test_nothing_is_known() -> None:
    nothing = batches.Amount(None, [], [])
    assert batches.shortage(nothing, DEFAULT) is None
    assert not batches.surely_enough(nothing, DEFAULT)
    assert batches.shortage(batches.Amount(3, [], []), DEFAULT) is not None  # rows alone
    assert batches.shortage(batches.Amount(0, [], []), DEFAULT) == (
        "100 steps need data: the split has no rows"
    )
