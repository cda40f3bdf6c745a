# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs MaxText's converter to the Hub's format, and publishes the base's own files with the new weights.

    export.py --base REPO --revision REV [--tokenizer REPO] [--tokenizer-revision REV] --output DIR
              [--about JSON] [--converted ITEM] [--adapter] MODULE CONFIG KEY=VALUE...

MODULE is the converter's name in this version of MaxText; what follows are its own arguments. It writes the
weights as they should be. But it writes the configuration and the tokenizer as transformers 5 makes them from
a table in MaxText: transformers 4 reads another rope base from that, no rope scaling and no end of text, and
does not load the tokenizer. So here

- the version of MaxText must be the one in ABOUT;
- the checkpoint must be the one that its training recorded (``RUN/manifests/STEP.json``);
- the converter writes to a draft beside DIR, with the tokenizer of the base at its revision;
- MaxText must compute with the base's rope, heads and epsilon;
- ``weight_dtype=auto`` stands for the data type of the base, or of the training, if that rounded more;
- a checkpoint of LoRA has adapters alone, by what its training recorded. They are merged into the
  converted base, ITEM (``merge_lora.py``); --adapter publishes them, too, in ``adapter``, as peft reads them;
- of the draft only the weights stay. They must have the names and the shapes that the base's weights have;
- the base's configuration, tokenizer, templates, code and license come beside them, byte for byte as the Hub
  has them (``tpuops/download.py``). In ``config.json`` only the data type and the size of the vocabulary
  follow the weights, where they differ;
- where the training took the tokenizer of another repository, its tokenizer, chat template and end of text
  take the place of the base's;
- the finished draft gets its name at once, so that a kill never leaves a mixture. Its manifest is written
  beside it, ``DIR.manifest.json``, with ABOUT, what it was made of.

Runs in the training environment, beside the package ``tpuops`` of the collection's own modules. The token of
the Hub comes in HF_TOKEN and its address in HF_ENDPOINT.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tpuops import architecture, checkpoints, download, installed, manifest, model_files, models
from tpuops import tensors as of_model

INDEX = "model.safetensors.index.json"
EMBEDDING, HEAD = "embed_tokens.weight", "lm_head.weight"
#: Of safetensors, as config.json calls them.
DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
SHOWN = 3  # names in a message

Shapes = dict[str, list[int]]
Tensors = dict[str, tuple[str, list[int]]]  # data type, as safetensors calls it, and shape


class ExportError(Exception):
    """What went wrong and what to do about it; the text is the whole error message."""


@dataclass(frozen=True)
class Lora:
    """Adapters that the training recorded."""

    rank: int
    alpha: float

    @property
    def note(self) -> str:
        return f" Trained with LoRA of rank {self.rank} and alpha {self.alpha:g}, merged into the weights."


def lora_of(trained: dict[str, Any]) -> Lora | None:
    """From what a training depended on; None where all weights were trained."""
    rank = trained.get("lora_rank", 0)
    return Lora(int(rank), float(trained["lora_alpha"])) if rank else None


def check_base(item: Path, trained: dict[str, Any]) -> None:
    """That the converted base is whole, and the one that the adapters were trained on."""
    root = item.parent
    record = root.parent / "manifest.json"
    known = manifest.read(str(record))
    again = "Convert it again: ansible-playbook site.yml --tags convert,export"
    if known is None:
        raise ExportError(
            f"The adapters cannot be merged: the converted base model {root} is missing, or {record} is. "
            f"{again}"
        )
    damage = manifest.problems(str(record), str(root))
    if damage:
        raise ExportError(
            f"The converted base model is damaged ({manifest.sentence(damage)}). Remove its record (sudo rm "
            f"{record} on the machine). {again}"
        )
    about = known.get("about") or {}
    other = sorted(
        name
        for name in ("model", "hf_model", "hf_commit", "base_dtype", "scan_layers", "maxtext_version")
        if name in about and name in trained and about[name] != trained[name]
    )
    if other:
        name = other[0]
        raise ExportError(
            f"{name}: the adapters were trained on {trained[name]}, and the converted base model is of "
            f"{about[name]}. Set the value of the training"
        )


def beside(output: Path) -> tuple[Path, Path]:
    """Where the next export is made, and where the last one goes while the next one takes its name."""
    return output.with_name(f".{output.name}.draft"), output.with_name(f".{output.name}.previous")


