# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's converter on one commit of a model, and compares the result with its source.

    convert.py --repository REPO --commit COMMIT --output DIR --about JSON MODULE CONFIG ARGUMENT...

MODULE is the converter's name in this version of MaxText (0.2.0 to 0.2.5), CONFIG its configuration file; the
arguments are its own. These things are added:

- The version of MaxText must be the one in ABOUT.
- The model is downloaded at COMMIT, all of it, and compared with what the Hub says of its files, before it is
  converted. MaxText lists the files of the newest commit instead, and takes the tokenizer from there.
- MaxText must compute what the model's configuration says: its rope, heads and epsilon, which no array shows.
- ``save_dtype=auto`` stands for the smallest data type that rounds no tensor of the model.
- What lies in DIR/0 already is removed, unless it is the whole result of the same inputs. Orbax would keep
  it, in silence, and the weights would be those of an earlier model.
- The arrays are read back and each is compared with the tensor that it was made of, in the direction that
  the export takes later. A tensor of the model that MaxText did not convert is an error, too.
- DIR/manifest.json records size and hash of every file, with ABOUT, what the result depends on.

Runs in the training environment, beside the package ``tpuops`` of the collection's own modules.
"""

from __future__ import annotations

import argparse
import importlib
import json
import runpy
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tpuops import architecture, arrays, download, installed, manifest, tensors

# What MaxText scales on the way in and back may be off by some last bits, of 8 in bfloat16, of 24 in float32.
ROUNDING = {"bfloat16": 2.0**-7, "float32": 2.0**-21}
# The converter's own options among the arguments; the others are settings of MaxText.
OPTIONS = ("save_dtype", "lazy_load_tensors", "eager_load_method", "simulated_cpu_devices_count")


class Wrong(Exception):
    """A result that must not be used; the text says why and what to do."""


def check_architecture(directory: str, arguments: list[str], repository: str) -> None:
    """That MaxText computes what the model's configuration says: the arrays alone do not show it."""
    file = Path(directory, "config.json")
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if problem := architecture.problem(arguments, config, repository):
        raise Wrong(problem)


class Source:
    """The tensors of a model in safetensors files."""

    def __init__(self, directory: str) -> None:
        index = Path(directory, "model.safetensors.index.json")
        if index.exists():
            files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        else:
            files = {"model.safetensors"}
            if not Path(directory, "model.safetensors").exists():
                raise Wrong(
                    "hf_model: the base model has no safetensors files. Name a repository that has them."
                )
        from safetensors import safe_open

        self.where: dict[str, Any] = {}
        for name in sorted(files):
            try:
                handle: Any = safe_open(str(Path(directory, name)), framework="np")
            except Exception as error:  # its own classes, which differ between versions
                raise Wrong(
                    f"hf_model: {name} of the base model cannot be read ({error}), and is what the Hub has. "
                    "Name another model."
                ) from error
            self.where.update(dict.fromkeys(list(handle.keys()), handle))

    def read(self, name: str) -> Any:
        return self.where[name].get_tensor(name)

    def shapes(self) -> dict[str, list[int]]:
        return {name: list(handle.get_slice(name).get_shape()) for name, handle in self.where.items()}

    def dtypes(self) -> dict[str, str]:
        """As safetensors calls them."""
        return {name: str(handle.get_slice(name).get_dtype()) for name, handle in self.where.items()}


def back(module: str, program: dict[str, Any], config: Any, item: str, source: Source) -> Iterator[Any]:
    """(name, tensor) of what an export of the result would hold, one MaxText array after the other."""
    package = f"{module.rpartition('.')[0]}.utils"
    process = importlib.import_module(f"{package}.utils").process_maxtext_param
    architecture = program["HF_MODEL_CONFIGS"][config.model_name].to_dict()
    scan = config.scan_layers
    targets = program["PARAM_MAPPING"][config.model_name](architecture, config, scan)
    hooks = program["HOOK_FNS"][config.model_name](architecture, config, scan, saving_to_hf=True)
    shapes = source.shapes()
    keys = {"-".join(key[1:]): key for key in arrays.names(item) if key[0] == "params"}
    for composite in [key for key in hooks if isinstance(key, tuple)]:
        if targets.get(composite[0]) is not None:
            targets[composite] = targets[composite[0]]
            for part in composite:
                targets.pop(part, None)
    for name in targets:
        parts = name if isinstance(name, tuple) else (name,)
        if not all(part in keys for part in parts):
            continue
        read = [arrays.read(item, keys[part]) for part in parts]
        yield from process(name, read if isinstance(name, tuple) else read[0], targets, hooks, shapes, config)


def as_saved(tensor: Any, dtype: str) -> Any:
    """The tensor as the converter rounds it, in float32."""
    import ml_dtypes
    import numpy

    saved = ml_dtypes.bfloat16 if dtype == "bfloat16" else numpy.float32
    return numpy.asarray(tensor).astype(saved).astype(numpy.float32)


