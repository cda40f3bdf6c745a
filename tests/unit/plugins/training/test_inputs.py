# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training is told, and what of it cannot work."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import (
    batches,
    data,
    inputs,
    memory,
    serving,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.batches import Plan
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled_rows import ROWS
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS

DEFAULTS: dict[str, Any] = {
    "model": "qwen3-4b",
    "steps": 100,
    "per_device_batch_size": 1.0,
    "max_target_length": 1024,
    "weight_dtype": "bfloat16",
    "num_epoch": 1,
    "learning_rate": "",
    "train_split": "train",
    "dataset_config": None,
    "train_data_columns": ["messages"],
    "arguments": [],
    "environment": {},
    "platform": "tpu",
    "lora_rank": 0,
}


def settings(**changes: Any) -> inputs.Settings:
    return inputs.settings({**DEFAULTS, **changes})


def test_the_plan_counts_devices() -> None:
    assert settings().plan("v5litepod-8") == Plan(100, 8, 1024)
    assert settings(per_device_batch_size=4.0).plan("v5p-8") == Plan(100, 16, 1024, per_device=4)
    assert settings().plan("v9-8") is None


def test_the_trainers_own_arguments_count() -> None:
    given = settings(
        steps=50,
        per_device_batch_size=2.0,
        num_epoch=3,
        recipe={"gradient_accumulation_steps": "4"},
        arguments=["packing=True", "packing=False", "word"],
    )
    assert given.plan("v5litepod-8") == Plan(50, 64, 1024, epochs=3, packing=False, per_device=2)


def test_devices_of_a_local_run() -> None:
    local = settings(
        platform="cpu", environment={"XLA_FLAGS": "--a --xla_force_host_platform_device_count=4"}
    )
    plan = local.plan("v5litepod-8")
    assert plan is not None
    assert plan.sequences == 4
    alone = settings(platform="cpu").plan("v5litepod-8")
    assert alone is not None
    assert alone.sequences == 1


@pytest.mark.parametrize(
    ("changes", "types", "said"),
    [
        ({"model": "gemma3-4b"}, ["v5litepod-8"], "model: gemma3-4b cannot be used: MaxText's conv"),
        (
            {},
            ["v5litepod-8", "v5litepod-16"],
            "tpu_vm_accelerator_type: a v5litepod-16 has 4 workers, and training takes one. "
            "Choose v5litepod-8 or less",
        ),
        (
            {"model": "qwen3-14b"},
            ["v5litepod-8"],
            "model: qwen3-14b in bfloat16 with 1 sequence of 1024 tokens a device needs 17.69 GiB or more, "
            "and a v5litepod-8's device has 15.75 GiB (the TPU compiler's figure for qwen3-14b in bfloat16 "
            "with 1 sequence of 1024 tokens on a v5litepod-8). What fits: ",
        ),
        ({"model": "qwen3-32b"}, ["v6e-8"], "model: qwen3-32b in bfloat16"),
        ({"learning_rate": "0"}, ["v5litepod-8"], "learning_rate: '0' is not above 0, so nothing is learned"),
        ({"learning_rate": "fast"}, ["v5litepod-8"], "learning_rate: 'fast' is not a number"),
        ({"learning_rate": "nan"}, ["v5litepod-8"], "learning_rate: 'nan' is not above 0"),
        ({"num_epoch": 0}, ["v5litepod-8"], "sft_num_epoch: 0 is not a whole number above 0"),
        (
            {"recipe": {"gradient_accumulation_steps": "many"}},
            ["v5litepod-8"],
            "gradient_accumulation_steps: 'many' is not a whole number above 0",
        ),
        ({"per_device_batch_size": 0.5}, ["v5litepod-8"], "per_device_batch_size: 0.5 is not a whole number"),
        ({"per_device_batch_size": 1.5}, ["v5litepod-8"], "per_device_batch_size: 1.5 is not a whole number"),
        ({"per_device_batch_size": float("nan")}, ["v5litepod-8"], "per_device_batch_size: nan is not"),
        ({"max_target_length": -1}, ["v5litepod-8"], "max_target_length: -1 is not a whole number above 0"),
        ({"steps": float("inf")}, ["v5litepod-8"], "steps: inf is not a whole number above 0"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], types: list[str], said: str) -> None:
    with pytest.raises(HubError) as error:
        inputs.check(settings(**changes), types)
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_dtype": "float32"},
        {"model": "qwen3-0.6b", "learning_rate": "2e-5"},
        {"model": "qwen3-32b", "platform": "cpu"},
        {"model": "qwen3-32b", "arguments": ["override_model_config=True"]},
    ],
)
def test_what_may_work_is_not(changes: dict[str, Any]) -> None:
    assert inputs.check(settings(**changes), ["v5litepod-8"]) in ([], [inputs.ROUNDED])