def record_of(output: Path) -> Path:
    """The manifest of an export."""
    return output.with_name(f"{output.name}.manifest.json")


def check_arguments(arguments: list[str]) -> None:
    """Refuse a setting that is given twice: the last one would win over what the role and its checks know."""
    values: dict[str, str] = {}
    for name, _equals, value in (each.lstrip("-").partition("=") for each in arguments):
        if values.setdefault(name, value) != value:
            raise ExportError(
                f"export_arguments: {name} is given as {values[name]} and as {value}. Leave it out of "
                "export_arguments"
            )


def check_checkpoint(arguments: list[str], about: dict[str, Any]) -> dict[str, Any]:
    """Compare the checkpoint with what its training recorded; what it depends on.

    A damaged one is set aside, as training does. Before it starts, training looks at sizes alone, and would
    not start.
    """
    given = dict(each.split("=", 1) for each in arguments if "=" in each)
    part = Path(given["load_parameters_path"])
    record = Path(checkpoints.manifest_path(str(part.parent)))
    if not part.exists():  # an attempt before this one has set it aside
        raise ExportError(
            f"The checkpoint {part.parent} is gone: see the messages above. Train again: ansible-playbook "
            "site.yml --tags sft,export"
        )
    if manifest.read(str(record)) is None:
        raise ExportError(
            f"The checkpoint {part.parent} cannot be compared with its training: {record} is missing or "
            "damaged. Read the checkpoint and record it again: ansible-playbook site.yml --tags sft,export"
        )
    damage = manifest.problems(str(record), str(part.parent))
    if damage:
        path = checkpoints.set_aside(part.parent, "damaged")
        raise ExportError(
            f"The checkpoint is damaged ({manifest.sentence(damage)}): it is now {path}. Train again, which "
            "goes on from the one before: ansible-playbook site.yml --tags sft,export"
        )
    trained: dict[str, Any] = (manifest.read(str(record)) or {}).get("about") or {}
    for name in ("hf_model", "hf_commit", "maxtext_version"):
        if name in trained and name in about and trained[name] != about[name]:
            raise ExportError(
                f"{name}: the run was trained with {trained[name]}, and {about[name]} is wanted now. Set the "
                "value of the training (the commit in hf_revision)"
            )
    return trained


def fetch(
    repository: str,
    revision: str,
    patterns: tuple[str, ...] = model_files.PUBLISHED,
    option: str = "hf_model",
) -> Path:
    """A directory with those of the repository's files that are published again, compared with the Hub."""
    try:
        return Path(download.fetch(repository, revision, patterns, model_files.NOT_PUBLISHED))
    except download.Damaged as error:
        raise ExportError(str(error)) from error
    except Exception as error:
        raise ExportError(f"{option}: {repository} at revision {revision} cannot be read: {error}") from error


def published(directory: Path, patterns: tuple[str, ...] = model_files.PUBLISHED) -> list[str]:
    """Those of the files that are published again: the Hub's cache has what others downloaded, too."""
    names = manifest.files_below(str(directory))
    found = model_files.chosen(names, patterns, model_files.NOT_PUBLISHED)
    return [name for name in found if "/" not in name or name.startswith(model_files.TEMPLATES)]


def copy_published(directory: Path, names: Iterable[str], draft: Path) -> None:
    for name in names:
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(directory / name, draft / name)


def copy_files(base_files: Path, tokenizer_files: Path | None, draft: Path) -> None:
    """The base's files; the other tokenizer's in the place of the base's, where there is one."""
    names = published(base_files)
    if tokenizer_files is None:
        copy_published(base_files, names, draft)
        return
    others = published(tokenizer_files, model_files.TOKENIZER)
    of_base = set(published(base_files, model_files.TOKENIZER)) - ({"generation_config.json"} - set(others))
    copy_published(base_files, [name for name in names if name not in of_base], draft)
    copy_published(tokenizer_files, others, draft)


def converter(options: argparse.Namespace, lora: Lora | None, adapter: Path) -> list[str]:
    """What Python is given to run the converter; with adapters, the program that merges them around it.

    adapter: where it leaves them for peft, if they are wanted.
    """
    given = dict(each.split("=", 1) for each in options.arguments if "=" in each)
    if lora is None:
        exactly = given.get("model_name", "").startswith(models.SCALED)
        program = [str(Path(__file__).with_name("export_exactly.py"))] if exactly else ["-m"]
        return [*program, options.module]
    item = given["load_parameters_path"]
    program = [str(Path(__file__).with_name("merge_lora.py")), "--adapter", item]
    program += ["--rank", str(lora.rank), "--alpha", str(lora.alpha)]
    if options.adapter:
        program += ["--peft", str(adapter), "--base", options.base, "--revision", options.revision]
    return [*program, options.module]


