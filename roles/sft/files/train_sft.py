# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's SFT trainer, with what MaxText does not pass on to the libraries below it.

    train_sft.py --keep N (--minutes M | --period STEPS) --dataset-commit C --tokenizer-commit C
                 [--about JSON] MODULE CONFIG KEY=VALUE...

MODULE is the trainer's name in this version of MaxText (0.1.0 to 0.2.5); what follows are its own arguments.
MaxText tells Orbax in how many steps to save, and nothing more. Here these things are added:

- The version of MaxText must be the one in ABOUT.
- The base model is compared with the manifest that its conversion left (``tpuops/manifest.py``).
- The data set and the tokenizer are read at one commit. MaxText takes the newest ones, so a run that goes on
  would train on other data than it began with. The tokenizer's files are compared with the Hub's
  (``tpuops/download.py``).
- Checkpoints are saved by time or by steps, never at the first step, and at the end; only the last ones are
  kept. Orbax saves the first step of every run, whatever the period.
- A checkpoint is on the disk before it has its name, and before an older one is deleted for it. Orbax leaves
  its small files in memory, for up to half a minute; without them it is none. Its manifest is written then,
  too: ``RUN/manifests/STEP.json``, with ABOUT, what it depends on.
- Checkpoints of other inputs are not continued. The job's record says so before; but a record may be lost,
  and it does not tell the files of the user's ``formatting_func_path``.
- Training goes on from the newest checkpoint that is whole by its manifest, or can be read where it has none.
  Newer ones are renamed to ``STEP.incomplete`` or ``STEP.damaged``. Orbax takes the highest number, whatever
  lies there. What Orbax itself knows to be unfinished (``STEP.orbax-checkpoint-tmp``) is deleted.
- A run that has its steps already ends well, without the model or the chips. Near the end there is no
  profile: Tunix refuses to train where at most one step is left to profile.
- Data that end before the steps, or cannot be read, end it before the first step where that can be known then
  (``training_data.py``). MaxText would end well.
- It goes on with the first row that the checkpoint was not trained on (``training_rows.py``). MaxText would
  begin anew.
- Adapters of LoRA are trained in float32 (``training_lora.py``). Accumulated gradients are Tunix' alone.
- A loss that is no number ends it. So does an end before the last step, where the data ran out, and weights
  that are the base model's.
- An error in any thread ends it. TensorBoard's writer dies of a full disk, and the trainer would wait for it
  for ever, on chips that cost money.

Runs in the training environment, beside the two programs that are named above and the package ``tpuops`` of
the collection's own modules. Needs Tunix 0.1.0 and an Orbax that has policies (0.11.11).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import training_data
import training_lora
import training_rows
from tpuops import adapters, arrays, checkpoints, download, installed, manifest, model_files
from training_rows import Position

#: Of the inputs: the SHA-256 of each file that makes conversations of the rows.
FORMATTING = "formatting_files"


class Refused(Exception):
    """Why there is no training, or no result of it; the text is all that a user has to know."""


class Done(Exception):
    """There is nothing to train any more; the text says why."""


def fault(found: dict[str, Any], record: Path) -> tuple[str, str] | None:
    """What is wrong with a checkpoint (see checkpoints.py): the suffix for its name, and the reason."""
    if manifest.read(str(record)):
        damage = manifest.problems(str(record), found["path"])
        return ("damaged", f"is damaged ({manifest.sentence(damage)})") if damage else None
    missing = found["missing"] + ["optimizer_state"] * ("optimizer_state" not in found["parts"])
    if missing:  # without the optimizer's state training would begin anew from these weights
        return "incomplete", f"is not complete ({', '.join(missing)})"
    try:
        for part in found["parts"]:
            arrays.check_readable(str(Path(found["path"], part)))
    except (arrays.Unreadable, OSError) as error:
        return "damaged", f"cannot be read ({error})"
    return None