def test_columns_are_refused_with_what_the_data_set_has() -> None:
    inputs.check_columns(settings(), None)
    with pytest.raises(
        HubError, match=r"train_data_columns: \[text\] is not .* Set train_data_columns to \[messages"
    ):
        inputs.check_columns(settings(train_data_columns=["text"]), ["text", "messages"])
    assert not settings(arguments=["formatting_func_path=x.py"]).own_rows


@pytest.mark.parametrize(
    ("changes", "warned"),
    [({}, True), ({"weight_dtype": "float32"}, False)],
)
def test_weights_that_lose_their_updates_are_a_warning(changes: dict[str, Any], warned: bool) -> None:
    warnings = inputs.check(settings(**changes), ["v5litepod-8"])
    assert (inputs.ROUNDED in warnings) == warned
    assert "sft_weight_dtype=float32" in inputs.ROUNDED


def test_what_nobody_knows_is_a_warning() -> None:
    _, warning = inputs.check(settings(model="llama3.1-8b", max_target_length=4096), ["v5litepod-8"])
    assert warning.startswith("it is not known whether llama3.1-8b in bfloat16")
    assert inputs.check(settings(model="other-7b"), ["v5litepod-8", "v9-8"]) != []


@pytest.mark.parametrize(
    ("files", "has"),
    [
        ({"tokenizer_config.json": '{"chat_template": "{{ messages }}"}'}, True),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "default", "template": "x"}]}'}, True),
        ({"tokenizer_config.json": '{"chat_template": ""}'}, False),
        ({"tokenizer_config.json": "{}", "chat_template.jinja": "{{ messages }}"}, True),
        ({"tokenizer_config.json": '{"eos_token": "</s>"}'}, False),
        ({"tokenizer_config.json": "{"}, False),
        ({}, False),
    ],
)
def test_a_chat_template(files: dict[str, str], has: bool) -> None:
    assert inputs.has_chat_template(files.get) is has


def test_a_row_that_does_not_work_is_named() -> None:
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    bad = {"messages": [{"role": "human", "content": "q"}]}
    inputs.check_rows([good] * 3, ["messages"], "me/data")
    with pytest.raises(HubError) as error:
        inputs.check_rows([good, good, bad, bad], ["messages"], "me/data")
    assert str(error.value).startswith("dataset: row 2 of me/data: a message has the role 'human'")
    assert "(2 of the 4 rows that were read)" in str(error.value)


