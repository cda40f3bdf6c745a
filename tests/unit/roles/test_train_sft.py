# SPDX-License-Identifier: GPL-3.0-or-later
"""The program around MaxText's trainer, with doubles of the libraries that it configures."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import checkpoints, manifest
from huggingface_hub import CommitOperationAdd, HfApi, constants

from ..plugins.job.conftest import Hub


@dataclass
class Policy:
    """A policy of Orbax: what it was made of, and what it answers."""

    given: Any = None
    minimum_interval_secs: int | None = None
    interval: int | None = None

    def should_save(self, step: Any, previous_steps: Any, *, context: Any) -> bool:
        """As Orbax's by time decides."""
        if not previous_steps:
            return True
        return bool(
            (step.time - previous_steps[-1].time).total_seconds() >= (self.minimum_interval_secs or 0)
        )


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
class Profile:
    """Tunix's, as MaxText fills it in."""

    skip_first_n_steps: int = 1
    profiler_steps: int = 5


@dataclass
class Tunix:
    checkpoint_root_directory: str
    max_steps: int
    checkpointing_options: Options = field(default_factory=Options)
    profiler_options: Profile | None = field(default_factory=Profile)
    gradient_accumulation_steps: int | None = None


@pytest.fixture
def maxtext(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The trainer's module, and the libraries that the program imports."""
    names = (
        "LatestN",
        "AnySavePolicy",
        "ContinuousCheckpointingPolicy",
        "FixedIntervalPolicy",
        "PreemptionCheckpointingPolicy",
    )
    policies = SimpleNamespace(**{name: type(name, (Policy,), {}) for name in names})
    for name in ("orbax", "orbax.checkpoint", "jax"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["orbax.checkpoint"], "checkpoint_managers", policies, raising=False)
    monkeypatch.setattr(sys.modules["orbax.checkpoint"], "AsyncOptions", AsyncOptions, raising=False)
    monkeypatch.setattr(sys.modules["jax"], "process_index", lambda: 0, raising=False)
    monkeypatch.setattr(sys.modules["jax"], "process_count", lambda: 1, raising=False)
    return SimpleNamespace(
        get_tunix_config=lambda config: Tunix(config.checkpoint_dir, config.steps),
        MaxTextPeftTrainer=Peft,
    )


class Peft:
    """MaxText's trainer: what it does with a loss."""

    def __init__(self) -> None:
        self.written: list[float] = []

    def _write_metrics(self, metrics_buffer: Any) -> None:
        self.written.append(metrics_buffer.loss)


@pytest.fixture
def run(tmp_path: Path) -> SimpleNamespace:
    """MaxText's configuration of a run whose base model is there."""
    base = tmp_path / "base" / "0" / "items"
    base.mkdir(parents=True)
    (base / "_METADATA").write_text("{}")
    manifest.write(str(base.parents[1] / "manifest.json"), manifest.build(str(base.parent)))
    directory = tmp_path / "run" / "checkpoints"
    directory.mkdir(parents=True)
    return SimpleNamespace(checkpoint_dir=str(directory), steps=60, load_parameters_path=str(base))


def write_step(root: Path, step: int, *, empty: str = "", described: bool = True) -> Path:
    path = root / str(step)
    for item in ("model_params", "optimizer_state"):
        for name in ("d", "ocdbt.process_0"):
            (path / item / name).mkdir(parents=True)
        for name in ("_METADATA", "manifest.ocdbt", "d/0", "ocdbt.process_0/0"):
            (path / item / name).write_text("" if name == empty else '{"tree_metadata": {}}')
    if described:
        record = Path(checkpoints.manifest_path(str(path)))
        record.parent.mkdir(exist_ok=True)
        manifest.write(str(record), manifest.build(str(path), parts=checkpoints.parts(str(path))))
    return path


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


class TestNewestWhole:
    """A fault in the newest checkpoint, and in the one before it."""

    def test_it_is_the_newest(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 10)
        write_step(root, 20)
        found = trainer.newest_whole(root)
        assert (found["step"], names(root)) == (20, ["10", "20"])

    @pytest.mark.parametrize("described", [True, False])
    @pytest.mark.parametrize("name", ["_METADATA", "manifest.ocdbt", "d/0", "ocdbt.process_0/0"])
    def test_an_empty_file(
        self, trainer: ModuleType, run: Any, name: str, described: bool, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20)
        write_step(root, 30, described=described)
        (root / "30" / "model_params" / name).write_text("")
        assert trainer.newest_whole(root)["step"] == 20
        kept = "30.damaged" if described else "30.incomplete"
        assert names(root) == ["20", kept]
        assert names(root.parent / "manifests") == ["20.json"]
        told = capsys.readouterr().out
        assert told.startswith(f"checkpoint 30 is {'damaged' if described else 'not complete'} (")
        assert f"model_params/{name}" in told
        assert f"it is now {root}/{kept}, which you may remove" in told

    @pytest.mark.parametrize("described", [True, False])
    def test_without_its_data(self, trainer: ModuleType, run: Any, described: bool) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20)
        write_step(root, 30, described=described)
        shutil.rmtree(root / "30" / "optimizer_state" / "d")
        assert trainer.newest_whole(root)["step"] == 20

    def test_other_content_of_the_same_size(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20)
        file = write_step(root, 30) / "model_params" / "d" / "0"
        before = file.stat()
        file.write_text(file.read_text().replace("tree", "rotten"[:4]))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert trainer.newest_whole(root)["step"] == 20

    def test_unreadable_without_a_manifest(
        self, trainer: ModuleType, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20, described=False)
        write_step(root, 30, described=False)

        def check_readable(item: str) -> None:
            if "/30/" in item:
                raise trainer.arrays.Unreadable(f"{item}: OUT_OF_RANGE")

        monkeypatch.setattr(trainer.arrays, "check_readable", check_readable)
        assert trainer.newest_whole(root)["step"] == 20
        assert names(root) == ["20", "30.damaged"]
        assert names(root.parent / "manifests") == ["20.json"], "from now on it has one"

    def test_without_the_optimizers_state(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20)
        shutil.rmtree(write_step(root, 30, described=False) / "optimizer_state")
        assert trainer.newest_whole(root)["step"] == 20
        assert names(root) == ["20", "30.incomplete"]

    def test_a_damaged_manifest_is_written_anew(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        path = write_step(root, 30)
        record = Path(checkpoints.manifest_path(str(path)))
        record.write_text("")
        assert trainer.newest_whole(root)["step"] == 30
        assert manifest.problems(str(record), str(path)) == []

    def test_all_of_them(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        write_step(root, 20, empty="_METADATA", described=False)
        write_step(root, 30, empty="manifest.ocdbt", described=False)
        assert trainer.newest_whole(root) is None
        assert names(root) == ["20.incomplete", "30.incomplete"]

    def test_beside_that_of_an_earlier_run(self, trainer: ModuleType, run: Any) -> None:
        root = Path(run.checkpoint_dir)
        for _ in range(3):
            write_step(root, 30, empty="_METADATA", described=False)
            trainer.newest_whole(root)
        assert names(root) == ["30.incomplete", "30.incomplete2", "30.incomplete3"]

    def test_nothing_yet(self, trainer: ModuleType, tmp_path: Path) -> None:
        assert trainer.newest_whole(tmp_path / "checkpoints") is None


class TestNearTheEnd:
    """Tunix's profiler raises where at most one step is left."""

    def tunix(self, trainer: ModuleType, maxtext: Any, run: Any) -> Tunix:
        trainer.change_checkpoints(maxtext, 2, None, 15)
        tunix: Tunix = maxtext.get_tunix_config(run)
        return tunix

    @pytest.mark.parametrize(("steps", "fits"), [(1, False), (2, True), (60, True)])
    def test_from_the_beginning(
        self, trainer: ModuleType, maxtext: Any, run: Any, steps: int, fits: bool
    ) -> None:
        run.steps = steps
        assert (self.tunix(trainer, maxtext, run).profiler_options is not None) == fits

    @pytest.mark.parametrize(("steps", "fits"), [(61, False), (62, True)])
    def test_on_from_a_checkpoint(
        self,
        trainer: ModuleType,
        maxtext: Any,
        run: Any,
        steps: int,
        fits: bool,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        write_step(Path(run.checkpoint_dir), 60)
        run.steps = steps
        assert (self.tunix(trainer, maxtext, run).profiler_options is not None) == fits
        assert ("too few steps are left after step 60 for a profile" in capsys.readouterr().out) != fits

    @pytest.mark.parametrize("steps", [60, 30, 1])
    def test_nothing_is_left(self, trainer: ModuleType, maxtext: Any, run: Any, steps: int) -> None:
        write_step(Path(run.checkpoint_dir), 60)
        run.steps = steps
        with pytest.raises(trainer.Done, match=f"stand at step 60, {steps} are wanted: nothing is left"):
            self.tunix(trainer, maxtext, run)

    def test_a_run_without_a_profile(self, trainer: ModuleType, maxtext: Any, run: Any) -> None:
        original = maxtext.get_tunix_config
        maxtext.get_tunix_config = lambda config: dataclasses.replace(original(config), profiler_options=None)
        run.steps = 1
        assert self.tunix(trainer, maxtext, run).profiler_options is None


class TestInputs:
    """A checkpoint whose manifest tells what it depends on; the job's record is lost."""

    ABOUT: ClassVar[dict[str, Any]] = {
        "dataset_commit": "a",
        "dataset_revision": "main",
        "learning_rate": "1",
    }

    def checkpoint(self, trainer: ModuleType, run: Any) -> None:
        path = write_step(Path(run.checkpoint_dir), 30, described=False)
        trainer.write_manifest(str(path), Path(checkpoints.manifest_path(str(path))), self.ABOUT)

    @pytest.mark.parametrize("changes", [{}, {"dataset_revision": "a"}])
    def test_the_same(self, trainer: ModuleType, run: Any, changes: dict[str, Any]) -> None:
        self.checkpoint(trainer, run)
        assert trainer.prepare(run, self.ABOUT | changes) == 30

    @pytest.mark.parametrize("steps", [60, 30])
    @pytest.mark.parametrize("changes", [{"dataset_commit": "b"}, {"learning_rate": "2"}, {"new": 1}])
    def test_others_are_refused(
        self, trainer: ModuleType, run: Any, changes: dict[str, Any], steps: int
    ) -> None:
        self.checkpoint(trainer, run)
        run.steps = steps
        with pytest.raises(trainer.Refused, match=f"step 30 comes from other inputs .{next(iter(changes))} "):
            trainer.prepare(run, self.ABOUT | changes)

    @pytest.mark.parametrize("known", [{}, {"formatting_files": {"rows": "0"}}])
    def test_a_checkpoint_of_an_earlier_version_tells_no_files(
        self, trainer: ModuleType, run: Any, known: dict[str, Any]
    ) -> None:
        path = write_step(Path(run.checkpoint_dir), 30, described=False)
        record = Path(checkpoints.manifest_path(str(path)))
        trainer.write_manifest(str(path), record, self.ABOUT | known)
        now = self.ABOUT | {"formatting_files": {"rows": "1"}}
        if not known:
            assert trainer.prepare(run, now) == 30
            return
        with pytest.raises(
            trainer.Refused, match=r"comes from other inputs .formatting_files \{'rows': '0'\}, now"
        ):
            trainer.prepare(run, now)

    def test_what_tells_nothing_goes_on(self, trainer: ModuleType, run: Any) -> None:
        write_step(Path(run.checkpoint_dir), 30)
        assert trainer.prepare(run, self.ABOUT) == 30


class TestFormatting:
    """The user's function that makes conversations of the rows lies in a file on the machine."""

    @pytest.fixture
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "rows_of_mine.py").write_text("def convert(row): ...\n")
        (tmp_path / "template.json").write_text("{}")
        monkeypatch.syspath_prepend(str(tmp_path / "mine"))
        return tmp_path

    def test_its_content_is_an_input_of_the_run(
        self, trainer: ModuleType, maxtext: Any, run: Any, files: Path
    ) -> None:
        run.formatting_func_path = "rows_of_mine.convert"
        run.formatting_func_kwargs = {"template_path": str(files / "template.json"), "other": 1}
        about = {"dataset": "a/b"}
        trainer.change_checkpoints(maxtext, 2, None, 15, about)
        maxtext.get_tunix_config(run)
        first = manifest.describe(str(files / "mine" / "rows_of_mine.py"))["sha256"]
        template = manifest.describe(str(files / "template.json"))["sha256"]
        assert about == {
            "dataset": "a/b",
            "formatting_files": {"formatting_func_path": first, "template_path": template},
        }

    def test_another_content_does_not_continue_the_checkpoints(
        self, trainer: ModuleType, maxtext: Any, run: Any, files: Path
    ) -> None:
        run.formatting_func_path, about = "rows_of_mine.convert", {"dataset": "a/b"}
        trainer.change_checkpoints(maxtext, 2, None, 15, about)
        maxtext.get_tunix_config(run)
        path = write_step(Path(run.checkpoint_dir), 30, described=False)
        trainer.write_manifest(str(path), Path(checkpoints.manifest_path(str(path))), about)
        maxtext.get_tunix_config(run)
        (files / "mine" / "rows_of_mine.py").write_text("def convert(row): return {}\n")
        with pytest.raises(trainer.Refused, match=r"step 30 comes from other inputs .formatting_files "):
            maxtext.get_tunix_config(run)

    @pytest.mark.parametrize("path", ["no_such_rows.convert", "convert", "no_such.rows.convert", "sys.path"])
    def test_one_that_is_not_there_is_refused_with_its_name(
        self, trainer: ModuleType, maxtext: Any, run: Any, path: str
    ) -> None:
        run.formatting_func_path = path
        trainer.change_checkpoints(maxtext, 2, None, 15, {})
        with pytest.raises(trainer.Refused) as refused:
            maxtext.get_tunix_config(run)
        assert str(refused.value) == (
            f"formatting_func_path: {path!r} names no file that Python finds on the machine. Set it to "
            "MODULE.FUNCTION, and PYTHONPATH in maxtext_environment to the directory of the module."
        )

    def test_a_template_that_is_not_there_is_refused_with_its_name(
        self, trainer: ModuleType, maxtext: Any, run: Any, files: Path
    ) -> None:
        """MaxText would train without it, and say nothing."""
        run.formatting_func_path = "rows_of_mine.convert"
        run.formatting_func_kwargs = {"template_path": "/no/such.json"}
        trainer.change_checkpoints(maxtext, 2, None, 15, {})
        with pytest.raises(trainer.Refused) as refused:
            maxtext.get_tunix_config(run)
        assert str(refused.value) == (
            "formatting_func_kwargs: template_path '/no/such.json' is no file on the machine. Set it to the "
            "absolute path of one."
        )


class TestBase:
    def record(self, run: Any) -> Path:
        return Path(run.load_parameters_path).parents[1] / "manifest.json"

    def test_whole(self, trainer: ModuleType, run: Any) -> None:
        assert trainer.prepare(run) == 0

    def test_damaged(self, trainer: ModuleType, run: Any) -> None:
        Path(run.load_parameters_path, "_METADATA").write_text("[]x")
        with pytest.raises(
            trainer.Refused, match=r"base model is damaged .*_METADATA has 3 bytes"
        ) as refused:
            trainer.prepare(run)
        assert f"(sudo rm {self.record(run)} on the machine) and convert it again" in str(refused.value)

    def test_is_not_read_again_where_training_goes_on(self, trainer: ModuleType, run: Any) -> None:
        shutil.rmtree(run.load_parameters_path)
        write_step(Path(run.checkpoint_dir), 30)
        assert trainer.prepare(run) == 30

    @pytest.mark.parametrize("content", [None, "", "{}"])
    def test_without_a_manifest(self, trainer: ModuleType, run: Any, content: str | None) -> None:
        """Nothing shows that it is what was converted. The conversion runs again without one."""
        if content is None:
            self.record(run).unlink()
        else:
            self.record(run).write_text(content)
        with pytest.raises(trainer.Refused, match=r"cannot be compared with its source.* --tags convert"):
            trainer.prepare(run)


class TestCheckpoints:
    def options(
        self, trainer: ModuleType, maxtext: Any, run: Any, minutes: float | None, period: int | None
    ) -> Options:
        trainer.change_checkpoints(maxtext, 2, minutes, period)
        tunix: Tunix = maxtext.get_tunix_config(run)
        assert tunix.checkpoint_root_directory == run.checkpoint_dir
        return tunix.checkpointing_options

    def policies(self, options: Options) -> list[Any]:
        assert options.save_decision_policy is not None
        policies = options.save_decision_policy.given
        assert type(policies[1]).__name__ == "PreemptionCheckpointingPolicy"
        return list(policies)

    def test_the_last_ones_are_kept(self, trainer: ModuleType, maxtext: Any, run: Any) -> None:
        options = self.options(trainer, maxtext, run, None, 15)
        assert options.preservation_policy is not None
        assert (type(options.preservation_policy).__name__, options.preservation_policy.given) == (
            "LatestN",
            2,
        )
        assert options.cleanup_tmp_directories

    def test_by_steps_the_first_one_is_not_saved(self, trainer: ModuleType, maxtext: Any, run: Any) -> None:
        """Orbax's own default policy saves the first step of every run."""
        by_steps = self.policies(self.options(trainer, maxtext, run, None, 15))[0]
        assert (type(by_steps).__name__, by_steps.interval) == ("FixedIntervalPolicy", 15)

    @pytest.mark.parametrize("earlier", [None, -3600, -100_000])
    def test_by_time_the_start_counts(
        self, trainer: ModuleType, maxtext: Any, run: Any, earlier: int | None
    ) -> None:
        by_time = self.policies(self.options(trainer, maxtext, run, 10, None))[0]
        assert by_time.policy.minimum_interval_secs == 600
        start = datetime.datetime.now(datetime.UTC)
        previous = [SimpleNamespace(time=start + datetime.timedelta(seconds=earlier))] if earlier else []

        def saved(after: int) -> bool:
            step = SimpleNamespace(step=1, time=start + datetime.timedelta(seconds=after))
            return bool(by_time.should_save(step, previous, context=None))

        # However long the first step took, which is compiled.
        assert [saved(after) for after in (700, 1290, 1310)] == [False, False, True]
        previous.append(SimpleNamespace(time=start + datetime.timedelta(seconds=1310)))
        assert [saved(after) for after in (1320, 1900, 1911)] == [False, False, True]

    @pytest.mark.parametrize(("given", "timeout"), [(None, 1200), (AsyncOptions(timeout_secs=7), 7)])
    def test_one_is_on_the_disk_and_described_before_it_has_its_name(
        self,
        trainer: ModuleType,
        maxtext: Any,
        run: Any,
        monkeypatch: pytest.MonkeyPatch,
        given: AsyncOptions | None,
        timeout: int,
    ) -> None:
        synced: list[str] = []
        monkeypatch.setattr(os, "sync", lambda: synced.append("all"))
        root = Path(run.checkpoint_dir)
        options = trainer.with_checkpoint_options(
            Options(async_options=given), root, 2, None, 15
        ).async_options
        assert synced == []
        write_step(root, 30, described=False).rename(root / "30.orbax-checkpoint-tmp")
        options.post_finalization_callback()  # as Orbax does, right before it renames the directory
        assert synced == ["all"]
        (root / "30.orbax-checkpoint-tmp").rename(root / "30")
        assert manifest.problems(f"{root.parent}/manifests/30.json", str(root / "30")) == []
        assert options.timeout_secs == timeout

    def test_it_tells_how_many_rows_it_was_trained_on_and_the_next_start_reads_that(
        self, trainer: ModuleType, training_rows: ModuleType, maxtext: Any, run: Any
    ) -> None:
        """The inputs of the run stay what they are: the number of rows is none of them."""
        root, position = Path(run.checkpoint_dir), training_rows.Position()
        trainer.change_checkpoints(maxtext, 2, None, 15, {"dataset": "a/b"}, position)
        options = maxtext.get_tunix_config(run).checkpointing_options.async_options
        assert (position.batches, position.rows) == (0, {0: 0})
        position.count(1, {"inputs_segmentation": [[1, 1, 2], [1, 0, 0]]})
        write_step(root, 1, described=False).rename(root / "1.orbax-checkpoint-tmp")
        options.post_finalization_callback()
        (root / "1.orbax-checkpoint-tmp").rename(root / "1")
        described = manifest.read(f"{root.parent}/manifests/1.json")
        assert described is not None
        assert (described["rows"], described["about"]) == (3, {"dataset": "a/b"})

        following = training_rows.Position()
        trainer.change_checkpoints(maxtext, 2, None, 15, {"dataset": "a/b"}, following)
        maxtext.get_tunix_config(run)
        assert (following.batches, following.rows) == (1, {1: 3})

    @pytest.mark.parametrize("rows", [None, "7", -1])
    def test_a_manifest_without_rows_is_one_of_an_earlier_version(
        self, trainer: ModuleType, training_rows: ModuleType, maxtext: Any, run: Any, rows: Any
    ) -> None:
        write_step(Path(run.checkpoint_dir), 30)
        path = f"{run.checkpoint_dir}/../manifests/30.json"
        described = manifest.read(path)
        assert described is not None
        manifest.write(path, {**described, "rows": rows})
        position = training_rows.Position()
        trainer.change_checkpoints(maxtext, 2, None, 15, None, position)
        maxtext.get_tunix_config(run)
        assert (position.batches, position.rows) == (30, {0: 0})

    def test_machines_that_have_a_part_of_the_rows_each_count_none(
        self,
        trainer: ModuleType,
        training_rows: ModuleType,
        maxtext: Any,
        run: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(sys.modules["jax"], "process_count", lambda: 2)
        position = training_rows.Position()
        trainer.change_checkpoints(maxtext, 2, None, 15, None, position)
        maxtext.get_tunix_config(run)
        assert position.rows == {}

    def test_saving_in_the_training_thread_has_no_callback(
        self, trainer: ModuleType, maxtext: Any, tmp_path: Path
    ) -> None:
        options = Options(enable_async_checkpointing=False)
        assert trainer.with_checkpoint_options(options, tmp_path, 2, None, 15).async_options is None


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(trainer: ModuleType, maxtext: Any, loss: float) -> None:
    trainer.change_loss(maxtext)
    peft = maxtext.MaxTextPeftTrainer()
    peft._write_metrics(SimpleNamespace(loss=1.5, step=6))
    with pytest.raises(trainer.Refused, match=f"The loss is {loss} at step 7"):
        peft._write_metrics(SimpleNamespace(loss=loss, step=7))
    assert peft.written == [1.5]


def test_gradients_are_accumulated_in_the_optimizer_alone(trainer: ModuleType, maxtext: Any) -> None:
    """MaxText's step would add them to what Tunix 0.1.7 does not have."""
    seen: list[int | None] = []

    @dataclasses.dataclass
    class Config:
        gradient_accumulation_steps: int | None = 4

    class Peft:
        def __init__(self, accumulator: object = None) -> None:
            self.config, self.grad_accumulator = Config(), accumulator

        def create_train_step_fn(self) -> str:
            seen.append(self.config.gradient_accumulation_steps)
            return "step"

    maxtext.MaxTextPeftTrainer = Peft
    trainer.change_accumulation(maxtext)
    peft = maxtext.MaxTextPeftTrainer()
    assert peft.create_train_step_fn() == "step"
    assert peft.config.gradient_accumulation_steps == 4, "the loop counts by it"
    maxtext.MaxTextPeftTrainer(accumulator=object()).create_train_step_fn()
    assert seen == [None, 4], "a later Tunix has it"


def test_a_run_of_adapters_needs_its_base_again(trainer: ModuleType, run: Any) -> None:
    """Its checkpoints have the adapters alone."""
    write_step(Path(run.checkpoint_dir), 30)
    (Path(run.load_parameters_path) / "_METADATA").write_text("damaged")
    assert trainer.prepare(run) == 30
    run.lora = SimpleNamespace(enable_lora=True)
    with pytest.raises(trainer.Refused, match="The converted base model is damaged"):
        trainer.prepare(run)


SHAPES = {"kernel": (8, 3, 6), "kernel_lora_a": (8, 3, 2), "kernel_lora_b": (2, 3, 6)}


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        (SHAPES, None),
        ({"kernel": (8, 3, 6)}, None),
        ({**SHAPES, "kernel_lora_b": (2, 4, 6)}, "decoder/wo (adapters of the shapes"),
        ({"embedding": (8, 6), "embedding_lora_a": (8, 2), "embedding_lora_b": (2, 6)}, "decoder/wo"),
        ({name: SHAPES[name] for name in ("kernel_lora_a", "kernel_lora_b")}, "decoder/wo"),
    ],
)
def test_only_what_the_export_can_merge_is_trained(
    training_lora: ModuleType, shapes: dict[str, tuple[int, ...]], told: str | None
) -> None:
    found = training_lora.unmergeable({("decoder", "wo", name): shape for name, shape in shapes.items()})
    assert (found is None) == (told is None)
    assert (found or "").startswith(told or "")


class TestPins:
    def test_only_the_roles_data_set_has_its_commit(
        self, trainer: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user's own arguments come later, and may name other data."""
        asked: list[Any] = []
        library = ModuleType("datasets")
        library.load_dataset = lambda path, **options: asked.append((path, options))  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "datasets", library)
        trainer.pin_dataset(["hf_path=me/data", "steps=1", "hf_path=me/other"], "c")
        library.load_dataset("me/data", split="train")
        library.load_dataset("me/other", split="train")
        assert asked == [("me/data", {"revision": "c", "split": "train"}), ("me/other", {"split": "train"})]

    def test_only_the_roles_tokenizer_has_its_commit(
        self, trainer: ModuleType, downloader: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloader, "fetch", lambda name, commit, *_: Path(f"/{name}/{commit}"))
        given = ["tokenizer_path=me/base", "steps=1", "tokenizer_path=me/other"]
        assert trainer.pin_tokenizer(given, "c") == [
            "tokenizer_path=/me/base/c",
            "steps=1",
            "tokenizer_path=me/other",
        ]

    def test_a_damaged_tokenizer_in_the_cache_is_not_trained_with(
        self, trainer: ModuleType, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The Hub's client takes what is in its cache for whole."""
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        api = HfApi(endpoint=hub.url, token=hub.token)
        api.create_repo("local/tokenizer")
        files = {"tokenizer.json": b"{}", "config.json": b"[]", "model.safetensors": b"weights"}
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=files[name]) for name in files]
        commit = str(api.create_commit("local/tokenizer", operations, commit_message="Add").oid)
        (setting,) = trainer.pin_tokenizer(["tokenizer_path=local/tokenizer"], commit)
        found = Path(setting.partition("=")[2])
        assert sorted(path.name for path in found.iterdir()) == ["config.json", "tokenizer.json"]
        for name in ("config.json", "tokenizer.json"):
            (found / name).write_bytes(b"!!")
        trainer.pin_tokenizer(["tokenizer_path=local/tokenizer"], commit)
        assert {path.name: path.read_bytes() for path in found.iterdir()} == {
            name: files[name] for name in ("config.json", "tokenizer.json")
        }