def newest_whole(directory: Path, about: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The newest checkpoint that can be trusted; newer ones are set aside. None where there is none.

    Older ones are no danger: training does not begin there, and they go when checkpoints are pruned.
    """
    for found in reversed(checkpoints.find(str(directory))):
        assert isinstance(found, dict)
        record = Path(checkpoints.manifest_path(found["path"]))
        wrong = fault(found, record)
        if wrong is None:
            if not manifest.read(str(record)):  # of an earlier version, or one that was killed or is damaged
                write_manifest(found["path"], record, about)
            return found
        suffix, reason = wrong
        path = checkpoints.set_aside(Path(found["path"]), suffix)
        print(f"checkpoint {found['step']} {reason}: it is now {path}, which you may remove", flush=True)
    return None


def write_manifest(
    path: str, record: Path, about: dict[str, Any] | None = None, rows: int | None = None
) -> None:
    """rows: that the checkpoint was trained on. They are no input, so ABOUT is not their place."""
    record.parent.mkdir(exist_ok=True)
    described = manifest.build(path, about, parts=checkpoints.parts(path))
    manifest.write(str(record), described if rows is None else {**described, "rows": rows})


def rows_trained(step: Path) -> int | None:
    """The same of a checkpoint; None where its manifest does not tell, as one of an earlier version."""
    rows = (manifest.read(checkpoints.manifest_path(str(step))) or {}).get("rows")
    return rows if isinstance(rows, int) and rows >= 0 else None


def check_inputs(found: dict[str, Any], about: dict[str, Any]) -> None:
    """Refuse a checkpoint that other inputs left, where its manifest tells. A revision is only a name."""
    known = (manifest.read(checkpoints.manifest_path(found["path"])) or {}).get("about") or about
    names = sorted(name for name in known.keys() | about.keys() if not name.endswith("_revision"))
    if FORMATTING not in known:  # of an earlier version
        names = [name for name in names if name != FORMATTING]
    other = [name for name in names if known.get(name) != about.get(name)]
    if other:
        shown = ", ".join(f"{name} {known.get(name)!r}, now {about.get(name)!r}" for name in other)
        raise Refused(
            f"The checkpoint at step {found['step']} comes from other inputs ({shown}): going on from it "
            "would mix the two. Set the earlier values (a commit in hf_revision, tokenizer_revision or "
            "dataset_revision), or choose another run_name."
        )


def formatting_files(config: Any) -> dict[str, str]:
    """Setting of MaxText -> SHA-256 of the user's file that it names; they make conversations of the rows."""
    function = getattr(config, "formatting_func_path", "")
    if not function:
        return {}
    module = source_of(function.rpartition(".")[0])
    if module is None:
        raise Refused(
            f"formatting_func_path: {function!r} names no file that Python finds on the machine. Set it to "
            "MODULE.FUNCTION, and PYTHONPATH in maxtext_environment to the directory of the module."
        )
    found = {"formatting_func_path": module}
    template = (getattr(config, "formatting_func_kwargs", None) or {}).get("template_path")
    if template:
        package = source_of("maxtext")  # MaxText looks beside itself, and trains without what is not there
        found["template_path"] = (package.parents[1] if package else Path()) / template
        if not found["template_path"].is_file():
            raise Refused(
                f"formatting_func_kwargs: template_path {template!r} is no file on the machine. Set it to "
                "the absolute path of one."
            )
    return {name: manifest.describe(str(path))["sha256"] for name, path in found.items()}


def source_of(module: str) -> Path | None:
    """The file of a module that is not imported yet; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


def seal(directory: Path, about: dict[str, Any] | None = None, position: Position | None = None) -> None:
    """Bring what was saved to the disk and describe it; Orbax calls this right before it names it.

    sync() raises nothing: where the disk fails, the renaming that follows says so.
    """
    for path in directory.glob(f"*{checkpoints.UNFINISHED}"):
        step = path.name[: -len(checkpoints.UNFINISHED)]
        record = Path(checkpoints.manifest_path(str(directory / step)))
        write_manifest(str(path), record, about, position.rows_at(int(step)) if position else None)
    os.sync()


@dataclasses.dataclass
class SinceFirstStep:
    """A policy of Orbax that counts from the first step of this start, not from the last checkpoint alone.

    Otherwise the first step of a run would be saved, and the first one after it was resumed.
    """

    policy: Any
    step: int = -1
    metrics: None = None
    time: datetime.datetime | None = None

    def should_save(self, step: Any, previous_steps: Any, *, context: Any) -> bool:
        if self.time is None:
            self.time = step.time
        earlier = list(previous_steps)
        if not earlier or in_utc(earlier[-1].time) < in_utc(self.time):
            earlier.append(self)
        return bool(self.policy.should_save(step, earlier, context=context))


def in_utc(time: datetime.datetime) -> datetime.datetime:
    """Orbax's times are in UTC; the one for a checkpoint of unknown age has no zone."""
    return time if time.tzinfo else time.replace(tzinfo=datetime.UTC)


def with_checkpoint_options(
    options: Any,
    directory: Path,
    keep: int,
    minutes: float | None,
    period: int | None,
    about: dict[str, Any] | None = None,
    position: Position | None = None,
) -> Any:
    """MaxText's options for Orbax (CheckpointManagerOptions), with the number to keep and when to save.

    By time, none is saved while another is still being written.
    """
    from orbax.checkpoint import AsyncOptions, checkpoint_managers

    if minutes is not None:
        seconds = round(minutes * 60)
        when = SinceFirstStep(
            checkpoint_managers.ContinuousCheckpointingPolicy(minimum_interval_secs=seconds)
        )
    else:
        when = checkpoint_managers.FixedIntervalPolicy(interval=period)
    changes: dict[str, Any] = {
        "preservation_policy": checkpoint_managers.LatestN(keep),
        "cleanup_tmp_directories": True,
        "save_decision_policy": checkpoint_managers.AnySavePolicy(
            [when, checkpoint_managers.PreemptionCheckpointingPolicy()]
        ),
    }
    if options.enable_async_checkpointing:  # without, Orbax has no such callback, and fails on it
        # Orbax calls it when all is written and STEP has not its name yet, in the thread that saves: training
        # waits for that only where the next one is due before. ext4 commits the name within 5 s.
        changes["async_options"] = dataclasses.replace(
            options.async_options or AsyncOptions(),
            post_finalization_callback=functools.partial(seal, directory, about, position),
        )
    return dataclasses.replace(options, **changes)


def profile_fits(tunix: Any, reached: int) -> bool:
    """Whether Tunix accepts to profile a training that goes on at this step (its sft/profiler.py)."""
    options, each = tunix.profiler_options, tunix.gradient_accumulation_steps or 1
    first = reached * each + options.skip_first_n_steps
    return bool(options.profiler_steps > 0 and first < tunix.max_steps * each)


def check_base(config: Any) -> None:
    """Compare the converted model (DIR/0/items) with what its conversion recorded (DIR/manifest.json)."""
    root = Path(config.load_parameters_path).parent
    record = root.parent / "manifest.json"
    if manifest.read(str(record)) is None:
        raise Refused(
            f"The converted base model in {root} cannot be compared with its source: {record} is missing or "
            "damaged. Convert it again: ansible-playbook site.yml --tags convert"
        )
    damage = manifest.problems(str(record), str(root))
    if damage:
        raise Refused(
            f"The converted base model is damaged ({manifest.sentence(damage)}). Remove its record (sudo rm "
            f"{record} on the machine) and convert it again: ansible-playbook site.yml --tags convert"
        )


def prepare(config: Any, about: dict[str, Any] | None = None) -> int:
    """Set damaged checkpoints aside; the step that training goes on from.

    Raises Done where nothing is left to train, Refused where the base model is damaged or the checkpoint is
    another run's.
    """
    found = newest_whole(Path(config.checkpoint_dir), about)
    if found is None:
        check_base(config)
        return 0
    check_inputs(found, about or {})
    reached = int(found["step"])
    if reached < config.steps and training_lora.is_set(config):  # the checkpoint has adapters alone
        check_base(config)
    if reached >= config.steps:
        raise Done(
            f"the checkpoints stand at step {reached}, {config.steps} are wanted: nothing is left to train"
        )
    return reached


def change_checkpoints(
    trainer: ModuleType,
    keep: int,
    minutes: float | None,
    period: int | None,
    about: dict[str, Any] | None = None,
    position: Position | None = None,
) -> None:
    """Let the trainer find whole checkpoints alone, and save and keep them like that."""
    import jax

    original = trainer.get_tunix_config

    def get_tunix_config(config: Any) -> Any:
        directory = Path(config.checkpoint_dir)
        reached = 0
        if about is not None and (files := formatting_files(config)):
            about[FORMATTING] = files
        if directory.is_absolute() and jax.process_index() == 0:  # not a bucket, which has other marks
            reached = prepare(config, about)
        tunix = original(config)
        if position and directory.is_absolute() and jax.process_count() == 1:
            each = tunix.gradient_accumulation_steps or 1
            position.begin(reached, each, rows_trained(directory / str(reached)))
        options = with_checkpoint_options(
            tunix.checkpointing_options, directory, keep, minutes, period, about, position
        )
        changes = {"checkpointing_options": options}
        if tunix.profiler_options is not None and not profile_fits(tunix, reached):
            print(f"too few steps are left after step {reached} for a profile: there is none", flush=True)
            changes["profiler_options"] = None
        return dataclasses.replace(tunix, **changes)

    trainer.get_tunix_config = get_tunix_config  # type: ignore[attr-defined]


def change_loss(trainer: ModuleType) -> None:
    """Let a loss that is no number end the training."""
    base: Any = getattr(trainer, "MaxTextPeftTrainer", None)
    if base is None:  # before 0.2.0
        return

    class FiniteLoss(base):  # type: ignore[misc]
        def _write_metrics(self, metrics_buffer: Any) -> None:
            loss = float(metrics_buffer.loss)
            if not -float("inf") < loss < float("inf"):
                raise Refused(
                    f"The loss is {loss} at step {metrics_buffer.step}: the weights are lost. Train anew, "
                    "under another run_name, with a lower learning_rate, or look at the data set."
                )
            super()._write_metrics(metrics_buffer)

    trainer.MaxTextPeftTrainer = FiniteLoss  # type: ignore[attr-defined]


def change_accumulation(trainer: ModuleType) -> None:
    """Let gradients be accumulated by Tunix alone, where Tunix does it in its optimizer (optax.MultiSteps).

    MaxText 0.2.5 accumulates in its step as well, with a part of the trainer that only a later Tunix has: on
    0.1.7 the first step fails.
    """
    base: Any = getattr(trainer, "MaxTextPeftTrainer", None)
    if base is None:  # before 0.2.0
        return

    class InOptimizer(base):  # type: ignore[misc]
        config: Any

        def create_train_step_fn(self) -> Any:
            if getattr(self, "grad_accumulator", None) is not None:
                return super().create_train_step_fn()
            whole = self.config
            self.config = dataclasses.replace(whole, gradient_accumulation_steps=None)
            try:
                return super().create_train_step_fn()
            finally:
                self.config = whole

    trainer.MaxTextPeftTrainer = InOptimizer  # type: ignore[attr-defined]


def pin_dataset(settings: list[str], commit: str) -> None:
    """Let MaxText read the role's data set at one commit; the user's own arguments may name other data."""
    import datasets

    original, pinned = datasets.load_dataset, first(settings, "hf_path")

    @functools.wraps(original)
    def load_dataset(path: str, *arguments: Any, **options: Any) -> Any:
        revision = {"revision": commit} if path == pinned else {}
        return original(path, *arguments, **{**revision, **options})

    datasets.load_dataset = load_dataset


def pin_tokenizer(settings: list[str], commit: str) -> list[str]:
    """The settings with the directory of the role's tokenizer at one commit in place of its repository."""
    repository = first(settings, "tokenizer_path")
    # All that is not weights: a tokenizer may need the model's configuration, and code.
    found = download.fetch(repository, commit, model_files.PUBLISHED, model_files.NOT_PUBLISHED)
    given = f"tokenizer_path={repository}"
    return [f"tokenizer_path={found}" if setting == given else setting for setting in settings]


def first(settings: list[str], name: str) -> str:
    """The value that the role gives; a user's arguments come behind it and outweigh it."""
    return next(setting.partition("=")[2] for setting in settings if setting.startswith(f"{name}="))


def weights(item: str) -> Iterator[tuple[str, arrays.Key]]:
    """The arrays of the model by a name that a converted model and a run share."""
    for key in arrays.names(item):
        words = [word for word in key if word not in ("params", "base", "value")]
        if words != ["step"] and "rngs" not in words and "dropout" not in words:
            yield "-".join(words), key


def learned(run: str, base: str) -> bool:
    """Whether an array of the run (``model_params``) differs from the base model's; one is enough.

    Of adapters, B begins with zeros: then A B is zero, too.
    """
    import numpy

    of_adapters = [key for key in arrays.names(run) if adapters.B in key]
    if of_adapters:
        return any(numpy.asarray(arrays.read(run, key)).any() for key in of_adapters)
    of_base = dict(weights(base))
    compared = 0
    for name, key in weights(run):
        if name not in of_base:
            continue
        compared += 1
        after = numpy.asarray(arrays.read(run, key))
        # The training began with the base rounded to its own type: that alone is no learning.
        before = numpy.asarray(arrays.read(base, of_base[name])).astype(after.dtype).astype(numpy.float32)
        after = after.astype(numpy.float32)
        if before.shape != after.shape or not numpy.array_equal(before, after):
            return True
    return compared == 0  # other names: nothing to compare


def check_result(config: Any) -> None:
    """Look at the last checkpoint. Raises Refused where it is not what was wanted."""
    directory = Path(config.checkpoint_dir)
    if not directory.is_absolute():
        return
    found = checkpoints.latest(checkpoints.find(str(directory)))
    reached = found["step"] if found else 0
    if found is None or reached < config.steps:
        raise Refused(
            f"The newest whole checkpoint is that of step {reached}, and {config.steps} are wanted: see the "
            "messages above, then run the same command again."
        )
    base = config.load_parameters_path
    if base and Path(base).is_dir() and not learned(str(Path(found["path"], "model_params")), base):
        raise Refused(
            f"The weights at step {reached} are the base model's: nothing was learned. Raise learning_rate "
            "or steps, and use another run_name."
        )


def describe_last(config: Any, about: dict[str, Any], position: Position | None = None) -> None:
    """Write the manifest of the last checkpoint where Orbax saved in the training thread: it tells nobody."""
    found = checkpoints.latest(checkpoints.find(config.checkpoint_dir))
    if found and found["manifest"] is None:
        rows = position.rows_at(found["step"]) if position else None
        write_manifest(found["path"], Path(checkpoints.manifest_path(found["path"])), about, rows)


def change_main(
    trainer: ModuleType, about: dict[str, Any] | None = None, position: Position | None = None
) -> None:
    """Look at the result after the training, also where nothing was left to train."""
    original = trainer.train

    def train(config: Any, *arguments: Any, **options: Any) -> Any:
        import jax

        try:
            result = original(config, *arguments, **options)
        except Done as done:
            print(done, flush=True)
            result = None
        if jax.process_index() == 0:
            describe_last(config, about or {}, position)
            check_result(config)
        return result

    trainer.train = train  # type: ignore[attr-defined]


def end_with_any_thread() -> None:
    """Let an error that nobody catches in a thread end the process, as one in the main thread does."""
    report = threading.excepthook

    def end(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is SystemExit:
            return
        try:
            report(failed)
            sys.stderr.flush()
        finally:  # also where the log has no room for the report
            os._exit(1)

    threading.excepthook = end


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    option = parser.add_argument
    option("--keep", type=int, required=True, help="number of checkpoints to keep, the last ones")
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--minutes", type=float, help="minutes between two checkpoints")
    when.add_argument("--period", type=int, help="steps between two checkpoints")
    option("--dataset-commit", required=True, help="commit of the data set on the Hub")
    option("--tokenizer-commit", required=True, help="commit of the tokenizer's repository on the Hub")
    option("--about", type=json.loads, default={}, help="what the checkpoints depend on, as JSON")
    option("module", help="name of MaxText's trainer")
    option("arguments", nargs=argparse.REMAINDER, help="its configuration file and settings")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    options = parse_arguments(arguments)
    if problem := installed.problem(options.about):
        print(f"error: {problem}", file=sys.stderr, flush=True)
        sys.exit(1)
    end_with_any_thread()
    from absl import app

    try:
        settings = pin_tokenizer(options.arguments, options.tokenizer_commit)
    except download.Damaged as damaged:
        print(f"error: {damaged}", file=sys.stderr, flush=True)
        sys.exit(1)
    pin_dataset(settings, options.dataset_commit)
    trainer = importlib.import_module(options.module)
    position = Position()
    change_checkpoints(trainer, options.keep, options.minutes, options.period, options.about, position)
    change_loss(trainer)
    change_accumulation(trainer)
    training_lora.change_adapters(trainer, Refused)
    training_data.check_data(trainer, Refused, position)
    training_rows.change_source(position)
    training_rows.change_data(trainer, position)
    change_main(trainer, options.about, position)
    try:
        app.run(trainer.main, argv=[options.module, *settings])
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr, flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
