# SPDX-License-Identifier: GPL-3.0-or-later
"""The program around MaxText's converter: real tensors, and a converter that does one thing wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest
from safetensors.numpy import save_file

Tensors = dict[str, Any]


@pytest.fixture
def tensors() -> Tensors:
    """Of each kind one, in the dtype of a real model."""
    random = np.random.default_rng(7)
    shapes = {
        "model.embed_tokens.weight": (64, 8),
        "model.layers.0.self_attn.q_proj.weight": (16, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 24),
        "model.layers.0.input_layernorm.weight": (8,),
        "model.norm.weight": (8,),
    }
    return {name: random.normal(size=shape).astype(ml_dtypes.bfloat16) for name, shape in shapes.items()}


@pytest.fixture
def base(tmp_path: Path, tensors: Tensors) -> Path:
    """A model in two files, with an index."""
    directory = tmp_path / "base"
    directory.mkdir()
    index = {}
    for number, names in enumerate((list(tensors)[:2], list(tensors)[2:])):
        save_file({name: tensors[name] for name in names}, directory / f"model-{number}.safetensors")
        index.update(dict.fromkeys(names, f"model-{number}.safetensors"))
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return directory


class TestCompare:
    def test_the_same(self, converter: ModuleType, base: Path, tensors: Tensors) -> None:
        assert converter.compare(iter(tensors.items()), converter.Source(str(base)), "bfloat16") == 5

    @pytest.mark.parametrize(
        "name", ["model.norm.weight", "model.layers.0.mlp.down_proj.weight", "model.embed_tokens.weight"]
    )
    def test_old_weights_of_one_kind(
        self, converter: ModuleType, base: Path, tensors: Tensors, name: str
    ) -> None:
        tensors[name] = np.full_like(tensors[name], 0.5)
        with pytest.raises(converter.Wrong, match=f"{name} is not the base model's"):
            converter.compare(iter(tensors.items()), converter.Source(str(base)), "bfloat16")

    def test_one_weight(self, converter: ModuleType, base: Path, tensors: Tensors) -> None:
        changed = tensors["model.layers.0.self_attn.q_proj.weight"].copy()
        changed[3, 5] = -changed[3, 5]
        tensors["model.layers.0.self_attn.q_proj.weight"] = changed
        with pytest.raises(converter.Wrong, match="q_proj"):
            converter.compare(iter(tensors.items()), converter.Source(str(base)), "bfloat16")

    def test_another_shape(self, converter: ModuleType, base: Path, tensors: Tensors) -> None:
        tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:32]
        with pytest.raises(converter.Wrong, match="embed_tokens"):
            converter.compare(iter(tensors.items()), converter.Source(str(base)), "bfloat16")

    def test_what_scaling_rounds(self, converter: ModuleType, base: Path, tensors: Tensors) -> None:
        """MaxText multiplies Llama's queries on the way in and divides on the way back."""
        name = "model.layers.0.self_attn.q_proj.weight"
        scale = ml_dtypes.bfloat16(0.0883883476)
        tensors[name] = (tensors[name] * scale / scale).astype(ml_dtypes.bfloat16)
        assert converter.compare(iter(tensors.items()), converter.Source(str(base)), "bfloat16") == 5

    def test_a_base_in_float32(self, converter: ModuleType, tmp_path: Path) -> None:
        exact = np.array([1.00001, -2.5], dtype=np.float32)
        save_file({"model.norm.weight": exact}, tmp_path / "model.safetensors")
        source = converter.Source(str(tmp_path))
        rounded = exact.astype(ml_dtypes.bfloat16)
        assert converter.compare(iter([("model.norm.weight", rounded)]), source, "bfloat16") == 1
        assert converter.compare(iter([("model.norm.weight", exact)]), source, "float32") == 1
        with pytest.raises(converter.Wrong, match="is not the base model's"):  # which MaxText rounded
            converter.compare(iter([("model.norm.weight", rounded)]), source, "float32")

    @pytest.mark.parametrize(
        ("dtype", "wanted", "chosen"),
        [
            (ml_dtypes.bfloat16, "auto", "bfloat16"),
            (np.float32, "auto", "float32"),
            (np.float16, "auto", "float32"),
            (np.float32, "bfloat16", "bfloat16"),
            (ml_dtypes.bfloat16, "float32", "float32"),
        ],
    )
    def test_no_precision_of_the_base_is_lost_without_a_word(
        self,
        converter: ModuleType,
        tmp_path: Path,
        dtype: Any,
        wanted: str,
        chosen: str,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tensors = {"model.norm.weight": np.ones(2, dtype), "rotary_emb.inv_freq": np.ones(2, np.float32)}
        save_file(tensors, tmp_path / "model.safetensors")
        settings = ["model_name=x", f"save_dtype={wanted}"]
        source = converter.Source(str(tmp_path))
        assert converter.with_dtype(settings, source) == ["model_name=x", f"save_dtype={chosen}"]
        rounded = "are rounded to bfloat16" in capsys.readouterr().out
        assert rounded == (chosen == "bfloat16" and dtype is not ml_dtypes.bfloat16)

    def test_a_tensor_that_is_not_converted(
        self, converter: ModuleType, base: Path, tensors: Tensors
    ) -> None:
        """The biases of Qwen2.5 in the preset of Qwen3, for example."""
        given = [item for item in tensors.items() if item[0] != "model.norm.weight"]
        with pytest.raises(
            converter.Wrong, match=r"does not convert 1 tensors .* model\.norm\.weight: it has anot"
        ):
            converter.compare(iter(given), converter.Source(str(base)), "bfloat16")

    @pytest.mark.parametrize("equal", [True, False])
    def test_an_output_layer_that_is_the_embedding(
        self, converter: ModuleType, tmp_path: Path, tensors: Tensors, equal: bool
    ) -> None:
        embedding = tensors["model.embed_tokens.weight"]
        head = embedding if equal else -embedding
        save_file(
            {"model.embed_tokens.weight": embedding, "lm_head.weight": head.copy()},
            tmp_path / "model.safetensors",
        )
        given, source = [("model.embed_tokens.weight", embedding)], converter.Source(str(tmp_path))
        if equal:
            assert converter.compare(iter(given), source, "bfloat16") == 1
        else:
            with pytest.raises(converter.Wrong, match=r"lm_head\.weight"):
                converter.compare(iter(given), source, "bfloat16")

    def test_nothing(self, converter: ModuleType, base: Path) -> None:
        with pytest.raises(converter.Wrong, match="Nothing of the base model"):
            converter.compare(iter([]), converter.Source(str(base)), "bfloat16")

    def test_a_base_that_is_cut_off(self, converter: ModuleType, base: Path) -> None:
        path = base / "model-1.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
        with pytest.raises(converter.Wrong, match=r"model-1\.safetensors of the base model cannot be read"):
            converter.Source(str(base))


class TestMain:
    """What is done about what lies in the directory of the result."""

    @pytest.fixture
    def convert(
        self,
        converter: ModuleType,
        base: Path,
        tensors: Tensors,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Iterator[Any]:
        """Runs the program; the converter skips a step 0 that exists, as Orbax does."""
        output = tmp_path / "out"
        self.ran: list[str] = []

        def run(module: str, config: str, settings: list[str], source: str) -> tuple[Any, None, str]:
            self.ran.append(source)
            items = output / "0" / "items"
            if not items.exists():
                items.mkdir(parents=True)
                save_file({n: converter.Source(source).read(n) for n in tensors}, items / "arrays")
            return None, None, "bfloat16"

        def back(module: str, program: Any, config: Any, item: str, source: Any) -> Iterator[Any]:
            from safetensors.numpy import load_file

            yield from load_file(f"{item}/arrays").items()

        monkeypatch.setattr(converter, "convert", run)
        monkeypatch.setattr(converter, "back", back)
        monkeypatch.setattr(converter.download, "fetch", lambda repository, _commit: Path(repository))

        def main(
            about: dict[str, Any] | None = None, repository: Path = base, config: str = "base.yml"
        ) -> int:
            given = [
                "--repository",
                str(repository),
                "--commit",
                "c",
                "--output",
                str(output),
                "--about",
                json.dumps(about or {}),
            ]
            return int(converter.main([*given, "to_maxtext", config]))

        yield main

    def test_a_result_is_described(self, convert: Any, tmp_path: Path) -> None:
        assert convert({"hf_commit": "a"}) == 0
        record = manifest.read(f"{tmp_path}/out/manifest.json")
        assert record is not None
        assert (record["about"], list(record["files"])) == ({"hf_commit": "a"}, ["items/arrays"])

    def test_the_whole_result_of_the_same_inputs_stays(self, convert: Any) -> None:
        assert [convert(), convert()] == [0, 0]
        assert len(self.ran) == 1

    def test_other_inputs_get_their_own_weights(
        self, convert: Any, converter: ModuleType, tensors: Tensors, tmp_path: Path
    ) -> None:
        assert convert({"hf_model": "one"}) == 0
        other = tmp_path / "other"
        other.mkdir()
        tensors["model.norm.weight"] = np.full((8,), 0.5, dtype=ml_dtypes.bfloat16)
        save_file(tensors, other / "model.safetensors")
        assert convert({"hf_model": "other"}, other) == 0
        found = dict(converter.back("", None, None, f"{tmp_path}/out/0/items", None))
        assert (found["model.norm.weight"] == 0.5).all()

    @pytest.mark.parametrize("damage", ["cut", "changed", "no manifest", "another file"])
    def test_a_damaged_result_is_converted_again(self, convert: Any, tmp_path: Path, damage: str) -> None:
        convert()
        arrays, record = tmp_path / "out" / "0" / "items" / "arrays", tmp_path / "out" / "manifest.json"
        good = arrays.read_bytes()
        if damage == "cut":
            arrays.write_bytes(good[:-3])
        elif damage == "changed":
            arrays.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
        elif damage == "no manifest":
            record.unlink()
        else:
            (arrays.parent / "stray").touch()
        assert convert() == 0
        assert len(self.ran) == 2
        assert arrays.read_bytes() == good
        assert manifest.problems(str(record), str(tmp_path / "out" / "0")) == []

    def test_another_rope_ends_it_before_the_conversion(
        self, convert: Any, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """It would train another model, days long, and nothing would tell."""
        (base / "config.json").write_text('{"rope_theta": 5000000}')
        (tmp_path / "base.yml").write_text("rope_max_timescale: 1000000\n")
        assert convert(config=str(tmp_path / "base.yml")) == 1
        assert "rope_max_timescale=5000000 to maxtext_arguments" in capsys.readouterr().err
        assert self.ran == []

    def test_a_wrong_result_is_not_left(
        self,
        convert: Any,
        converter: ModuleType,
        tensors: Tensors,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        tensors["model.norm.weight"] = -tensors["model.norm.weight"]
        monkeypatch.setattr(converter, "back", lambda *given: iter(tensors.items()))
        assert convert() == 1
        assert "error: model.norm.weight is not the base model's" in capsys.readouterr().err
        assert not (tmp_path / "out" / "0").exists()
        assert not (tmp_path / "out" / "manifest.json").exists()


def test_the_converters_options_are_told_from_maxtexts_settings(converter: ModuleType) -> None:
    given = ["model_name=x", "save_dtype=float32", "--lazy_load_tensors=False", "scan_layers=True"]
    assert converter.split(given) == (
        ["model_name=x", "scan_layers=True"],
        ["save_dtype=float32", "--lazy_load_tensors=False"],
    )
