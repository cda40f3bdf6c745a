# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's converter to the Hub's format on a base model, and merges LoRA adapters into its weights.

    merge_lora.py --adapter ITEM --rank R --alpha A [--peft DIR --base REPO --revision COMMIT]
                  MODULE CONFIG KEY=VALUE...

MODULE is the converter; what follows are its own arguments, with the base's load_parameters_path and the
base_output_directory of the result. ITEM is the ``model_params`` of a checkpoint that has adapters alone. The
converter's own merge does not work (``tpuops/adapters.py``). So here its function that makes the Hub's
tensors of one parameter gets the sum of the kernel and its adapter's change, in float32. The sum is rounded
once, to ``weight_dtype``.

It ends with an error, and no result counts, where

- an adapter has no kernel, or another shape than its kernel;
- a tensor differs from the base's and ``alpha / rank * B A`` by more than one unit in the last place;
- the file that the converter wrote has other content than that;
- no adapter changes anything: nothing was trained, or rounding took all of it.

With --peft it writes the adapter as the library peft reads it, in float32.

The base is read as it was stored (``export_exactly.py``), so that nothing else is rounded.

Runs in the training environment, beside the package ``tpuops``.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import export_exactly
from tpuops import adapters, arrays

#: Of the largest value of a tensor: what float32 may lose on two ways to the same sum.
TOLERANCE = 1e-5
#: Distance of two numbers of a data type, as a share of the smaller.
UNIT = {"bfloat16": 2.0**-7, "float16": 2.0**-10, "float32": 2.0**-23}


class MergeError(Exception):
    """What went wrong and what to do about it; the text is the whole error message."""


@dataclasses.dataclass
class Precise:
    """The converter's configuration, which asks for tensors in float32."""

    config: Any
    weight_dtype: str = "float32"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.config, name)


@dataclasses.dataclass
class Merge:
    """Takes the place of the converter's function process_maxtext_param.

    changes: kernel -> its A and B. peft: whether the change is kept, too, as two matrices for each tensor.
    """

    original: Callable[..., list[tuple[str, Any]]]
    changes: dict[str, Callable[[], tuple[Any, Any]]]
    rank: int
    alpha: float
    peft: bool = False
    merged: set[str] = dataclasses.field(default_factory=set)
    written: dict[str, str] = dataclasses.field(default_factory=dict)
    trained: int = 0
    moved: int = 0
    matrices: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    dtype: str = ""

    def __call__(self, key: Any, weight: Any, *maps_and_config: Any) -> list[tuple[str, Any]]:
        if not isinstance(key, str) or key not in self.changes:
            return self.original(key, weight, *maps_and_config)
        import jax.numpy as jnp
        import numpy

        *maps, config = maps_and_config
        kernel = numpy.asarray(weight).astype(numpy.float32)
        a, b = self.changes[key]()
        try:
            change = adapters.change(kernel.shape, a, b, self.alpha / self.rank)
        except adapters.Unmergeable as error:
            raise MergeError(f"{key}: {error}") from error

        def tensors(value: Any, config: Any = config) -> list[tuple[str, Any]]:
            return self.original(key, jnp.asarray(value), *maps, config)

        # The converter turns, orders and scales what it is given; that of a sum is the sum of both.
        exact = Precise(config)
        together, of_base, of_change = (
            tensors(kernel + change),
            tensors(kernel, exact),
            tensors(change, exact),
        )
        self.merged.add(key)
        for (name, result), (_name, base), (_again, delta) in zip(together, of_base, of_change, strict=True):
            self.keep(name, result, base, delta)
        return together

    def keep(self, name: str, result: Any, base: Any, delta: Any) -> None:
        """Compare a tensor of the result with the base's and the adapter's; remember what it is."""
        import numpy

        if self.peft:
            a, b = adapters.factors(delta, self.rank)
            self.matrices[name] = a / (self.alpha / self.rank), b
            delta = b @ a
        self.dtype = result.dtype.name
        wanted = base + delta
        difference = numpy.abs(result.astype(numpy.float32) - wanted)
        allowed = UNIT[self.dtype] * numpy.abs(wanted) + TOLERANCE * numpy.abs(wanted).max()
        if not (difference <= allowed).all():  # also where a value is no number
            raise MergeError(
                f"{name}: the converted weight differs from the base's and the adapter's by "
                f"{difference.max():.3g}, as its layout in MaxText is not known here. Train all "
                "weights (lora_rank=0), as another run"
            )
        self.trained += bool(delta.any())
        self.moved += bool((result != base.astype(result.dtype)).any())
        self.written[name] = digest(result)

    def check(self) -> None:
        """Raises MergeError unless each adapter was merged, and some changed something."""
        if left := sorted(self.changes.keys() - self.merged):
            raise MergeError(f"the base has no {left[0]} for the adapter of this name")
        if not self.trained:
            raise MergeError(
                "All adapters are zero: nothing was trained. Raise learning_rate or steps, and use another "
                "run_name"
            )
        if not self.moved:
            raise MergeError(
                f"The adapters change no weight in {self.dtype}: all of it is rounded away. Set "
                "export_weight_dtype=float32, or train with a higher learning_rate, as another run"
            )