def test_tokens_by_characters() -> None:
    rows = [{"question": "What is it?", "answer": "これは猫です。"}]
    amount = inputs.amount_of(rows, 1, ["question", "answer"])
    assert amount.likely == [11 // 4 + 7 + 2 * inputs.MESSAGE_TOKENS]
    assert amount.most == [11 + 21 + 2 * inputs.TEMPLATE_BYTES_MOST]
    counted = inputs.amount_of(rows, 1, ["question", "answer"], lambda texts: [len(text) for text in texts])
    assert counted.likely == [11 + 7 + 2 * inputs.MESSAGE_TOKENS]
    assert counted.most == [11 + 7 + 2 * inputs.TEMPLATE_TOKENS_MOST]


def test_what_a_template_adds_does_not_decide() -> None:
    """Qwen3's adds 14 tokens to a question and its answer, so 40 such rows of 29 tokens are 3 batches."""
    rows = [{"question": "q", "answer": "a"}] * 40
    amount = inputs.amount_of(rows, 40, ["question", "answer"], lambda texts: [7] * len(texts))
    plan = Plan(3, 8, 64)
    assert batches.shortage(amount, plan) is None
    assert batches.shortage(amount, Plan(6, 8, 64)) is not None
    (warning,) = data.unsure(amount, Plan(4, 8, 64))
    assert warning.startswith("The data set gives about 3 batches for 4 steps: it may end before")


def long_rows(question: int, answer: int, number: int) -> list[dict[str, Any]]:
    return [{"question": "word " * question, "answer": "word " * answer}] * number


def test_rows_that_are_cut_are_a_warning() -> None:
    columns = ["question", "answer"]
    assert inputs.check_length(long_rows(10, 10, 9), columns, 128) == []
    (warning,) = inputs.check_length([*long_rows(10, 500, 1), *long_rows(10, 10, 9)], columns, 128)
    assert warning == (
        "About 1 of the 10 rows that were read are longer than max_target_length (128 tokens) and are cut: "
        "their last answers have no end."
    )
    (hidden,) = inputs.check_length([*long_rows(500, 10, 1), *long_rows(10, 10, 9)], columns, 128)
    assert "1 of them even before the first answer, so nothing is learned from them" in hidden
    assert inputs.check_length([], columns, 128) == []


def test_rows_whose_answers_are_all_cut_off_are_refused() -> None:
    with pytest.raises(HubError) as error:
        inputs.check_length(long_rows(500, 10, 3), ["question", "answer"], 128)
    assert str(error.value) == (
        "max_target_length: 128 tokens end before the first answer in each of the 3 rows that were read, "
        "so nothing is learned. Set it to about 768 or more"
    )


@pytest.mark.parametrize(
    ("model", "accelerator_type", "size", "said"),
    [
        ("qwen3-4b", "v5litepod-8", 1, None),
        ("qwen3-8b", "v5litepod-8", 2, None),
        ("qwen3-8b", "v6e-8", 1, None),
        ("qwen3-14b", "v5p-8", 1, None),
        ("unheard-of", "v5litepod-8", 1, None),
        (
            "qwen3-8b",
            "v5litepod-8",
            1,
            "tensor_parallel_size: 1 is too small for qwen3-8b on a v5litepod-8: each chip would hold "
            "15.3 GiB of weights, and vLLM may use 14.5 GiB of it. Set tensor_parallel_size to 2 or more",
        ),
        ("llama3.1-8b", "v5litepod-4", 1, "tensor_parallel_size: 1 is too small for llama3.1-8b"),
        ("qwen3-32b", "v5litepod-8", 2, "Set tensor_parallel_size to 8"),
        ("llama3.1-70b", "v5litepod-8", 8, "Choose a tpu_vm_accelerator_type with more memory"),
        ("qwen3-4b", "v5litepod-4", 8, "tensor_parallel_size: 8 is more than the 4 chips of a v5litepod-4"),
        ("qwen3-4b", "v5litepod-8", 3, "tensor_parallel_size: 3 does not divide the 32 attention heads"),
        ("qwen3-14b", "v5litepod-8", 0, "tensor_parallel_size: 0 is not above 0"),
        ("qwen3-4b", "v4-8", 1, "tpu_vm_accelerator_type: vLLM cannot serve on a v4-8"),
    ],
)
def test_whether_serving_can_work(model: str, accelerator_type: str, size: int, said: str | None) -> None:
    if said is None:
        serving.check(model, [accelerator_type], size, 8192)
        return
    with pytest.raises(HubError) as error:
        serving.check(model, [accelerator_type], size, 8192)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("plans", "megabytes"),
    [([], 4), ([Plan(1, 8, 128)], 4), ([Plan(100, 8, 1024)], 9.375), ([Plan(9999, 8, 1024)], 32)],
)
def test_no_more_is_read_than_the_steps_need(plans: list[Plan], megabytes: float) -> None:
    assert data.budget(plans) == megabytes * 2**20


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_several_answers_in_a_row_are_told() -> None:
    one = [message("user", "a"), message("assistant", "b")]
    chats = [{"messages": one}, {"messages": one * 2}, {"messages": one * 3}]
    told = inputs.check_turns(chats, ["messages"])
    assert len(told) == 1
    assert told[0].startswith(
        "dataset: 2 of the 3 rows that were read have several answers. MaxText renders "
    )
    assert inputs.check_turns(chats[:1], ["messages"]) == []
    assert inputs.check_turns([{"question": "a", "answer": "b"}], ["question", "answer"]) == []
    pairs = {"prompt": [one[0]] * 2, "completion": [one[1]] * 2}
    assert len(inputs.check_turns([pairs], ["prompt", "completion"])) == 1