class TestResult:
    @pytest.fixture
    def arrays(self, trainer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[Any, Any]]:
        """The arrays of the base model and of the run, by the part of the path that tells them apart."""
        given: dict[str, dict[Any, Any]] = {
            "/items": {("params", "params", "decoder", "scale"): [1.0], ("params", "params", "head"): [2.0]},
            "/model_params": {("decoder", "scale", "value"): [1.0], ("head", "value"): [2.0]},
        }

        def of(item: str) -> dict[Any, Any]:
            return next(found for end, found in given.items() if item.endswith(end))

        monkeypatch.setattr(trainer.arrays, "names", lambda item: list(of(item)))
        monkeypatch.setattr(trainer.arrays, "read", lambda item, key: of(item)[key])
        return given

    def test_trained(self, trainer: ModuleType, run: Any, arrays: dict[str, dict[Any, Any]]) -> None:
        write_step(Path(run.checkpoint_dir), 60)
        arrays["/model_params"]["head", "value"] = [2.5]
        trainer.check_result(run)

    def test_untrained(self, trainer: ModuleType, run: Any, arrays: dict[str, dict[Any, Any]]) -> None:
        write_step(Path(run.checkpoint_dir), 60)
        with pytest.raises(trainer.Refused, match="The weights at step 60 are the base model's: nothing was"):
            trainer.check_result(run)

    @pytest.mark.parametrize(("b", "trained"), [([0.0], False), ([0.5], True)])
    def test_adapters_that_are_zero_learned_nothing(
        self, trainer: ModuleType, run: Any, arrays: dict[str, dict[Any, Any]], b: list[float], trained: bool
    ) -> None:
        write_step(Path(run.checkpoint_dir), 60)
        name = ("decoder", "wo", "kernel_lora_{}", "value")
        arrays["/model_params"].clear()
        for each, value in {"a": [0.3], "b": b}.items():
            arrays["/model_params"][tuple(part.format(each) for part in name)] = value
        if trained:
            trainer.check_result(run)
            return
        with pytest.raises(trainer.Refused, match="nothing was learned"):
            trainer.check_result(run)

    def test_one_that_was_saved_in_the_training_thread_is_described(
        self, trainer: ModuleType, maxtext: Any, run: Any, arrays: dict[str, dict[Any, Any]]
    ) -> None:
        path = write_step(Path(run.checkpoint_dir), 60, described=False)
        arrays["/model_params"]["head", "value"] = [2.5]
        maxtext.train = lambda config: None
        trainer.change_main(maxtext, {"learning_rate": "1"})
        maxtext.train(run)
        kept = manifest.read(checkpoints.manifest_path(str(path)))
        assert kept is not None
        assert kept["about"] == {"learning_rate": "1"}

    @pytest.mark.parametrize("reached", [0, 20])
    def test_an_early_end_of_any_cause(self, trainer: ModuleType, run: Any, reached: int) -> None:
        if reached:
            write_step(Path(run.checkpoint_dir), reached)
        with pytest.raises(
            trainer.Refused, match=f"The newest whole checkpoint is that of step {reached}, and 60"
        ):
            trainer.check_result(run)

    def test_is_looked_at_where_nothing_was_left(self, trainer: ModuleType, maxtext: Any, run: Any) -> None:
        def done(config: Any) -> None:
            raise trainer.Done("nothing is left")

        maxtext.train = done
        trainer.change_main(maxtext)
        with pytest.raises(trainer.Refused, match="The newest whole checkpoint is that of step 0"):
            maxtext.train(run)


