# SPDX-License-Identifier: GPL-3.0-or-later
"""Training whose data end before its steps ends with an error, with doubles of MaxText's hooks."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class Refused(Exception):
    """The program's."""


class StopTraining(Exception):
    """MaxText's."""


class Loader:
    """MaxText's: every error of the data becomes StopTraining."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches, self.read = batches, 0

    def load_next_batch(self) -> Any:
        try:
            batch = next(self.batches)
        except Exception as error:
            raise StopTraining(f"`next(self.data_iterator)` failed with {error}") from error
        self.read += 1
        return batch


class Data:
    """MaxText's hooks: an error is logged, and the training ends as if all were well."""

    def __init__(self, config: Any, batches: Iterator[Any]) -> None:
        self.config, self.train_data_loader = config, Loader(batches)
        self.train_batch: Any = None

    def load_next_train_batch(self, train_ctx: Any) -> Any:
        try:
            self.train_batch = self.train_data_loader.load_next_batch()
        except Exception:
            self.train_batch = None
        return self.train_batch


class Old(Data):
    """Hooks that keep their loader to themselves."""

    def __init__(self, config: Any, batches: Iterator[Any]) -> None:
        super().__init__(config, batches)
        self.mine = self.train_data_loader
        del self.train_data_loader

    def load_next_train_batch(self, train_ctx: Any) -> Any:
        try:
            self.train_batch = self.mine.load_next_batch()
        except Exception:
            self.train_batch = None
        return self.train_batch


def data(
    module: ModuleType, base: type[Data], batches: Iterator[Any], position: Any = None, **config: Any
) -> Any:
    trainer = SimpleNamespace(hooks=SimpleNamespace(SFTDataHooks=base))
    module.check_data(trainer, Refused, position or module.Position())
    settings = {"steps": 5, "num_epoch": 1, "gradient_accumulation_steps": 1, **config}
    return trainer.hooks.SFTDataHooks(SimpleNamespace(**settings), batches)


def run(hooks: Any, steps: int) -> list[Any]:
    """Tunix's loop: it looks for a batch more than it needs."""
    context = SimpleNamespace(train_steps=0, iter_steps=0)
    found: list[Any] = []
    while True:
        batch = hooks.load_next_train_batch(context)
        if batch is None or context.train_steps >= steps:
            return found
        assert hooks.train_batch is batch  # there MaxText's other hooks look for it
        found.append(batch)
        context.train_steps += 1
        context.iter_steps += 1


@pytest.mark.parametrize("base", [Data, Old])
@pytest.mark.parametrize("size", [5, 6, 50])
def test_enough_data_are_trained_on_in_their_order(
    training_data: ModuleType, base: type[Data], size: int
) -> None:
    assert run(data(training_data, base, iter(range(size))), 5) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("base", [Data, Old])
def test_too_few_data_end_the_run_before_the_first_step(training_data: ModuleType, base: type[Data]) -> None:
    hooks = data(training_data, base, iter(range(3)), num_epoch=2)
    context = SimpleNamespace(train_steps=0, iter_steps=0)
    with pytest.raises(Refused) as ended:
        hooks.load_next_train_batch(context)
    assert str(ended.value) == (
        "The data end before the steps: read 2 times they give 3 batches, and 5 steps need 5. No step was "
        "trained. Set steps to 3 at most, or sft_num_epoch to 4 at least, or take more data."
    )


def test_one_batch(training_data: ModuleType) -> None:
    with pytest.raises(Refused, match="they give 1 batch, and 5 steps need 5"):
        run(data(training_data, Data, iter(range(1))), 5)


def test_no_data_at_all(training_data: ModuleType) -> None:
    with pytest.raises(
        Refused, match=r"read once they give 0 batches, and 5 steps need 5\. .* Take more data\."
    ):
        run(data(training_data, Data, iter(())), 5)


def test_an_error_of_the_data_is_said_and_ends_the_run(training_data: ModuleType) -> None:
    def broken() -> Iterator[int]:
        yield 0
        yield 1
        raise ConnectionError("the Hub does not answer")

    with pytest.raises(Refused) as ended:
        run(data(training_data, Data, broken()), 5)
    assert str(ended.value) == (
        "The data cannot be read on after 2 batches of 5: `next(self.data_iterator)` failed with "
        "the Hub does not answer. No step was trained. Correct the rows if they are the cause, and run the "
        "same command again."
    )