LORA: dict[str, Any] = {"lora_rank": 16, "lora_alpha": 32.0}


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"learning_rate_schedule_steps": 99}, "learning_rate_schedule_steps: 99 is less than steps"),
        (
            {"lr_schedule_type": "wsd", "warmup_steps_fraction": 0.95},
            "warmup_steps_fraction: 0.95 and the last",
        ),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: 0 is not a whole number above 0"),
        ({"lora_module_path": "x"}, "lora_module_path: without lora_rank"),
        ({**LORA, "lora_alpha": 0}, "lora_alpha: with 0 the adapters change nothing. Set 32"),
        ({**LORA, "lora_module_path": "("}, "is no regular expression"),
        ({**LORA, "lora_module_path": "query"}, "matches no linear layer of qwen3-4b"),
        ({**LORA, "lora_module_path": "*.query"}, "is no regular expression"),
        ({**LORA, "lora_module_path": "[d].*"}, "is not what MaxText's command line reads"),
        ({**LORA, "lora_module_path": ".*query|${x}"}, "is not what MaxText's command line reads"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(recipe: dict[str, Any], said: str) -> None:
    with pytest.raises(HubError, match=re.escape(said)):
        inputs.check(settings(recipe=recipe), ["v5litepod-8"])


@pytest.mark.parametrize(
    "recipe",
    [
        {"learning_rate_schedule_steps": 100},
        {"lr_schedule_type": "wsd", "warmup_steps_fraction": "0.9"},
        {**LORA, "lora_module_path": ".*self_attention/(query|value)"},
        {**LORA, "lora_module_path": "decoder/layers/mlp/wo"},
        LORA,
    ],
)
def test_a_recipe_that_can_work_is_taken(recipe: dict[str, Any]) -> None:
    inputs.check(settings(recipe=recipe), ["v5litepod-8"])


def test_adapters_need_less_memory_and_lose_no_updates() -> None:
    given = {"model": "qwen3-14b", "weight_dtype": "bfloat16"}
    with pytest.raises(HubError, match="qwen3-14b in bfloat16"):
        inputs.check(settings(**given), ["v5litepod-8"])
    assert inputs.check(settings(**given, recipe=LORA), ["v5litepod-8"]) == []
    with pytest.raises(
        HubError, match=r"LoRA of rank 16 on qwen3-14b in bfloat16.* needs more than 5\d\.\d GiB"
    ):
        inputs.check(settings(**given, recipe=LORA), ["v5litepod-1"])
    assert inputs.check(settings(weight_dtype="bfloat16", recipe=LORA), ["v5litepod-8"]) == []


def test_accumulated_gradients_need_memory() -> None:
    """One more copy of the weights: 1.9 GiB for Qwen3 8B in bfloat16 on v5litepod-8."""
    asked = ("qwen3-8b", "bfloat16", "v5litepod-8", 1, 1024)
    alone, more = memory.fits(*asked).needed, memory.fits(*asked, accumulated=True).needed
    assert alone and more
    assert more - alone == pytest.approx(2 * MODELS["qwen3-8b"].parameters / 8 / 2**30, abs=0.01)


def test_adapters_are_counted_in_float32_though_they_were_compiled_in_bfloat16() -> None:
    """33 million for Qwen3 4B and rank 16: values, moments, gradients and new values, two bytes more each."""
    row = next(
        row
        for row in ROWS
        if (row.accelerator_type, row.recipe.model, row.recipe.rank) == ("v5litepod-4", "qwen3-4b", 16)
    )
    needed = memory.fits(
        "qwen3-4b", row.recipe.dtype, "v5litepod-4", row.recipe.batch, row.recipe.length, 16
    ).needed
    assert needed == pytest.approx(row.total + 33_030_144 * 5 * 2 / 2**30, abs=0.01)
