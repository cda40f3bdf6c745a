# SPDX-License-Identifier: GPL-3.0-or-later
"""The tiny models and the small data set."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

from localcloud.config import PROJECT_ROOT, CloudConfig
from localcloud.hub import HubStore
from localcloud.tiny import rows, sample_answer, sample_question, seed_hub
from localcloud.tiny.dataset import TRAIN_FILE, dataset_files
from localcloud.tiny.model import ModelShape, model_files
from localcloud.tiny.seed import DATASET, MODELS, tiny_model_files
from localcloud.tiny.tokenizer import SPECIAL_TOKENS

SHAPE = ModelShape(layers=2)
DIGESTS = """
import hashlib
from localcloud.tiny import rows
from localcloud.tiny.dataset import dataset_files
from localcloud.tiny.model import ModelShape
from localcloud.tiny.seed import tiny_model_files
files = tiny_model_files(ModelShape(layers=2), rows()) | dataset_files(rows())
print({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
"""


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return tiny_model_files(SHAPE, rows())


@pytest.fixture(scope="module")
def tokenizer(files: dict[str, bytes]) -> Tokenizer:
    return Tokenizer.from_str(files["tokenizer.json"].decode())


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    def digests() -> str:
        command = [sys.executable, "-c", DIGESTS]
        return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=True).stdout

    assert digests() == digests()


def test_another_seed_gives_other_weights_and_another_order(files: dict[str, bytes]) -> None:
    other = tiny_model_files(SHAPE, rows(), seed=1)
    assert {name for name, data in files.items() if other[name] != data} == {"model.safetensors"}
    assert rows(1) != rows() and rows(1)[0] == rows()[0]
    assert sorted(map(json.dumps, rows(1))) == sorted(map(json.dumps, rows()))


def test_every_question_is_asked_once_and_half_of_them_in_japanese() -> None:
    questions = [row["messages"][0]["content"] for row in rows()]
    assert len(set(questions)) == len(questions) >= 300
    assert sum(not question.isascii() for question in questions) == len(questions) / 2


def test_every_answer_holds_a_function_that_python_takes() -> None:
    for row in rows():
        question, answer = (message["content"] for message in row["messages"])
        code = answer.split("```python\n")[1].split("```")[0]
        names: dict[str, Any] = {}
        exec(compile(code, "answer", "exec"), names)
        assert any(name in question for name in names if name != "__builtins__")


def test_the_sample_is_the_first_row() -> None:
    assert [message["content"] for message in rows()[0]["messages"]] == [sample_question(), sample_answer()]


def test_the_parquet_file_holds_the_rows(tmp_path: Path) -> None:
    table = pq.read_table(io.BytesIO(dataset_files(rows())[TRAIN_FILE]))
    assert table.column_names == ["messages"]
    assert table.to_pylist() == rows()


def test_the_tokenizer_round_trips_and_knows_the_turns(tokenizer: Tokenizer, files: dict[str, bytes]) -> None:
    assert [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS] == list(range(len(SPECIAL_TOKENS)))
    assert tokenizer.get_vocab_size() <= SHAPE.vocab
    for row in rows():
        for message in row["messages"]:
            assert tokenizer.decode(tokenizer.encode(message["content"]).ids) == message["content"]
    settings, config = json.loads(files["tokenizer_config.json"]), json.loads(files["config.json"])
    assert tokenizer.token_to_id(settings["eos_token"]) == config["eos_token_id"]


def test_every_turn_fits_into_the_128_tokens_of_the_local_run(tokenizer: Tokenizer) -> None:
    lengths = [sum(len(tokenizer.encode(m["content"]).ids) + 5 for m in row["messages"]) for row in rows()]
    assert max(lengths) <= 128


@pytest.mark.parametrize("shape", [SHAPE, *MODELS.values()], ids=lambda shape: f"{shape.layers}-layers")
def test_tensors_are_those_of_a_qwen3(shape: ModelShape) -> None:
    data = model_files(shape, 0)["model.safetensors"]
    length = int.from_bytes(data[:8], "little")  # of the JSON header, by safetensors' format
    tensors = json.loads(data[8 : 8 + length])
    assert tensors.pop("__metadata__") == {"format": "pt"}
    assert len(tensors) == 2 + 11 * shape.layers
    assert {tensor["dtype"] for tensor in tensors.values()} == {"BF16"}
    assert tensors["model.embed_tokens.weight"]["shape"] == [shape.vocab, shape.hidden]
    last = f"model.layers.{shape.layers - 1}."
    assert tensors[last + "self_attn.q_proj.weight"]["shape"] == [shape.heads * shape.head_dim, shape.hidden]
    assert tensors[last + "mlp.down_proj.weight"]["shape"] == [shape.hidden, shape.mlp]


def test_seeding_again_makes_no_commit(tmp_path: Path) -> None:
    store, config, lines = HubStore(tmp_path / "hub"), CloudConfig(state_dir=tmp_path), list[str]()
    seed_hub(store, config, lines.append)
    before = {repo_id: store.get(repo_id) for repo_id in (DATASET, *MODELS)}
    seed_hub(store, config, lines.append)
    assert {repo_id: store.get(repo_id) for repo_id in before} == before
    assert all(repository and len(repository.commits) == 2 for repository in before.values())
    assert len(lines) == 2 * len(before)


def test_weights_go_by_lfs_and_settings_do_not(tmp_path: Path) -> None:
    store = HubStore(tmp_path / "hub")
    seed_hub(store, CloudConfig(state_dir=tmp_path), lambda line: None)
    found = {repo_id: store.get(repo_id) for repo_id in (DATASET, *MODELS)}
    by_lfs = {
        path
        for repository in found.values()
        if repository
        for path, entry in store.tree(repository.resolve("main")).items()
        if entry.lfs
    }
    assert by_lfs == {"model.safetensors", TRAIN_FILE}
