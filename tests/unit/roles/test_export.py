# SPDX-License-Identifier: GPL-3.0-or-later
"""The program around MaxText's converter: what it publishes, what it refuses, what a kill leaves."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import checkpoints, manifest
from huggingface_hub import CommitOperationAdd, HfApi, constants
from safetensors import deserialize
from safetensors.numpy import save

from localcloud.tiny.model import ModelShape, model_files

from ..plugins.job.conftest import Hub

numbers = count()
SHAPE = ModelShape(layers=1, hidden=8, heads=2, kv_heads=1, head_dim=4, mlp=16, vocab=16)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
#: What a base has beside its weights; of these the second half is not ours to publish.
TOKENIZER = {"additional_special_tokens": ["<|im_start|>", "<|tool|>"], "chat_template": "{{ messages }}"}
ITS_FILES = {
    "tokenizer.json": b'{"model": {"type": "BPE"}}\n',
    "tokenizer_config.json": json.dumps(TOKENIZER, indent=4).encode(),
    "special_tokens_map.json": b'{"eos_token": "<|im_end|>"}',
    "merges.txt": b"#version: 0.2\n",
    "LICENSE": b"Apache License",
    "additional_chat_templates/tool_use.jinja": b"{{ tools }}",
}
NOT_OURS = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# The base\n",
    "figures/loss.png": b"\x89PNG",
    "original/consolidated.00.pth": b"weights",
    "adapter_config.json": b"{}",
    "checkpoint-500/config.json": b"{}",
    "tpuops-upload.json": b"{}",
    "training_args.bin": b"pickle",
}
#: As MaxText's converter does it: what transformers 5 makes of a configuration and a tokenizer of its own.
CONVERTER = """
import json, os, shutil, sys
arguments = dict(each.removeprefix("--").split("=", 1) for each in sys.argv[2:] if "=" in each)
target = arguments["base_output_directory"]
os.makedirs(target)
for name in os.listdir(os.environ["CONVERTED"]):
    shutil.copy(os.path.join(os.environ["CONVERTED"], name), target)
if os.environ.get("CONVERTER_FAILS"):
    sys.exit("RESOURCE_EXHAUSTED")
with open(arguments["hf_model_path"] + "/tokenizer_config.json") as handle:
    special = json.load(handle)["additional_special_tokens"]
for name, document in {
    "config.json": {"eos_token_id": None, "rope_parameters": {"rope_theta": 1000000.0}},
    "tokenizer_config.json": {"extra_special_tokens": special},
    "chat_template.jinja": "{{ messages }}",
    "arguments.json": sys.argv[1:],
}.items():
    with open(os.path.join(target, name), "w") as handle:
        json.dump(document, handle)
