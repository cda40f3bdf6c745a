# SPDX-License-Identifier: GPL-3.0-or-later
"""Training that goes on begins with the first row that is not trained, with a double of MaxText's pipeline.

The double packs as grain does: first fit within a batch, and a row that fits nowhere begins the next one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy
import pytest

LENGTH = 4  # tokens of a sequence
Row = dict[str, Any]
#: Row N has the token N + 1, as often as this says. Some rows have no token: no answer, nothing to learn.
LENGTHS = [
    1,
    2,
    3,
    4,
    0,
    1,
    2,
    3,
    0,
    0,
    1,
    4,
    2,
    2,
    0,
    1,
    3,
    1,
    1,
    2,
    0,
    4,
    1,
    2,
    3,
    1,
    2,
    1,
    1,
    3,
    2,
    4,
    1,
    1,
]


def rows() -> list[Row]:
    """As MaxText's tokenization leaves them: each message is a list of tokens."""
    return [
        {"messages": [[number + 1] * length] if length else [], "is_prompt": [False]}
        for number, length in enumerate(LENGTHS)
    ]


class HFDataSource:
    """MaxText's: it gives the next row, whatever the index."""

    def __init__(self, dataset: list[Row], data_column_names: list[str]) -> None:
        self.dataset, self.data_column_names = dataset, data_column_names
        self.rows: Iterator[Row] | None = None

    def __getitem__(self, index: int) -> Row:
        if self.rows is None:
            self.rows = iter(self.dataset)
        return next(self.rows)


def packed(source: Any, size: int) -> Iterator[dict[str, Any]]:
    """grain's PackAndBatchOperation, and the remainder as its last batch."""
    batch, free, examples = new_batch(size)
    index = 0
    while True:
        try:
            tokens = [token for text in source[index]["messages"] for token in text]
        except StopIteration:
            break
        index += 1
        place = next((row for row in range(size) if free[row] + len(tokens) <= LENGTH), None)
        if place is None:
            yield batch
            batch, free, examples = new_batch(size)
            place = 0
        end = free[place] + len(tokens)
        examples[place] += 1
        batch["inputs"][place, free[place] : end] = tokens
        batch["inputs_segmentation"][place, free[place] : end] = examples[place]
        free[place] = end
    yield batch


def new_batch(size: int) -> tuple[dict[str, Any], list[int], list[int]]:
    zeros = {name: numpy.zeros((size, LENGTH), numpy.int32) for name in ("inputs", "inputs_segmentation")}
    return zeros, [0] * size, [0] * size


def not_packed(source: Any, size: int) -> Iterator[dict[str, Any]]:
    """With packing=false: a row a sequence, the remainder dropped."""
    index = 0
    while True:
        batch, _free, _examples = new_batch(size)
        try:
            for place in range(size):
                tokens = [token for text in source[index]["messages"] for token in text]
                batch["inputs"][place, : len(tokens)] = tokens
                index += 1
        except StopIteration:
            return
        batch["inputs_segmentation"][:] = batch["inputs"] != 0
        yield batch


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """MaxText's input pipeline, whose data sources are made in this module."""
    module = ModuleType("maxtext.input_pipeline.input_pipeline_utils")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    module.HFDataSource = HFDataSource  # type: ignore[attr-defined]
    return SimpleNamespace(module=module, batches=packed)


def start(
    module: ModuleType, pipeline: Any, position: Any, chips: int, steps: int, *, each: int = 1
) -> list[int]:
    """A start of the training up to this step: the rows that it trained on, and what the manifests say."""

    class Hooks:
        def __init__(self) -> None:
            train, evaluation = (
                pipeline.module.HFDataSource(rows(), ["messages"]) for _each in ("train", "eval")
            )
            self.batches = pipeline.batches(train, chips)
            self.evaluation = evaluation

        def load_next_train_batch(self, train_ctx: Any) -> Any:
            return next(self.batches, None)

    trainer = SimpleNamespace(hooks=SimpleNamespace(SFTDataHooks=Hooks))
    module.change_source(position)
    module.change_data(trainer, position)
    hooks = trainer.hooks.SFTDataHooks()
    assert hooks.evaluation[0] == rows()[0]  # those of the evaluation are never passed over
    context = SimpleNamespace(iter_steps=position.batches)
    found: list[int] = []
    while context.iter_steps < steps * each:
        batch = hooks.load_next_train_batch(context)
        if batch is None:
            break
        found += sorted(set(batch["inputs"].flatten().tolist()) - {0})
        context.iter_steps += 1
    return found