def on_base(arguments: list[str], item: Path) -> list[str]:
    """The converter's arguments with the converted base in place of the checkpoint."""
    name = "load_parameters_path="
    return [f"{name}{item}" if each.startswith(name) else each for each in arguments]


def convert(program: list[str], arguments: list[str], draft: Path, base_files: Path) -> int:
    """Run MaxText's converter; its exit status.

    In a process of its own: it wants to be the main program, and to have set up JAX before anybody else.
    """
    command = [sys.executable, *program, *arguments]
    command += [f"base_output_directory={draft}", f"--hf_model_path={base_files}"]
    status = subprocess.run(command, check=False).returncode
    return 128 - status if status < 0 else status  # as a shell tells a signal


def header(file: Path) -> dict[str, Any]:
    """Name to dtype and shape of each tensor; ExportError when the file does not end where they end."""
    size = file.stat().st_size
    try:
        with file.open("rb") as handle:
            length = int.from_bytes(handle.read(8), "little")
            if length > size:
                raise ValueError("the header is longer than the file")
            tensors = json.loads(handle.read(length))
        tensors.pop("__metadata__", None)
        end = 8 + length + max(tensor["data_offsets"][1] for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{file.name} is not whole: {error}; export again") from error
    if end != size:
        raise ExportError(f"{file.name} is not whole: it has {size} bytes instead of {end}; export again")
    return dict(tensors)


def weights(directory: Path) -> dict[str, Any]:
    """Name to dtype and shape of each tensor of the converter's; ExportError unless file and index agree."""
    files = {file.name: header(file) for file in sorted(directory.glob("*.safetensors"))}
    tensors = {name: tensor for of_file in files.values() for name, tensor in of_file.items()}
    if not tensors:
        raise ExportError(f"the converter left no weights in {directory}: see its messages above")
    where = {name: file for file, of_file in files.items() for name in of_file}
    index = directory / INDEX
    if index.exists() and json.loads(index.read_text())["weight_map"] != where:
        raise ExportError(f"{INDEX} does not name the tensors of the files beside it; export again")
    if not index.exists() and len(files) > 1:
        raise ExportError(f"there is no {INDEX} beside {', '.join(files)}; export again")
    return tensors


def base_tensors(base: str, revision: str) -> Tensors | None:
    """The base's tensors, from the first bytes of its files; None without safetensors."""
    from huggingface_hub.errors import NotASafetensorsRepoError

    try:
        files = download.hub().get_safetensors_metadata(base, revision=revision).files_metadata
    except NotASafetensorsRepoError:
        return None
    return {
        name: (str(tensor.dtype), list(tensor.shape))
        for file in files.values()
        for name, tensor in file.tensors.items()
    }


def chosen_dtype(theirs: Tensors | None, trained_in: str | None) -> str:
    """What is published where nobody says: what the base is in, where the training kept that."""
    finer = of_model.finer({name: dtype for name, (dtype, _shape) in (theirs or {}).items()})
    return "float32" if finer and trained_in != "bfloat16" else "bfloat16"


def check_names(ours: set[str], theirs: set[str], base: str, tied: bool) -> None:
    """That the tensors are those of the base. A tied head is the embedding, which the base may hold twice."""
    optional = {name for name in theirs if of_model.is_buffer(name) or (tied and name.endswith(HEAD))}
    for names, verb, other in ((theirs - ours - optional, "lack", "has"), (ours - theirs, "have", "lacks")):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise ExportError(
                f"the converted weights {verb} {', '.join(sorted(names)[:SHOWN])}{more}, which {base} "
                f"{other}: check that model and hf_model name the same model"
            )


def check_shapes(ours: Shapes, theirs: Shapes, base: str) -> None:
    """That the shapes are those of the base. The vocabulary may have been padded."""
    for name in sorted(ours.keys() & theirs.keys()):
        shape, wanted = ours[name], theirs[name]
        if shape == wanted:
            continue
        if not (name.endswith((EMBEDDING, HEAD)) and shape[1:] == wanted[1:]):
            raise ExportError(
                f"{name} has the shape {shape}, in {base} it is {wanted}: check that model and hf_model name "
                "the same model"
            )
        if shape[0] < wanted[0]:
            raise ExportError(
                f"{name} has {shape[0]} rows, fewer than the {wanted[0]} of {base}: some tokens have no "
                "weights"
            )


def vocabulary(shapes: Shapes) -> int | None:
    """The rows of the embedding and of the head, which must agree; None where no tensor is called so."""
    rows = {shape[0] for name, shape in shapes.items() if name.endswith((EMBEDDING, HEAD))}
    if len(rows) > 1:
        raise ExportError(
            f"the embedding and the head have different numbers of rows, {sorted(rows)}: check that model "
            "and hf_model name the same model"
        )
    return rows.pop() if rows else None


def data_type(tensors: dict[str, Any]) -> str:
    found = sorted({tensor["dtype"] for tensor in tensors.values()})
    if len(found) > 1:
        raise ExportError(
            f"the converted weights have several data types, {', '.join(found)}. Set "
            "export_weight_dtype=float32"
        )
    return DTYPES.get(found[0]) or str(found[0])


def read_config(base_files: Path) -> dict[str, Any]:
    return dict(json.loads((base_files / "config.json").read_text(encoding="utf-8")))


def changed_config(config: dict[str, Any], dtype: str, rows: int | None) -> dict[str, Any]:
    """The base's configuration, with what has to follow the weights.

    The data type is in torch_dtype, or in dtype since transformers 4.56, which reads both. Models of
    several parts have both in text_config.
    """
    result = dict(config)
    if isinstance(config.get("text_config"), dict):
        result["text_config"] = changed_part(config["text_config"], dtype, rows)
    result = changed_part(result, dtype, rows)
    if not {"torch_dtype", "dtype"} & result.keys():
        result["torch_dtype"] = dtype
    return result


def changed_part(part: dict[str, Any], dtype: str, rows: int | None) -> dict[str, Any]:
    known = {"torch_dtype": dtype, "dtype": dtype, **({} if rows is None else {"vocab_size": rows})}
    return {name: known.get(name, value) for name, value in part.items()}


def is_tied(config: dict[str, Any]) -> bool:
    """Whether the head is the embedding; transformers' default, false, where the configuration is silent."""
    text = config.get("text_config")
    silent = text.get("tie_word_embeddings", False) if isinstance(text, dict) else False
    return bool(config.get("tie_word_embeddings", silent))


def keep_weights_alone(draft: Path) -> None:
    """Delete the converter's configuration and tokenizer."""
    for path in draft.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".safetensors" and path.name != INDEX:
            path.unlink()


def write_config(file: Path, config: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Write the configuration, unless it is the base's own."""
    if wanted != config:
        file.write_text(json.dumps(wanted, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def card(base: str, revision: str, name: str, note: str = "") -> str:
    """A short README.md; the upload leaves one that is there as it is."""
    from huggingface_hub import ModelCardData

    known = download.hub().model_info(base, revision=revision).card_data
    license_of_base = {
        key: str(known.get(key))
        for key in ("license", "license_name", "license_link")
        if known and known.get(key)
    }
    data = ModelCardData(
        base_model=base, library_name="transformers", pipeline_tag="text-generation", **license_of_base
    )
    return f"---\n{data.to_yaml()}\n---\n\n# {name}\n\n{base}, fine-tuned with MaxText.{note}\n"


def assemble(
    draft: Path,
    base_files: Path,
    tokenizer_files: Path | None,
    base: str,
    theirs: Tensors | None,
    readme: str,
) -> None:
    """Make the converter's draft what is published; ExportError when its weights are not the base's."""
    tensors = weights(draft)
    shapes: Shapes = {tensor: list(known["shape"]) for tensor, known in tensors.items()}
    config = read_config(base_files)
    if theirs is None:
        print(f"{base} has no safetensors: the converted weights cannot be compared with it", flush=True)
    else:
        check_names(set(shapes), set(theirs), base, is_tied(config))
        check_shapes(shapes, {name: shape for name, (_dtype, shape) in theirs.items()}, base)
    keep_weights_alone(draft)
    copy_files(base_files, tokenizer_files, draft)
    wanted = changed_config(config, data_type(tensors), vocabulary(shapes))
    write_config(draft / "config.json", config, wanted)
    (draft / "README.md").write_text(readme, encoding="utf-8")


def put_in_place(draft: Path, output: Path, previous: Path) -> None:
    """Give the draft its name. Killed between the renames, it leaves no export: the job runs again."""
    os.sync()  # a power cut must not leave a name without its content
    if output.exists():
        output.rename(previous)
    draft.rename(output)
    shutil.rmtree(previous, ignore_errors=True)


def check_output(output: Path, about: dict[str, Any]) -> None:
    """Refuse to replace what is not an earlier export of this run."""
    if any(path.exists() for path in beside(output)):  # an export was killed as it took its place
        return
    described = manifest.read(str(record_of(output))) or {"files": {}, "about": {}}
    run = described["about"].get("run")
    if run is not None and about.get("run") not in (None, run):
        raise ExportError(
            f"export_directory: {output} has the model of run {run}. Give each run a directory of its own"
        )
    present = manifest.files_below(str(output)) if output.exists() else []
    others = sorted(set(present) - set(described["files"]))
    if described["files"] and others:
        raise ExportError(
            f"export_directory: {output} has {', '.join(others[:3])}, which no export wrote and a new export "
            "would delete. Move it elsewhere"
        )


def export(options: argparse.Namespace) -> int:
    """The exit status."""
    if problem := installed.problem(options.about):
        raise ExportError(problem)
    check_output(options.output, options.about)
    draft, previous = beside(options.output)
    if previous.exists() and not options.output.exists():
        previous.rename(options.output)  # a kill came between the renames
    adapter = draft.with_suffix(".adapter")
    for leftover in (draft, previous, adapter):
        shutil.rmtree(leftover, ignore_errors=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    check_arguments(options.arguments)
    trained = check_checkpoint(options.arguments, options.about)
    trained_in, lora = trained.get("weight_dtype"), lora_of(trained)
    program = converter(options, lora, adapter)
    if lora is not None:
        check_base(options.converted, trained)
        options.arguments = on_base(options.arguments, options.converted)
    base_files = fetch(options.base, options.revision)
    tokenizer = options.tokenizer or options.base, options.tokenizer_revision or options.revision
    tokenizer_files = None
    if tokenizer != (options.base, options.revision):
        tokenizer_files = fetch(*tokenizer, model_files.TOKENIZER, "tokenizer")
    if problem := architecture.problem(options.arguments, read_config(base_files), options.base):
        raise ExportError(f"{problem}. What was trained without that must be trained again, as another run")
    theirs = base_tensors(options.base, options.revision)
    dtype = chosen_dtype(theirs, trained_in)
    arguments = of_model.with_dtype(options.arguments, "weight_dtype", dtype)
    note = "" if lora is None else lora.note
    if trained_in == "float32" and "weight_dtype=bfloat16" in arguments:
        note += " Trained in float32, published in bfloat16."
        print(
            "the weights were trained in float32 and are published in bfloat16; export_weight_dtype=float32 "
            "publishes all of them, in twice the space",
            flush=True,
        )
    if status := convert(program, arguments, draft, base_files):
        return status
    readme = card(options.base, options.revision, options.output.name, note)
    assemble(draft, base_files, tokenizer_files, options.base, theirs, readme)
    if adapter.exists():
        adapter.rename(draft / "adapter")
    manifest.write(str(record_of(options.output)), manifest.build(str(draft), options.about))
    put_in_place(draft, options.output, previous)
    print(f"{options.output} has the weights, and what {options.base} has beside its own", flush=True)
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Convert a checkpoint and publish it with its base's files.")
    option = parser.add_argument
    option("--base", required=True, help="repository of the model that was fine-tuned")
    option("--revision", required=True, help="its branch, tag or commit")
    option("--tokenizer", help="repository of the tokenizer of the training, by default the base")
    option("--tokenizer-revision", help="its branch, tag or commit, by default the base's")
    option("--output", required=True, type=Path, help="directory of the export")
    option("--about", type=json.loads, default={}, help="what it consists of, as JSON")
    option("--converted", type=Path, default=Path(), help="the converted base, for adapters")
    option("--adapter", action="store_true", help="publish adapters as well, as peft reads them")
    option("module", help="MaxText's converter")
    option("arguments", nargs=argparse.REMAINDER, help="its arguments")
    try:
        return export(parser.parse_args(arguments))
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