def digest(tensor: Any) -> str:
    import numpy

    return hashlib.sha256(numpy.ascontiguousarray(tensor).tobytes()).hexdigest()


def check_files(directory: Path, written: dict[str, str]) -> None:
    """Compare the files of the result with what was merged."""
    import ml_dtypes  # noqa: F401  (numpy learns bfloat16 by it)
    from safetensors import safe_open

    left = dict(written)
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118  (it is no dictionary)
                wanted = left.pop(name, None)
                if wanted is not None and digest(opened.get_tensor(name)) != wanted:
                    raise MergeError(f"{file.name}: {name} has other content than was merged; export again")
    if left:
        raise MergeError(f"the converter did not write {min(left)}, which was merged; export again")


def write_peft(directory: Path, merge: Merge, base: str, revision: str) -> None:
    """adapter_model.safetensors and adapter_config.json, as peft 0.10 and later read them."""
    import numpy
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Any] = {}
    for name, (a, b) in merge.matrices.items():
        module = name.removesuffix(".weight")
        tensors[f"base_model.model.{module}.lora_A.weight"] = numpy.ascontiguousarray(a)
        tensors[f"base_model.model.{module}.lora_B.weight"] = numpy.ascontiguousarray(b)
    save_file(tensors, directory / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "revision": revision,
        "r": merge.rank,
        "lora_alpha": merge.alpha,
        "target_modules": sorted({name.split(".")[-2] for name in merge.matrices}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    text = json.dumps(config, indent=2) + "\n"
    (directory / "adapter_config.json").write_text(text, encoding="utf-8")


def changes_of(item: str) -> dict[str, Callable[[], tuple[Any, Any]]]:
    """Kernel -> what reads its A and B from a checkpoint."""

    def reader(a: arrays.Key, b: arrays.Key) -> Callable[[], tuple[Any, Any]]:
        return lambda: (arrays.read(item, a), arrays.read(item, b))

    try:
        pairs = adapters.pairs(arrays.names(item))
    except adapters.Unmergeable as error:
        raise MergeError(str(error)) from error
    if not pairs:
        raise MergeError(f"{item} has no adapters")
    return {name: reader(a, b) for name, (a, b) in pairs.items()}


def convert(module: str, arguments: list[str], merge: Merge) -> int:
    """Run the converter as the main program, with the merge in it; its exit status."""
    utils = importlib.import_module(f"{module.rpartition('.')[0]}.utils.utils")
    export_exactly.read_as_stored(utils)
    merge.original = utils.process_maxtext_param
    utils.process_maxtext_param = merge  # type: ignore[attr-defined]
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:  # absl ends so
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def run(options: argparse.Namespace) -> int:
    """The exit status."""
    given = dict(each.split("=", 1) for each in options.arguments if "=" in each)
    merge = Merge(list, changes_of(options.adapter), options.rank, options.alpha, options.peft is not None)
    if status := convert(options.module, options.arguments, merge):
        return status
    merge.check()
    check_files(Path(given["base_output_directory"]), merge.written)
    if options.peft:
        write_peft(options.peft, merge, options.base, options.revision)
    print(f"merged {len(merge.merged)} adapters of rank {merge.rank} into {merge.moved} tensors", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Convert a base model and merge LoRA adapters into it.")
    option = parser.add_argument
    option("--adapter", required=True, help="the item of a checkpoint that has the adapters")
    option("--rank", type=int, required=True)
    option("--alpha", type=float, required=True)
    option("--peft", type=Path, help="directory for the adapter in peft's format")
    option("--base", default="", help="repository of the base, for peft")
    option("--revision", default="", help="its commit")
    option("module", help="MaxText's converter")
    option("arguments", nargs=argparse.REMAINDER, help="its arguments")
    try:
        return run(parser.parse_args(arguments))
    except (MergeError, arrays.Unreadable) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
