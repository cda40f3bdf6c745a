# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a training's inputs, against the local cloud's Hub, with data as people bring them."""

from __future__ import annotations

import gzip
import io
import json
import sys
from itertools import count
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import preflight
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import patiently
from huggingface_hub import CommitOperationAdd, HfApi, constants
from tokenizers import Tokenizer, models, pre_tokenizers

from .conftest import Hub, RunModule

numbers = count()
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Rows = list[dict[str, Any]]
Files = dict[str, bytes]


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


PAIRS = [(f"What is {number} plus {number}?", f"It is {2 * number}.") for number in range(900)]
CHATS = [{"messages": [message("user", q), message("assistant", a)]} for q, a in PAIRS]


def jsonl(found: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found).encode()


def parquet(found: Rows) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(found), buffer)
    return buffer.getvalue()


def card(text: str) -> bytes:
    return f"---\n{text}---\n".encode()


@pytest.fixture(autouse=True)
def without_xet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(preflight, "patiently", lambda work: patiently(work, pause=0.0))


class Bench:
    """Puts a tokenizer and data sets on the Hub and runs the module with them."""

    def __init__(self, hub: Hub, run_module: RunModule) -> None:
        self.hub, self.run_module = hub, run_module
        self.api = HfApi(endpoint=hub.url, token=hub.token)
        words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        self.tokenizer = self.put(
            {
                "tokenizer.json": words.to_str().encode(),
                "tokenizer_config.json": json.dumps({"chat_template": CHATML}).encode(),
            },
            "model",
        )

    def put(self, files: Files, repo_type: str = "dataset") -> str:
        repo_id = f"local/inputs-{next(numbers)}"
        self.api.create_repo(repo_id, repo_type=repo_type)
        name = repo_id.split("/")[1]
        operations = [
            CommitOperationAdd(path.replace("{name}", name), content) for path, content in files.items()
        ]
        self.api.create_commit(repo_id, operations, commit_message="x", repo_type=repo_type)
        return repo_id

    def check(self, files: Files | str, **options: Any) -> dict[str, Any]:
        """The module's result for a data set of these files: 5 steps of 8 sequences of 128 tokens."""
        defaults = {
            "endpoint": self.hub.url,
            "token": self.hub.token,
            "model": "qwen3-4b",
            "tokenizer": self.tokenizer,
            "dataset": files if isinstance(files, str) else self.put(files),
            "steps": 5,
            "max_target_length": 128,
            "accelerator_types": ["v5litepod-8"],
        }
        return self.run_module("training_inputs_info", **{**defaults, **options})


@pytest.fixture
def bench(hub: Hub, run_module: RunModule) -> Bench:
    return Bench(hub, run_module)