def later(module: ModuleType, monkeypatch: pytest.MonkeyPatch, batches: Iterator[Any], step: int) -> str:
    """What is said of an end that comes behind the first steps."""
    monkeypatch.setattr(module, "size", lambda _batch: 1 << 20)
    monkeypatch.setattr(module, "AHEAD_BYTES", 2 << 20)
    hooks = data(module, Data, batches)
    context = SimpleNamespace(train_steps=step, iter_steps=0)
    with pytest.raises(Refused) as ended:
        while True:
            hooks.load_next_train_batch(context)
    return str(ended.value)


def test_a_run_that_was_trained_needs_another_name_for_other_data(
    training_data: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint would be refused with more epochs, and keeps the commit of its data."""

    def broken() -> Iterator[int]:
        yield from (0, 1, 2)
        raise ValueError("a row is no JSON")

    assert later(training_data, monkeypatch, iter(range(3)), 3) == (
        "The data end before the steps: read once they give 3 batches, and 5 steps need 5. It ended at step "
        "3. Set steps to 3 at most. Or use another run_name, as this run keeps its data, and with that set "
        "sft_num_epoch to 2 at least, or take more data."
    )
    assert later(training_data, monkeypatch, broken(), 2).endswith(
        "It ended at step 2. Correct the rows and use another run_name, as this run keeps its data. Where "
        "the Hub did not answer, run the same command again instead."
    )


def test_accumulated_gradients_need_a_batch_each(training_data: ModuleType) -> None:
    with pytest.raises(Refused, match="give 9 batches, and 5 steps need 10"):
        run(data(training_data, Data, iter(range(9)), gradient_accumulation_steps=2), 5)


def test_what_is_read_ahead_is_bounded_and_a_later_end_is_an_error_too(
    training_data: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_data, "size", lambda _batch: 1 << 20)
    monkeypatch.setattr(training_data, "AHEAD_BYTES", 3 << 20)
    hooks = data(training_data, Data, iter(range(4)))
    context = SimpleNamespace(train_steps=0, iter_steps=0)
    assert hooks.load_next_train_batch(context) == 0
    assert hooks.train_data_loader.read == 3
    assert [hooks.load_next_train_batch(context) for _ in range(3)] == [1, 2, 3]
    context.train_steps = 4
    with pytest.raises(Refused) as ended:
        hooks.load_next_train_batch(context)
    assert str(ended.value).startswith("The data end before the steps: read once they give 4 batches")
    assert "It ended at step 4" in str(ended.value)


def test_the_end_after_the_last_step_is_no_error(training_data: ModuleType) -> None:
    hooks = data(training_data, Data, iter(range(5)))
    context = SimpleNamespace(train_steps=0, iter_steps=0)
    for _ in range(5):
        hooks.load_next_train_batch(context)
    context.train_steps = 5
    assert hooks.load_next_train_batch(context) is None


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (2, "they give 2 batches, and 3 more steps need 3. It ended at step 2. Set steps to 4 at most. Or"),
        (0, "they give 0 batches, and 3 more steps need 3. It ended at step 2. Set steps to 2 at most. Or"),
    ],
)
def test_behind_the_rows_of_a_checkpoint_the_batches_of_the_other_steps_are_enough(
    training_data: ModuleType, given: int, text: str
) -> None:
    """On other chips than before they are others than those of the first steps."""
    position = training_data.Position()
    position.begin(step=2, batches_a_step=1, rows=20)
    position.passed_batches = 2
    context = SimpleNamespace(train_steps=2, iter_steps=2)
    assert data(training_data, Data, iter(range(3)), position).load_next_train_batch(context) == 0
    with pytest.raises(Refused) as ended:
        data(training_data, Data, iter(range(given)), position).load_next_train_batch(context)
    assert str(ended.value) == (
        f"The data end before the steps: behind the rows that are trained {text} use another run_name, as "
        "this run keeps its data, and with that set sft_num_epoch to more, or take more data."
    )


def test_the_size_of_a_batch(training_data: ModuleType) -> None:
    arrays = {"inputs": SimpleNamespace(nbytes=100), "targets": SimpleNamespace(nbytes=200)}
    assert training_data.size(arrays) == 300
    assert training_data.size(7) == 0