def same(result: Any, tensor: Any, dtype: str) -> bool:
    import numpy

    result, wanted = numpy.asarray(result).astype(numpy.float32), as_saved(tensor, dtype)
    if result.shape != wanted.shape:
        return False
    if numpy.array_equal(result, wanted):
        return True
    return bool((numpy.abs(result - wanted) <= ROUNDING[dtype] * numpy.abs(wanted)).all())


def compare(read: Iterator[tuple[str, Any]], source: Source, dtype: str) -> int:
    """Compare what comes back with the source; the number of tensors. Raises Wrong for a difference."""
    seen = set()
    for name, tensor in read:
        if name not in source.where:
            raise Wrong(
                f"The base model has no tensor {name}, which MaxText reads for this model: check that model "
                "and hf_model name the same model."
            )
        if not same(tensor, source.read(name), dtype):
            raise Wrong(
                f"{name} is not the base model's after the conversion. Run the same command again; if that "
                "does not help, look at the disk (dmesg)."
            )
        seen.add(name)
    if not seen:
        raise Wrong(
            "Nothing of the base model was converted: check that model and hf_model name the same model."
        )
    left = sorted(name for name in source.where if name not in seen and not is_spare(name, source))
    if left:
        raise Wrong(
            f"MaxText does not convert {len(left)} tensors of the base model, for example {left[0]}: it has "
            "another architecture than the preset named in model."
        )
    return len(seen)


def is_spare(name: str, source: Source) -> bool:
    """Whether a model works without this tensor: a copy of the embedding where both are one, a buffer."""
    import numpy

    if tensors.is_buffer(name):
        return True
    embedding = next((other for other in source.where if other.endswith("embed_tokens.weight")), None)
    if name != "lm_head.weight" or embedding is None:
        return False
    return bool(numpy.array_equal(source.read(name), source.read(embedding)))


def with_dtype(settings: list[str], source: Source) -> list[str]:
    """The settings with a data type in place of save_dtype=auto: the smallest that rounds nothing."""
    finer = tensors.finer(source.dtypes())
    settings = tensors.with_dtype(settings, "save_dtype", "float32" if finer else "bfloat16")
    if finer and "save_dtype=bfloat16" in settings:
        print(
            f"{len(finer)} tensors of the base model, such as {finer[0]}, are rounded to bfloat16, as "
            "common_base_dtype says",
            flush=True,
        )
    return settings


def split(settings: list[str]) -> tuple[list[str], list[str]]:
    """The settings of MaxText, and the converter's own options."""
    own = [text for text in settings if text.lstrip("-").partition("=")[0] in OPTIONS]
    return [text for text in settings if text not in own], own


def convert(module: str, config: str, settings: list[str], source: str) -> tuple[dict[str, Any], Any, str]:
    """Run the converter: its globals, MaxText's configuration, and the dtype that it saved in."""
    maxtext, own = split(settings)
    sys.argv = [module, config, *maxtext, *own, f"hf_model_path={source}"]
    program = runpy.run_module(module, run_name="__main__", alter_sys=True)
    dtype = next((text.partition("=")[2] for text in own if "save_dtype=" in text), "bfloat16")
    settled = program["pyconfig"].initialize([module, config, *maxtext, f"weight_dtype={dtype}"])
    return program, settled, dtype


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    option = parser.add_argument
    option("--repository", required=True, help="the model on the Hub")
    option("--commit", required=True, help="its commit")
    option("--output", required=True, help="directory of the result")
    option("--about", type=json.loads, required=True, help="what the result depends on, as JSON")
    option("module", help="name of MaxText's converter")
    option("config", help="its configuration file")
    option("settings", nargs=argparse.REMAINDER, help="its settings")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    options = parse_arguments(arguments)
    if problem := installed.problem(options.about):
        print(f"error: {problem}", file=sys.stderr)
        return 1
    output = Path(options.output)
    root, record = output / "0", output / "manifest.json"
    earlier = manifest.read(str(record))
    if earlier and earlier["about"] == options.about and not manifest.problems(str(record), str(root)):
        print("the result of the same inputs is there and whole", flush=True)
        return 0
    for path in (root, record):
        if path.is_dir():
            print(f"{path} is not the whole result of these inputs: it is removed", flush=True)
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)
    try:
        directory = str(download.fetch(options.repository, options.commit))
        print(f"the base model lies in {directory}", flush=True)
        check_architecture(directory, [options.config, *options.settings], options.repository)
        source = Source(directory)
        settings = with_dtype(options.settings, source)
        program, config, dtype = convert(options.module, options.config, settings, directory)
        count = compare(back(options.module, program, config, f"{root}/items", source), source, dtype)
    except (Wrong, arrays.Unreadable, download.Damaged) as error:
        shutil.rmtree(root, ignore_errors=True)
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"compared {count} tensors with the base model: all are its own", flush=True)
    manifest.write(str(record), manifest.build(str(root), options.about))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