def resume(module: ModuleType, pipeline: Any, first: int, then: int, *, each: int = 1) -> list[int]:
    """All the rows that are trained on when the chips change after the second step."""
    monkey = pipeline.module.HFDataSource
    position = module.Position()
    position.begin(step=0, batches_a_step=each, rows=None)
    found = start(module, pipeline, position, first, 2, each=each)
    recorded = position.rows_at(2)
    assert recorded == len(found)
    pipeline.module.HFDataSource = monkey
    position = module.Position()
    position.begin(step=2, batches_a_step=each, rows=recorded)
    found += start(module, pipeline, position, then, 100, each=each)
    pipeline.module.HFDataSource = monkey
    return found


WITH_TOKENS = [number + 1 for number, length in enumerate(LENGTHS) if length]


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 2), (3, 2), (2, 3), (1, 8), (4, 4)])
@pytest.mark.parametrize("each", [1, 2])
def test_on_another_number_of_chips_each_row_is_trained_on_once(
    training_rows: ModuleType, pipeline: Any, first: int, then: int, each: int
) -> None:
    assert resume(training_rows, pipeline, first, then, each=each) == WITH_TOKENS


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 2), (3, 2)])
def test_without_packing_too(training_rows: ModuleType, pipeline: Any, first: int, then: int) -> None:
    """Rows in front of the last ones, which fill no batch and are dropped."""
    pipeline.batches = not_packed
    found = resume(training_rows, pipeline, first, then)
    assert found == WITH_TOKENS[: len(found)]
    assert len(WITH_TOKENS) - len(found) < then


def test_the_log_says_with_which_row_it_goes_on(
    training_rows: ModuleType, pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    position = training_rows.Position()
    position.begin(step=2, batches_a_step=1, rows=7)
    assert start(training_rows, pipeline, position, 4, 3)[0] == WITH_TOKENS[7]
    assert capsys.readouterr().out == (
        "the checkpoint was trained on the first 7 rows: the data go on with row 8\n"
    )
    assert position.passed_batches == 2


def test_a_checkpoint_that_does_not_say_its_rows_goes_on_by_batches(
    training_rows: ModuleType, pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of an earlier version. On as many chips these are the same rows."""
    fresh, old = training_rows.Position(), training_rows.Position()
    fresh.begin(step=0, batches_a_step=1, rows=None)
    trained = start(training_rows, pipeline, fresh, 2, 2)
    pipeline.module.HFDataSource = HFDataSource
    old.begin(step=2, batches_a_step=1, rows=None)
    capsys.readouterr()
    assert trained + start(training_rows, pipeline, old, 2, 100) == WITH_TOKENS
    assert capsys.readouterr().out == (
        "the checkpoint does not tell how many rows it was trained on: passing over 2 batches of this number "
        "of chips, which are the rows of the checkpoint only if it was trained on as many\n"
    )
    assert old.passed_batches == 0
    assert old.rows_at(2) == len(trained)  # the next checkpoint tells it


def test_a_pipeline_without_that_source_goes_on_by_batches(
    training_rows: ModuleType, pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Other(HFDataSource):
        """Of another version of MaxText."""

    sys.modules.pop(pipeline.module.__name__)
    pipeline.module.HFDataSource = Other
    position = training_rows.Position()
    position.begin(step=2, batches_a_step=1, rows=7)
    start(training_rows, pipeline, position, 2, 3)
    assert capsys.readouterr().out.startswith(
        "this version of MaxText reads the rows in a way that is not known: passing over 2 batches"
    )
    assert position.passed_batches == 0


@pytest.mark.parametrize("batch", [3, {"inputs": [[1]]}, None])
def test_batches_of_another_version_leave_no_number(training_rows: ModuleType, batch: Any) -> None:
    position = training_rows.Position()
    position.begin(step=0, batches_a_step=1, rows=None)
    position.count(1, batch)
    position.count(2, {"inputs_segmentation": [[1, 1, 2]]})
    assert (position.rows_at(1), position.rows_at(2)) == (None, None)


def test_a_new_run_says_nothing(
    training_rows: ModuleType, pipeline: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    position = training_rows.Position()
    position.begin(step=0, batches_a_step=1, rows=None)
    assert start(training_rows, pipeline, position, 4, 100) == WITH_TOKENS
    assert capsys.readouterr().out == ""


def test_batches_that_cannot_be_counted_leave_no_number(training_rows: ModuleType, pipeline: Any) -> None:
    """A slice of several machines: each has a part of the rows."""
    position = training_rows.Position()
    start(training_rows, pipeline, position, 4, 2)
    assert position.rows_at(2) is None


def test_data_that_end_while_they_are_passed_over(training_rows: ModuleType, pipeline: Any) -> None:
    position = training_rows.Position()
    position.begin(step=50, batches_a_step=1, rows=None)
    assert start(training_rows, pipeline, position, 4, 60) == []