"""


@dataclass(frozen=True)
class Base:
    """A base on the Hub, and the export of a run that began with it."""

    program: ModuleType
    api: HfApi
    name: str
    converted: Path
    output: Path
    synced: list[bool]  # for each sync, whether the export had its name by then

    def publish(self, files: dict[str, bytes]) -> str:
        """Its files, as one more commit of it; the commit."""
        self.api.create_repo(self.name, exist_ok=True)
        operations = [
            CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in files.items()
        ]
        return str(self.api.create_commit(self.name, operations, commit_message="Add").oid)

    def convert(self, tensors: dict[str, Any]) -> None:
        """Let the converter write these tensors, in one file."""
        (self.converted / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))

    def export(
        self,
        revision: str = "main",
        *arguments: str,
        tokenizer: str | None = None,
        tokenizer_revision: str | None = None,
        about: dict[str, Any] | None = None,
    ) -> int:
        """The exit status."""
        given = ["--base", self.name, "--revision", revision, "--output", str(self.output)]
        given += ["--about", json.dumps(about)] if about else []
        given += ["--tokenizer", tokenizer] if tokenizer else []
        given += ["--tokenizer-revision", tokenizer_revision] if tokenizer_revision else []
        if not any(each.startswith("load_parameters_path=") for each in arguments):
            arguments = (
                *arguments,
                f"load_parameters_path={checkpoint(self.output.parents[1])}/model_params",
            )
        status = self.program.main([*given, "fake_converter", "base.yml", "scan_layers=True", *arguments])
        assert isinstance(status, int)
        return status

    def names(self) -> set[str]:
        return {str(path.relative_to(self.output)) for path in self.output.rglob("*") if path.is_file()}

    def json(self, name: str) -> Any:
        return json.loads((self.output / name).read_text())


def checkpoint(root: Path, about: dict[str, Any] | None = None) -> Path:
    """A checkpoint as training leaves it, with its manifest."""
    step = root / "run" / "checkpoints" / "60"
    (step / "model_params" / "d").mkdir(parents=True, exist_ok=True)
    (step / "model_params" / "d" / "0").write_bytes(b"weights")
    record = Path(checkpoints.manifest_path(str(step)))
    record.parent.mkdir(exist_ok=True)
    manifest.write(str(record), manifest.build(str(step), about, parts=["model_params"]))
    return step


@pytest.fixture
def base(exporter: ModuleType, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Base:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "fake_converter.py").write_text(CONVERTER)
    converted = tmp_path / "converted"
    converted.mkdir()
    for name, value in {
        "PYTHONPATH": str(tmp_path),
        "CONVERTED": str(converted),
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": hub.token,
    }.items():
        monkeypatch.setenv(name, value)
    api = HfApi(endpoint=hub.url, token=hub.token)
    output, synced = tmp_path / "huggingface" / "run", list[bool]()
    monkeypatch.setattr("os.sync", lambda: synced.append(output.exists()))
    return Base(exporter, api, f"local/base-{next(numbers)}", converted, output, synced)


def files_of(shape: ModelShape = SHAPE, **config: Any) -> dict[str, bytes]:
    files = model_files(shape, seed=0)
    changed = json.loads(files["config.json"]) | config
    return {**files, "config.json": json.dumps(changed, indent=2).encode(), **ITS_FILES}


def load(data: bytes) -> dict[str, Any]:
    """The tensors of a file in bfloat16, which safetensors itself reads into torch alone."""
    return {
        name: np.frombuffer(tensor["data"], ml_dtypes.bfloat16).reshape(tensor["shape"])
        for name, tensor in deserialize(data)  # type: ignore[no-untyped-call]
    }


def trained(files: dict[str, bytes]) -> dict[str, Any]:
    """The base's tensors after training."""
    return {name: tensor + tensor.dtype.type(1) for name, tensor in load(files["model.safetensors"]).items()}


def ready(base: Base, **config: Any) -> dict[str, bytes]:
    """Publish a base, and train it; its files."""
    files = files_of(**config)
    base.publish({**files, **NOT_OURS})
    base.convert(trained(files))
    return files


def test_the_bases_own_files_are_published(base: Base) -> None:
    """transformers 4 reads rope_theta, rope_scaling and additional_special_tokens, and nothing else."""
    files = ready(base, rope_scaling=YARN)
    base.api.snapshot_download(base.name)  # the stage that converted the base left all of it in the cache
    assert base.export() == 0
    own = {name: data for name, data in files.items() if name != "model.safetensors"}
    assert {name: (base.output / name).read_bytes() for name in own} == own
    assert base.names() == {*files, "README.md"}
    assert base.synced == [False]
    config = base.json("config.json")
    assert (config["rope_theta"], config["rope_scaling"]) == (1000000, YARN)
    assert config["eos_token_id"] is not None
    assert (base.output / "model.safetensors").read_bytes() == (
        base.converted / "model.safetensors"
    ).read_bytes()


def test_they_are_those_of_the_revision(base: Base) -> None:
    """The tokenizer that the converter loads, too."""
    files = files_of()
    first = base.publish({**files, "chat_template.jinja": b"first"})
    base.publish(
        {"chat_template.jinja": b"second", "tokenizer_config.json": b'{"additional_special_tokens": 0}'}
    )
    base.convert(trained(files))
    assert base.export(first) == 0
    assert (base.output / "chat_template.jinja").read_bytes() == b"first"
    assert base.json("tokenizer_config.json") == TOKENIZER


