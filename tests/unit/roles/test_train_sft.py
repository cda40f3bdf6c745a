# SPDX-License-Identifier: GPL-3.0-or-later
"""The program around MaxText's trainer, with doubles of the libraries that it configures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@dataclass
class Policy:
    """A policy of Orbax: what it was made of."""

    given: Any = None
    minimum_interval_secs: int | None = None


@dataclass
class AsyncOptions:
    """Orbax's."""

    timeout_secs: int = 1200
    post_finalization_callback: Callable[[], None] | None = None


@dataclass
class Options:
    """MaxText's: steps alone."""

    save_interval_steps: int = 10
    enable_async_checkpointing: bool = True
    async_options: AsyncOptions | None = None
    preservation_policy: Policy | None = None
    save_decision_policy: Policy | None = None
    cleanup_tmp_directories: bool = False


@dataclass
class Tunix:
    checkpoint_root_directory: str
    checkpointing_options: Options = field(default_factory=Options)


class Data:
    """MaxText's hooks: batches by number, then None."""

    def __init__(self) -> None:
        self.batches = iter(range(12))

    def load_next_train_batch(self, train_ctx: Any) -> int | None:
        return next(self.batches, None)


@pytest.fixture
def maxtext(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The trainer's module, and the libraries that the program imports."""
    names = ("LatestN", "AnySavePolicy", "ContinuousCheckpointingPolicy", "PreemptionCheckpointingPolicy")
    policies = SimpleNamespace(**{name: type(name, (Policy,), {}) for name in names})
    for name in ("orbax", "orbax.checkpoint", "jax"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["orbax.checkpoint"], "checkpoint_managers", policies, raising=False)
    monkeypatch.setattr(sys.modules["orbax.checkpoint"], "AsyncOptions", AsyncOptions, raising=False)
    monkeypatch.setattr(sys.modules["jax"], "process_index", lambda: 0, raising=False)
    return SimpleNamespace(
        get_tunix_config=lambda config: Tunix(config.checkpoint_dir),
        hooks=SimpleNamespace(SFTDataHooks=Data),
    )


def write_step(root: Path, step: int, *, empty: str = "") -> None:
    for item in ("model_params", "optimizer_state"):
        for name in ("d", "ocdbt.process_0"):
            (root / str(step) / item / name).mkdir(parents=True)
        for name in ("_METADATA", "manifest.ocdbt"):
            (root / str(step) / item / name).write_text("" if name == empty else "{}")


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


class TestIncomplete:
    def test_above_the_last_complete_one_are_set_aside(
        self, trainer: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_step(tmp_path, 10, empty="_METADATA")
        write_step(tmp_path, 20)
        write_step(tmp_path, 30, empty="manifest.ocdbt")
        assert trainer.set_aside_incomplete(tmp_path) == [tmp_path / "30.incomplete"]
        assert names(tmp_path) == ["10", "20", "30.incomplete"]
        assert "checkpoint 30 is not complete (model_params/manifest.ocdbt" in capsys.readouterr().out

    def test_is_set_aside_beside_that_of_an_earlier_run(self, trainer: ModuleType, tmp_path: Path) -> None:
        for _ in range(3):
            write_step(tmp_path, 30, empty="_METADATA")
            trainer.set_aside_incomplete(tmp_path)
        assert names(tmp_path) == ["30.incomplete", "30.incomplete2", "30.incomplete3"]

    def test_nothing_yet(self, trainer: ModuleType, tmp_path: Path) -> None:
        assert trainer.set_aside_incomplete(tmp_path / "checkpoints") == []


class TestCheckpoints:
    def options(self, trainer: ModuleType, maxtext: Any, root: Path, minutes: float | None) -> Options:
        trainer.change_checkpoints(maxtext, 2, minutes)
        tunix: Tunix = maxtext.get_tunix_config(SimpleNamespace(checkpoint_dir=str(root)))
        assert tunix.checkpoint_root_directory == str(root)
        return tunix.checkpointing_options

    def test_the_last_ones_are_kept_and_the_steps_stay(
        self, trainer: ModuleType, maxtext: Any, tmp_path: Path
    ) -> None:
        options = self.options(trainer, maxtext, tmp_path, None)
        assert options.preservation_policy is not None
        assert (type(options.preservation_policy).__name__, options.preservation_policy.given) == (
            "LatestN",
            2,
        )
        assert (options.save_interval_steps, options.save_decision_policy) == (10, None)
        assert options.cleanup_tmp_directories

    def test_minutes_take_the_place_of_steps(self, trainer: ModuleType, maxtext: Any, tmp_path: Path) -> None:
        options = self.options(trainer, maxtext, tmp_path, 2.5)
        assert options.save_decision_policy is not None
        continuous, preemption = options.save_decision_policy.given
        assert continuous.minimum_interval_secs == 150
        assert type(preemption).__name__ == "PreemptionCheckpointingPolicy"

    @pytest.mark.parametrize("minutes", [None, 2.5])
    @pytest.mark.parametrize(("given", "timeout"), [(None, 1200), (AsyncOptions(timeout_secs=7), 7)])
    def test_one_is_on_the_disk_before_it_has_its_name(
        self,
        trainer: ModuleType,
        maxtext: Any,
        monkeypatch: pytest.MonkeyPatch,
        minutes: float | None,
        given: AsyncOptions | None,
        timeout: int,
    ) -> None:
        synced: list[str] = []
        monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
        options = trainer.with_checkpoint_options(Options(async_options=given), 2, minutes).async_options
        assert synced == []
        options.post_finalization_callback()  # as Orbax does, right before it renames the directory
        assert synced == ["all"]
        assert options.timeout_secs == timeout

    def test_saving_in_the_training_thread_has_no_callback(self, trainer: ModuleType, maxtext: Any) -> None:
        options = trainer.with_checkpoint_options(Options(enable_async_checkpointing=False), 2, None)
        assert options.async_options is None

    def test_incomplete_ones_are_gone_before_orbax_looks(
        self, trainer: ModuleType, maxtext: Any, tmp_path: Path
    ) -> None:
        write_step(tmp_path, 30, empty="_METADATA")
        self.options(trainer, maxtext, tmp_path, None)
        assert names(tmp_path) == ["30.incomplete"]


class TestData:
    @pytest.mark.parametrize(("trained", "first"), [(0, 0), (5, 5), (12, None), (20, None)])
    def test_goes_on_behind_the_checkpoint(
        self, trainer: ModuleType, maxtext: Any, trained: int, first: int | None
    ) -> None:
        trainer.change_data(maxtext)
        data, context = maxtext.hooks.SFTDataHooks(), SimpleNamespace(iter_steps=trained)
        assert data.load_next_train_batch(context) == first
        context.iter_steps += 1
        following = None if first is None else first + 1
        assert data.load_next_train_batch(context) == following


def test_the_trainers_own_arguments_stay_as_they_are(trainer: ModuleType) -> None:
    given = ["--keep", "3", "--minutes", "2.5", "maxtext.train", "sft.yml", "run_name=x", "--flag"]
    options = trainer.parse_arguments(given)
    assert (options.keep, options.minutes, options.module) == (3, 2.5, "maxtext.train")
    assert options.arguments == ["sft.yml", "run_name=x", "--flag"]


@pytest.mark.parametrize("log_has_room", [True, False])
@pytest.mark.parametrize(
    ("error", "status"), [("OSError(28, 'No space left on device')", 1), ("SystemExit(3)", 0)]
)
def test_a_thread_that_dies_ends_the_training(error: str, status: int, log_has_room: bool) -> None:
    root = Path(__file__).resolve().parents[3]
    program = (
        "import threading, train_sft\n"
        "train_sft.end_with_any_thread()\n"
        "waited_for = threading.Event()\n"
        "def die():\n"
        f"    raise {error}\n"
        "thread = threading.Thread(target=die)\n"
        "thread.start()\n"
        "thread.join()\n"
        f"waited_for.wait({None if status else 0})\n"  # what would wait for ever
    )
    folders = [root / "roles" / "sft" / "files", root / "plugins" / "module_utils"]
    with Path(os.devnull if log_has_room else "/dev/full").open("wb") as nowhere:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))},
            stderr=subprocess.PIPE if log_has_room else nowhere,
            timeout=60,
        )
    assert done.returncode == status
    if log_has_room and status:
        assert b"No space left on device" in done.stderr