def test_the_trainers_own_arguments_stay_as_they_are(trainer: ModuleType) -> None:
    given = ["--keep", "3", "--minutes", "2.5", "--dataset-commit", "abc", "--tokenizer-commit", "def"]
    options = trainer.parse_arguments([*given, "maxtext.train", "sft.yml", "run_name=x", "--flag"])
    assert (options.keep, options.minutes, options.period) == (3, 2.5, None)
    assert (options.dataset_commit, options.tokenizer_commit, options.module) == (
        "abc",
        "def",
        "maxtext.train",
    )
    assert options.arguments == ["sft.yml", "run_name=x", "--flag"]


@pytest.mark.parametrize("log_has_room", [True, False])
@pytest.mark.parametrize(
    ("error", "status"), [("OSError(28, 'No space left on device')", 1), ("SystemExit(3)", 0)]
)
def test_a_thread_that_dies_ends_the_training(
    error: str, status: int, log_has_room: bool, tmp_path: Path
) -> None:
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
    shared = tmp_path / "tpuops"
    shared.mkdir()
    for path in (
        "roles/common/files/adapters",
        "roles/common/files/arrays",
        "roles/common/files/download",
        "roles/common/files/installed",
        "plugins/module_utils/checkpoints",
        "plugins/module_utils/huggingface/model_files",
        "plugins/module_utils/manifest",
    ):
        (shared / f"{Path(path).name}.py").symlink_to(root / f"{path}.py")
    folders = [root / "roles" / "sft" / "files", tmp_path]
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