def test_the_converter_gets_its_arguments(base: Base, capfd: pytest.CaptureFixture[str]) -> None:
    ready(base)
    script = (base.converted.parent / "fake_converter.py").read_text()
    (base.converted.parent / "fake_converter.py").write_text(script + "print(sys.argv[1:])\n")
    assert base.export("main", "--override_model_architecture") == 0
    told = capfd.readouterr().out
    assert "['base.yml', 'scan_layers=True', '--override_model_architecture', 'load_parameters_path=" in told
    assert "--hf_model_path=" in told


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
@pytest.mark.parametrize("nested", [False, True])
def test_the_configuration_names_the_dtype_of_the_weights(base: Base, key: str, nested: bool) -> None:
    files = files_of()
    config = json.loads(files["config.json"])
    del config["torch_dtype"]
    changed = {**config, **({"text_config": {key: "bfloat16"}} if nested else {key: "bfloat16"})}
    base.publish({**files, "config.json": json.dumps(changed).encode()})
    base.convert({name: tensor.astype(np.float32) for name, tensor in trained(files).items()})
    assert base.export() == 0
    found = base.json("config.json")
    assert (found["text_config"] if nested else found)[key] == "float32"
    assert ("torch_dtype" in found) is (key == "torch_dtype" or nested)


@pytest.mark.parametrize(
    ("of_base", "trained_in", "asked", "dtype"),
    [
        (ml_dtypes.bfloat16, "float32", "auto", "bfloat16"),
        (ml_dtypes.bfloat16, "bfloat16", "auto", "bfloat16"),
        (ml_dtypes.bfloat16, "float32", "float32", "float32"),
        (np.float32, "float32", "auto", "float32"),
        (np.float32, "bfloat16", "auto", "bfloat16"),
        (np.float16, "float32", "auto", "float32"),
        (np.float32, None, "auto", "float32"),
        (np.float32, "float32", "bfloat16", "bfloat16"),
    ],
)
def test_the_published_dtype(
    base: Base,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    of_base: Any,
    trained_in: str | None,
    asked: str,
    dtype: str,
) -> None:
    """No less than the base has, where the training kept it; and what is lost is said."""
    files = files_of()
    tensors = {name: tensor.astype(of_base) for name, tensor in load(files["model.safetensors"]).items()}
    files["model.safetensors"] = save(tensors, metadata={"format": "pt"})
    base.publish(files)
    published = np.float32 if dtype == "float32" else ml_dtypes.bfloat16
    base.convert({name: tensor.astype(published) for name, tensor in tensors.items()})
    step = tmp_path / "run" / "checkpoints" / "60"
    (step / "model_params").mkdir(parents=True)
    record = Path(checkpoints.manifest_path(str(step)))
    record.parent.mkdir()
    about = {"weight_dtype": trained_in} if trained_in else {}
    manifest.write(str(record), manifest.build(str(step), about, parts=["model_params"]))
    script = base.converted.parent / "fake_converter.py"
    script.write_text(script.read_text() + "print(sys.argv[1:])\n")
    assert base.export("main", f"weight_dtype={asked}", f"load_parameters_path={step}/model_params") == 0
    told = capfd.readouterr().out
    assert f"'weight_dtype={dtype}'" in told
    assert base.json("config.json")["torch_dtype"] == dtype
    card = (base.output / "README.md").read_text()
    rounded = trained_in == "float32" and dtype == "bfloat16"
    assert ("export_weight_dtype=float32" in told) == rounded
    assert ("Trained in float32, published in bfloat16." in card) == rounded


def test_a_padded_vocabulary_is_told(base: Base) -> None:
    files = ready(base)
    tensors = trained(files)
    embedding = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = np.concatenate([embedding, embedding])
    base.convert(tensors)
    assert base.export() == 0
    assert base.json("config.json")["vocab_size"] == 2 * SHAPE.vocab