TWO = "configs:\n- config_name: en\n  data_files: en/*\n- config_name: ja\n  data_files: ja/*\n"
SPLITS = (
    "configs:\n- config_name: default\n  data_files:\n  - split: train_sft\n    path: data/train_sft-*\n"
    "  - split: test_sft\n    path: data/test_sft-*\n"
)
GOOD: dict[str, tuple[Files, dict[str, Any]]] = {
    "parquet": ({"data/train-00000-of-00001.parquet": parquet(CHATS)}, {}),
    "json lines": ({"train.jsonl": jsonl(CHATS)}, {}),
    "packed": ({"train.jsonl.gz": gzip.compress(jsonl(CHATS))}, {}),
    "shards": (
        {f"data/train-0000{index}-of-00003.parquet": parquet(CHATS[index::3]) for index in range(3)},
        {},
    ),
    "prompt and completion": (
        {
            "train.jsonl": jsonl(
                [{"prompt": [message("user", q)], "completion": [message("assistant", a)]} for q, a in PAIRS]
            )
        },
        {"train_data_columns": ["prompt", "completion"]},
    ),
    "question and answer": (
        {"train.csv": ("question,answer\n" + "".join(f"{q},{a}\n" for q, a in PAIRS)).encode()},
        {"train_data_columns": ["question", "answer"]},
    ),
    "two splits": (
        {
            "data/train_sft-0.parquet": parquet(CHATS[:450]),
            "data/test_sft-0.parquet": parquet(CHATS[450:]),
            "README.md": card(SPLITS),
        },
        {"train_split": "train_sft+test_sft"},
    ),
    "a named configuration": (
        {"ja/train.jsonl": jsonl(CHATS), "en/train.jsonl": jsonl(CHATS[:1]), "README.md": card(TWO)},
        {"dataset_config": "ja"},
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_data_that_can_be_trained_on(bench: Bench, case: str) -> None:
    files, options = GOOD[case]
    result = bench.check(files, **options)
    assert not result["failed"], result
    assert result["dataset"]["rows"] == result["dataset"]["rows_read"] == 900
    assert (result["dataset"]["complete"], result["not_known"]) == (True, [])


BAD: dict[str, tuple[Files, dict[str, Any], str]] = {
    "three rows": (
        {"data/train-0.parquet": parquet(CHATS[:3])},
        {"steps": 100},
        "steps: 100 steps need more data: 3 rows, read once, give 1 batch of 8 sequences of 128 tokens. "
        "Set steps to 1",
    ),
    "strings for conversations": (
        {"train.jsonl": jsonl([{"prompt": q, "completion": a} for q, a in PAIRS])},
        {"train_data_columns": ["prompt", "completion"]},
        "dataset: row 0 of {dataset}: prompt is a string, not a list of messages with role and content",
    ),
    "alpaca": (
        {"train.jsonl": jsonl([{"instruction": q, "output": a} for q, a in PAIRS])},
        {},
        "train_data_columns: {dataset} has no column 'messages': it has instruction, output",
    ),
    "alpaca, named": (
        {"train.jsonl": jsonl([{"instruction": q, "output": a} for q, a in PAIRS])},
        {"train_data_columns": ["instruction", "output"]},
        "train_data_columns: [instruction, output] is not what MaxText trains on: [messages], "
        "[prompt, completion] or [question, answer]. Convert the data set",
    ),
    "sharegpt": (
        {"train.parquet": parquet([{"messages": [{"from": "human", "value": q}]} for q, _ in PAIRS])},
        {},
        "dataset: row 0 of {dataset}: a message has from, value: it needs role and content",
    ),
    "tools": (
        {"train.jsonl": jsonl([*CHATS, {"messages": [message("user", "x"), message("tool", "y")]}])},
        {},
        "dataset: row 900 of {dataset}: a message has the role 'tool': MaxText drops",
    ),
    "an array": (
        {"train.json": json.dumps(CHATS).encode()},
        {},
        "train.json: is one JSON array",
    ),
    "configurations without a default": (
        {"ja/train.jsonl": jsonl(CHATS), "en/train.jsonl": jsonl(CHATS), "README.md": card(TWO)},
        {},
        "dataset_config: {dataset} has several configurations and no default one: en, ja. Set one of them",
    ),
    "a configuration that is not there": (
        {"ja/train.jsonl": jsonl(CHATS), "en/train.jsonl": jsonl(CHATS), "README.md": card(TWO)},
        {"dataset_config": "fr"},
        "dataset_config: {dataset} has no configuration 'fr': it has en, ja",
    ),
    "several formats of a configuration": (
        {
            "x/a.jsonl": jsonl(CHATS),
            "x/b.parquet": parquet(CHATS),
            "README.md": card("configs:\n- config_name: x\n  data_files: x/*\n"),
        },
        {},
        "dataset_config: {dataset} names files of several formats for one split, such as x/a.jsonl",
    ),
    "numbers in CSV": (
        {"train.csv": b"question,answer\n" + b"What?,007\n" * 900},
        {"train_data_columns": ["question", "answer"]},
        "dataset: train.csv: answer has only numbers in rows 0 to 899",
    ),
    "an adapter": (
        {"train.jsonl": jsonl(CHATS)},
        {"arguments": ["lora.enable_lora=True", "lora.lora_rank=8"]},
        "sft_arguments: lora.enable_lora: is set by an option of its own. Set lora_rank instead",
    ),
    "other data in an argument": (
        {"train.jsonl": jsonl(CHATS)},
        {"maxtext_arguments": ["hf_path=json", "hf_train_files=/data/x.jsonl"]},
        "maxtext_arguments: hf_path: is set by an option of its own. Set dataset instead",
    ),
    "a model that one stage alone knows": (
        {"train.jsonl": jsonl(CHATS)},
        {"convert_arguments": ["rope_max_timescale=5000000"]},
        "convert_arguments: rope_max_timescale is part of the model",
    ),
    "a script": (
        {"train.jsonl": jsonl(CHATS), "{name}.py": b"import datasets"},
        {},
        "dataset: {dataset} is loaded by a script, {name}.py, which the datasets library does not run",
    ),
    "a part of a split": (
        {"train.jsonl": jsonl(CHATS)},
        {"train_split": "train[:100]"},
        "train_split: 'train[:100]' is a part of a split",
    ),
    "a split that is not there": (
        {"train.jsonl": jsonl(CHATS)},
        {"train_split": "train+test"},
        "train_split: {dataset} has no split 'test': it has train",
    ),
    "an empty split": (
        {"train.jsonl": b"", "test.jsonl": jsonl(CHATS)},
        {},
        "steps: 5 steps need data: the split has no rows",
    ),
    "too few tokens in many rows": (
        {"train.jsonl": jsonl(CHATS)},
        {"steps": 100},  # 113 batches by rows, fewer by tokens
        "steps: 100 steps need more data: 900 rows, read once, give 2",
    ),
    "a model that cannot be trained": (
        {"train.jsonl": jsonl(CHATS)},
        {"model": "gemma3-4b"},
        "model: gemma3-4b",
    ),
    "too large a model": (
        {"train.jsonl": jsonl(CHATS)},
        {"model": "qwen3-32b"},
        "model: qwen3-32b in float32",
    ),
    "a slice": (
        {"train.jsonl": jsonl(CHATS)},
        {"accelerator_types": ["v5litepod-16"]},
        "tpu_vm_accelerator_type: ",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_work_is_refused_with_the_reason(bench: Bench, case: str) -> None:
    files, options, said = BAD[case]
    dataset = bench.put(files)
    result = bench.check(dataset, **options)
    assert result["failed"], result
    assert said.replace("{dataset}", dataset).replace("{name}", dataset.split("/")[1]) in result["msg"]


def test_a_repository_of_another_model(bench: Bench) -> None:
    sizes = {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36}
    config = json.dumps({"architectures": ["Qwen3ForCausalLM"], **sizes}).encode()
    base = bench.put({"config.json": config}, "model")
    rows = {"train.jsonl": jsonl([{"messages": []}])}
    said = f"model: {base} has hidden_size 4096, and qwen3-4b has 2560. Set model to qwen3-8b"
    assert bench.check(rows, hf_model=base)["msg"].startswith(said)
    # The model that the arguments change is the user's own.
    changed = bench.check(rows, hf_model=base, maxtext_arguments=["override_model_config=True"])
    assert "hidden_size" not in changed["msg"]


def test_a_tokenizer_without_a_chat_template(bench: Bench) -> None:
    base = bench.put({"tokenizer_config.json": b"{}", "tokenizer.json": b"{}"}, "model")
    data = bench.put({"train.jsonl": jsonl(CHATS)})
    refused = bench.check(data, tokenizer=base)
    assert refused["msg"].startswith(f"model: the tokenizer of {base} has no chat template")
    given = bench.check(data, tokenizer=base, arguments=["chat_template_path=x.jinja"])
    assert "name that in tokenizer. Leave it out of sft_arguments" in given["msg"]
    separate = bench.put({"tokenizer_config.json": b"{}", "chat_template.jinja": CHATML.encode()}, "model")
    assert not bench.check(data, tokenizer=separate)["failed"]


def test_tokens_are_counted_where_characters_leave_it_open(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bench.put({"train.jsonl": jsonl(CHATS)})
    # 900 rows of 24 tokens are some 22 batches; by bytes they could be 113.
    refused = bench.check(data, steps=60)
    assert "900 rows, read once, give 2" in refused["msg"]
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    unsure = bench.check(data, steps=60)
    assert not unsure["failed"]
    (warning,) = unsure["not_known"]
    assert "may end before" in warning


def test_rows_that_cannot_be_read_are_a_warning(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    many = bench.check({"data/train-0.parquet": parquet(CHATS)})
    assert (many["dataset"]["rows"], many["dataset"]["rows_read"]) == (900, 0)
    assert "number of rows is known, 900, and not what is in them. Install pyarrow" in many["not_known"][0]
    few = bench.check({"data/train-0.parquet": parquet(CHATS[:3])})
    assert "3 rows, read once, give 1 batch" in few["msg"]  # the footer is enough for that
    nothing = bench.check({"data/train-0.parquet": b"no parquet"})
    assert "cannot be counted here" in nothing["not_known"][0]
    described = (
        "dataset_info:\n  features:\n  - name: messages\n  splits:\n  - name: train\n    num_examples: 3\n"
    )
    told = bench.check({"data/train-0.parquet": b"no parquet", "README.md": card(described)})
    assert "3 rows, read once, give 1 batch" in told["msg"]  # by the card alone


def test_rows_that_are_changed_first_are_not_looked_at(bench: Bench) -> None:
    result = bench.check("local/none", arguments=["formatting_func_path=x.py"])
    assert (result["failed"], result["dataset"]) == (False, None)


@pytest.mark.parametrize("name", ["json", "/data/x.jsonl"])
def test_files_are_no_data_set(bench: Bench, name: str) -> None:
    assert bench.check(name)["msg"].startswith(f"dataset: {name!r} is no repository of the Hub")


def test_serving(run_module: RunModule) -> None:
    options = {"model": "qwen3-8b", "accelerator_types": ["v5litepod-8"]}
    refused = run_module("serving_inputs_info", **options)
    assert refused["msg"].startswith("tensor_parallel_size: 1 is too small for qwen3-8b on a v5litepod-8")
    assert not run_module("serving_inputs_info", tensor_parallel_size=4, **options)["failed"]