def test_a_sharded_base_and_a_sharded_export(base: Base) -> None:
    files = files_of(tie_word_embeddings=False)
    tensors = load(files.pop("model.safetensors"))
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    base.publish({**files, **sharded(tensors, 3)})
    for name, data in sharded(tensors, 2).items():
        (base.converted / name).write_bytes(data)
    assert base.export() == 0
    names = {name for name in base.names() if "safetensors" in name}
    assert names == {
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    assert set(base.json("model.safetensors.index.json")["weight_map"].values()) <= names


def sharded(tensors: dict[str, Any], shards: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    weight_map = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = {key: tensors[key] for key in sorted(tensors)[number::shards]}
        files[name] = save(part, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(part, name))
    files["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": weight_map}).encode()
    return files


def test_a_tied_head_that_the_base_repeats_may_be_missing(base: Base) -> None:
    """As in Qwen/Qwen3-4B: the head is the embedding, which the base holds twice and MaxText once."""
    files = files_of()
    tensors = load(files["model.safetensors"])
    repeated = {**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"]}
    base.publish({**files, "model.safetensors": save(repeated, metadata={"format": "pt"})})
    base.convert(trained(files))
    assert base.export() == 0


def without_a_tensor(tensors: dict[str, Any]) -> None:
    del tensors["model.norm.weight"]


def with_another_tensor(tensors: dict[str, Any]) -> None:
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]


def with_another_shape(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"] = np.ones(9, ml_dtypes.bfloat16)


def with_fewer_tokens(tensors: dict[str, Any]) -> None:
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:8]


def with_two_dtypes(tensors: dict[str, Any]) -> None:
    tensors["model.norm.weight"] = np.ones(8, np.float32)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_tensor, "the converted weights lack model.norm.weight, which {base} has"),
        (with_another_tensor, "the converted weights have lm_head.weight, which {base} lacks"),
        (with_another_shape, r"model.norm.weight has the shape \[9\], in {base} it is \[8\]"),
        (with_fewer_tokens, "model.embed_tokens.weight has 8 rows, fewer than the 16 of {base}"),
        (
            with_two_dtypes,
            "the converted weights have several data types, BF16, F32. Set export_weight_dtype=float32",
        ),
    ],
)
def test_weights_that_are_not_the_bases_are_refused(
    base: Base, capsys: pytest.CaptureFixture[str], damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    tensors = trained(ready(base))
    base.output.mkdir(parents=True)
    (base.output / "config.json").write_text("the last export")
    damage(tensors)
    base.convert(tensors)
    assert base.export() == 1
    assert re.search(message.format(base=base.name), capsys.readouterr().err)
    assert base.names() == {"config.json"}  # the last one stays, whole


def test_truncated_weights_are_refused(base: Base, capsys: pytest.CaptureFixture[str]) -> None:
    ready(base)
    file = base.converted / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    assert base.export() == 1
    assert "model.safetensors is not whole" in capsys.readouterr().err
    assert not base.output.exists()


def test_a_converter_that_fails_changes_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(base)
    assert base.export() == 0
    before = {name: (base.output / name).read_bytes() for name in base.names()}
    monkeypatch.setenv("CONVERTER_FAILS", "1")
    assert base.export() == 1
    assert {name: (base.output / name).read_bytes() for name in base.names()} == before


def test_what_an_earlier_export_left_is_gone(base: Base) -> None:
    """Shards and template of an earlier one, finished or killed, are no part of the next."""
    files = ready(base)
    for directory in (base.output, *base.program.beside(base.output)):
        directory.mkdir(parents=True)
        (directory / "model-00001-of-00002.safetensors").write_text("old")
        (directory / "chat_template.jinja").write_text("old")
    assert base.export() == 0
    assert base.names() == {*files, "README.md"}
    assert {path.name for path in base.output.parent.iterdir()} == {"run", "run.manifest.json"}


def test_a_kill_between_the_renames_loses_nothing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ready(base)
    assert base.export() == 0
    rename = Path.rename

    def killed(source: Path, target: Path) -> Path:
        if target == base.output:
            raise KeyboardInterrupt
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        base.export()
    assert not base.output.exists()  # so the job runs again
    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setenv("CONVERTER_FAILS", "1")
    assert base.export() == 1
    assert base.names() == {*files, "README.md"}  # the last one is back


def test_the_card_names_the_base_and_its_license(base: Base) -> None:
    ready(base)
    assert base.export() == 0
    card = (base.output / "README.md").read_text()
    assert card.startswith("---\n")
    assert f"base_model: {base.name}" in card
    assert "license: apache-2.0" in card
    assert "The base" not in card


def test_a_base_without_safetensors_is_published_unchecked(
    base: Base, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_of()
    base.convert(trained(files))
    del files["model.safetensors"]
    base.publish({**files, "pytorch_model.bin": b"pickle"})
    assert base.export() == 0
    assert "cannot be compared" in capsys.readouterr().out
    assert "pytorch_model.bin" not in base.names()


@pytest.mark.parametrize(("name", "revision"), [(None, "v9"), ("local/nope", "main")])
def test_a_base_that_is_not_there(
    base: Base, capsys: pytest.CaptureFixture[str], name: str | None, revision: str
) -> None:
    ready(base)
    shutil.rmtree(base.converted)  # it does not come so far
    given = ["--base", name or base.name, "--revision", revision, "--output", str(base.output)]
    trained_at = f"load_parameters_path={checkpoint(base.output.parents[1])}/model_params"
    assert base.program.main([*given, "fake_converter", "base.yml", trained_at]) == 1
    assert f"hf_model: {name or base.name} at revision {revision} cannot be read" in capsys.readouterr().err
    assert sys.exc_info() == (None, None, None)


FIVE = 5000000


def test_another_rope_ends_it_before_the_conversion(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(base, rope_theta=FIVE)
    monkeypatch.chdir(tmp_path)
    Path("base.yml").write_text("rope_max_timescale: 1000000\nrope_type: default\n")
    monkeypatch.setenv("CONVERTER_FAILS", "1")
    assert base.export() == 1
    assert "rope_max_timescale=5000000" in capsys.readouterr().err


def test_the_tokenizer_of_the_training_is_published(base: Base) -> None:
    """With a base without a chat template, training takes another repository's tokenizer."""
    other = f"{base.name}-instruct"
    its = {
        "tokenizer.json": b'{"model": 2}',
        "tokenizer_config.json": b'{"additional_special_tokens": [], "eos_token": "<|eot|>"}',
        "chat_template.jinja": b"the template",
        "generation_config.json": b'{"eos_token_id": [1, 9]}',
        "config.json": b'{"hidden_size": 1}',
        "model.safetensors": b"weights",
    }
    base.api.create_repo(other)
    operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=data) for path, data in its.items()]
    commit = base.api.create_commit(other, operations, commit_message="Add").oid
    later = [CommitOperationAdd(path_in_repo="tokenizer.json", path_or_fileobj=b"{}")]
    base.api.create_commit(other, later, commit_message="After the training began")
    files = ready(base)
    assert base.export("main", tokenizer=other, tokenizer_revision=commit) == 0
    published = {name: (base.output / name).read_bytes() for name in base.names()}
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert published[name] == its[name]
    assert published["config.json"] == files["config.json"]
    assert not published.keys() & {"merges.txt", "special_tokens_map.json"}  # of the base's tokenizer


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_a_damaged_file_in_the_cache_is_not_published(base: Base, tmp_path: Path, name: str) -> None:
    """The Hub's client takes what is in its cache for whole."""
    files = ready(base)
    assert base.export() == 0
    (cached,) = (tmp_path / "cache").glob(f"*/snapshots/*/{name}")
    cached.write_bytes(files[name][:-1] + b"!")
    strange = cached.with_name("chat_template.jinja")
    strange.write_bytes(b"not of this commit")
    base.convert(trained(files))
    assert base.export() == 0
    assert (base.output / name).read_bytes() == files[name]
    assert "chat_template.jinja" not in base.names()


def test_an_export_is_described_with_what_it_is_made_of(base: Base) -> None:
    base.convert(trained(ready(base)))
    assert base.export("main", about={"step": 60}) == 0
    record = f"{base.output}.manifest.json"
    assert manifest.problems(record, str(base.output)) == []
    kept = manifest.read(record)
    assert kept is not None
    assert kept["about"] == {"step": 60}
    (base.output / "model.safetensors").write_bytes(b"")
    assert "model.safetensors has 0 bytes" in manifest.sentence(manifest.problems(record, str(base.output)))


def test_a_damaged_checkpoint_is_not_exported(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base.convert(trained(ready(base)))
    step = checkpoint(tmp_path)
    weights = step / "model_params" / "d" / "0"
    weights.write_bytes(b"wEights")
    assert base.export("main", f"load_parameters_path={step}/model_params") == 1
    told = capsys.readouterr().err
    assert f"The checkpoint is damaged ({weights} has other content" in told
    assert f"it is now {step}.damaged. Train again" in told
    assert not base.output.exists()
    assert [path.name for path in step.parent.iterdir()] == ["60.damaged"], "so that training starts"
    assert not Path(checkpoints.manifest_path(str(step))).exists()


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_a_checkpoint_without_a_manifest_is_not_exported(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    """Nothing tells whether it is what was trained."""
    base.convert(trained(ready(base)))
    step = checkpoint(tmp_path)
    record = Path(checkpoints.manifest_path(str(step)))
    if content is None:
        record.unlink()
    else:
        record.write_text(content)
    assert base.export("main", f"load_parameters_path={step}/model_params") == 1
    told = capsys.readouterr().err
    assert (
        f"The checkpoint {step} cannot be compared with its training: {record} is missing or damaged" in told
    )
    assert "ansible-playbook site.yml --tags sft,export" in told
    assert step.exists(), "training reads it and records it again"
    assert not base.output.exists()


def test_what_no_export_wrote_stays(base: Base, capsys: pytest.CaptureFixture[str]) -> None:
    base.convert(trained(ready(base)))
    assert base.export() == 0
    (base.output / "model-Q4.gguf").write_text("mine")
    assert base.export() == 1
    assert (
        f"export_directory: {base.output} has model-Q4.gguf, which no export wrote" in capsys.readouterr().err
    )
    assert (base.output / "model-Q4.gguf").read_text() == "mine"


def test_the_model_of_another_run_stays(
    base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base.convert(trained(ready(base)))
    given = f"load_parameters_path={checkpoint(tmp_path)}/model_params"
    assert base.export("main", given, about={"run": "a"}) == 0
    assert base.export("main", given, about={"run": "a", "step": 3}) == 0
    assert base.export("main", given, about={"run": "b"}) == 1
    assert f"export_directory: {base.output} has the model of run a" in capsys.readouterr().err


def test_the_roles_own_settings_stay(base: Base, capsys: pytest.CaptureFixture[str]) -> None:
    ready(base)
    assert base.export("main", "scan_layers=True", "--scan_layers=False") == 1
    told = capsys.readouterr().err
    assert "scan_layers is given as True and as False. Leave it out of export_arguments" in told


@pytest.mark.parametrize("name", ["hf_model", "hf_commit", "maxtext_version"])
def test_a_run_of_another_base_is_not_exported_with_this_one(
    base: Base,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Its shapes and its rope may be the same; its end of text and its template are not."""
    base.convert(trained(ready(base)))
    about = {"hf_model": "me/base", "hf_commit": "a", "maxtext_version": "0.2.5", "learning_rate": "1"}
    step = checkpoint(tmp_path, about)
    now = {key: about[key] for key in ("hf_model", "hf_commit", "maxtext_version")} | {"step": 60}
    given = f"load_parameters_path={step}/model_params"
    monkeypatch.setattr(base.program.installed.importlib.metadata, "version", lambda _package: "0.2.5")
    assert base.export("main", given, about=now) == 0
    monkeypatch.setattr(base.program.installed, "problem", lambda _about: None)
    assert base.export("main", given, about=now | {name: "other"}) == 1
    assert f"{name}: the run was trained with {about[name]}, and other is wanted" in capsys.readouterr().err


class TestAdapters:
    ABOUT: ClassVar[dict[str, Any]] = {
        "lora_rank": 4,
        "lora_alpha": 8.0,
        "hf_commit": "a",
        "weight_dtype": "bfloat16",
    }
    #: The merge, as far as the program around it can see: it runs the converter and leaves peft's files.
    PROGRAM = """
import os, runpy, sys
at = sys.argv.index
if "--peft" in sys.argv:
    os.makedirs(sys.argv[at("--peft") + 1])
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        with open(os.path.join(sys.argv[at("--peft") + 1], name), "w") as file:
            file.write(" ".join(sys.argv[1:at("fake_converter")]))
sys.argv = sys.argv[at("fake_converter"):]
runpy.run_module("fake_converter", run_name="__main__", alter_sys=True)
"""

    @pytest.fixture
    def adapters(self, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The converted base; the run has adapters."""
        (tmp_path / "merge_lora.py").write_text(self.PROGRAM)
        monkeypatch.setattr(base.program, "__file__", str(tmp_path / "export.py"))
        item = tmp_path / "base" / "0" / "items"
        item.mkdir(parents=True)
        (item / "_METADATA").write_text("{}")
        manifest.write(
            str(tmp_path / "base/manifest.json"), manifest.build(str(item.parent), {"hf_commit": "a"})
        )
        base.convert(trained(ready(base)))
        return item

    def export(self, base: Base, tmp_path: Path, item: Path, *more: str, **about: Any) -> int:
        step = checkpoint(tmp_path, {**self.ABOUT, **about})
        given = ["--base", base.name, "--revision", "main", "--output", str(base.output), *more]
        given += ["--converted", str(item), "fake_converter", "base.yml"]
        status = base.program.main([*given, f"load_parameters_path={step}/model_params"])
        assert isinstance(status, int)
        return status

    def test_are_merged_into_the_converted_base(self, base: Base, adapters: Path, tmp_path: Path) -> None:
        seen: list[Any] = []
        convert = base.program.convert

        def spy(*given: Any) -> Any:
            seen.append(given)
            return convert(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(base.program, "convert", spy)
            assert self.export(base, tmp_path, adapters, "--adapter") == 0
        program, given, *_ = seen[0]
        assert f"load_parameters_path={adapters}" in given
        assert program[:3] == [
            str(tmp_path / "merge_lora.py"),
            "--adapter",
            str(tmp_path / "run/checkpoints/60/model_params"),
        ]
        assert "--rank 4 --alpha 8.0" in " ".join(program)
        assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= base.names()
        assert f"--base {base.name}" in (base.output / "adapter/adapter_config.json").read_text()
        assert "LoRA of rank 4 and alpha 8, merged" in (base.output / "README.md").read_text()
        assert manifest.problems(f"{base.output}.manifest.json", str(base.output)) == []
        assert self.export(base, tmp_path, adapters) == 0
        assert not [name for name in base.names() if name.startswith("adapter")], (
            "nobody asks for it any more"
        )

    def test_of_another_base_are_refused(
        self, base: Base, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.export(base, tmp_path, adapters, hf_commit="b") == 1
        assert "hf_commit: the adapters were trained on b, and the converted base" in capsys.readouterr().err

    @pytest.mark.parametrize("lost", ["_METADATA", "../../manifest.json"])
    def test_need_a_whole_base(
        self, base: Base, adapters: Path, tmp_path: Path, lost: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (adapters / lost).unlink()
        assert self.export(base, tmp_path, adapters) == 1
        assert "--tags convert,export" in capsys.readouterr().err
