# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a training and a server are told, and what of it cannot work, before anything is created."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import (
    conversations,
    maxtext_settings,
    memory,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.batches import Amount, Plan
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import MODELS, REFUSED

# What a chat template adds to a message: about, and at most, in tokens and in bytes. Qwen3's adds 14 tokens
# to a question and its answer. Llama 3.1's, which writes the date, adds 35.
MESSAGE_TOKENS = 7
TEMPLATE_TOKENS_MOST = 20
TEMPLATE_BYTES_MOST = 128
CHARACTERS_A_TOKEN = 4  # of ASCII; other characters are about a token each
CAUTION = 2  # such an estimate may be wrong by
# Of a schedule, in which wsd lowers the rate (MaxText's wsd_decay_steps_fraction).
WSD_DECAY = 0.1
# Modules that can have an adapter, of the models that are known here, with stacked layers.
LINEAR = [
    f"decoder/layers/{module}"
    for module in (
        *(f"self_attention/{each}" for each in ("query", "key", "value", "out")),
        *(f"mlp/{each}" for each in ("wi_0", "wi_1", "wo")),
    )
]


@dataclass(frozen=True)
class Settings:
    """The trainer's settings, those included that are in its arguments alone (maxtext_settings.py)."""

    model: str
    steps: int
    batch: float
    length: int
    dtype: str
    epochs: int
    packing: bool
    accumulation: int
    learning_rate: str
    schedule: int
    schedule_type: str
    warmup: float
    lora_rank: int
    lora_alpha: float
    lora_modules: str
    split: str
    columns: list[str]
    config: str | None
    platform: str
    flags: str
    own_shape: bool
    own_rows: bool

    def plan(self, accelerator_type: str) -> Plan | None:
        """The batches that are asked for; None where the number of devices is not known."""
        devices = accelerators.devices(accelerator_type)
        if self.platform == "cpu":
            forced = re.search(r"--xla_force_host_platform_device_count=(\d+)", self.flags)
            devices = int(forced.group(1)) if forced else 1
        if not devices:
            return None
        sequences = max(1, int(self.batch * devices * self.accumulation))
        return Plan(self.steps, sequences, self.length, self.epochs, self.packing, self.batch)


def settings(params: dict[str, Any]) -> Settings:
    """From the options and the trainer's arguments, of which the last one with a name wins.

    Raises HubError for one that is not what MaxText takes.
    """
    given = dict(maxtext_settings.parsed(params["arguments"]))

    def number(name: str, value: Any) -> float:
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        # Of a part of a sequence for each device MaxText makes a whole one, or cannot share the batch.
        if not 0 < found < math.inf or found != int(found):
            raise HubError(f"{name}: {value!r} is not a whole number above 0. Set one")
        return found

    def flag(name: str, default: bool) -> bool:
        return given[name].lower() in ("true", "1", "yes") if name in given else default

    recipe = params.get("recipe") or {}

    def of_recipe(name: str, default: float) -> float:
        try:
            return float(recipe.get(name, default))
        except (TypeError, ValueError) as error:
            raise HubError(f"{name}: {recipe[name]!r} is not a number. Set one") from error

    return Settings(
        model=params["model"],
        steps=int(number("steps", params["steps"])),
        batch=number("per_device_batch_size", params["per_device_batch_size"]),
        length=int(number("max_target_length", params["max_target_length"])),
        dtype=params["weight_dtype"],
        epochs=int(number("sft_num_epoch", params["num_epoch"])),
        packing=flag("packing", True),
        accumulation=int(number("gradient_accumulation_steps", recipe.get("gradient_accumulation_steps", 1))),
        learning_rate=params["learning_rate"],
        schedule=int(of_recipe("learning_rate_schedule_steps", 0)),
        schedule_type=str(recipe.get("lr_schedule_type", "cosine")),
        warmup=of_recipe("warmup_steps_fraction", 0.1),
        lora_rank=int(of_recipe("lora_rank", 0)),
        lora_alpha=of_recipe("lora_alpha", 0),
        lora_modules=str(recipe.get("lora_module_path", "")),
        split=params["train_split"],
        columns=params["train_data_columns"],
        config=params["dataset_config"] or None,
        platform=params["platform"],
        flags=str(params["environment"].get("XLA_FLAGS", "")),
        own_shape=not flag("override_model_config", False),
        own_rows="formatting_func_path" not in given,
    )


# Beginnings of messages about what another commit may have otherwise -> what names the commit.
_OF_A_COMMIT = (
    (r"dataset: (?!there is no )", "dataset_revision"),
    (r"(dataset_config|train_split|train_data_columns|max_target_length): ", "dataset_revision"),
    (r"steps: \d+ steps need ", "dataset_revision"),
    (r"model: the tokenizer ", "tokenizer_revision"),
)


def for_a_run(message: str, run: str | None) -> str:
    """The message, and how a run goes on that has begun with another commit."""
    option = next((option for start, option in _OF_A_COMMIT if re.match(start, message)), None)
    if run is None or option is None:
        return message
    return f"{message}. If run {run} has begun, it keeps its commit. Set {option} to that commit."


ROUNDED = (
    "weight_dtype: bfloat16 loses most of the training. At a learning rate of 2e-5 the update of 61 to 89 % "
    "of the weights is less than half a unit in their last place, and is rounded away. Choose a "
    "tpu_vm_accelerator_type with more memory and sft_weight_dtype=float32, or a higher learning_rate."
)


def check(given: Settings, accelerator_types: list[str]) -> list[str]:
    """Raises HubError for what is known not to work; warnings of what is not known."""
    if given.model in REFUSED:
        raise HubError(f"model: {given.model} cannot be used: {REFUSED[given.model]}")
    check_learning_rate(given.learning_rate)
    check_schedule(given)
    check_lora(given)
    rounded = [ROUNDED] if given.dtype == "bfloat16" and not given.lora_rank else []
    return rounded + [warning for each in accelerator_types for warning in check_type(given, each)]


def check_columns(given: Settings, there: list[str] | None) -> None:
    """That MaxText takes these columns. there: those of the data set, None where not known."""
    problem = conversations.columns_problem(given.columns, there)
    if problem:
        raise HubError(f"train_data_columns: {problem}")


def check_learning_rate(value: str) -> None:
    if value == "":
        return
    try:
        rate = float(value)
    except ValueError as error:
        raise HubError(f"learning_rate: {value!r} is not a number. Set one such as 2.e-5") from error
    if not 0 < rate < math.inf:
        raise HubError(f"learning_rate: {value!r} is not above 0, so nothing is learned. Set 2.e-5, say")


def check_schedule(given: Settings) -> None:
    """That the rate is above 0 in each step but the first."""
    if 0 < given.schedule < given.steps:
        raise HubError(
            f"learning_rate_schedule_steps: {given.schedule} is less than steps ({given.steps}): the "
            f"learning rate is 0 in the steps after it. Set it to {given.steps} or more, or to 0"
        )
    if given.schedule_type == "wsd" and given.warmup + WSD_DECAY > 1:
        raise HubError(
            f"warmup_steps_fraction: {given.warmup:g} and the last {WSD_DECAY:g} of the schedule, in which "
            f"wsd lowers the rate, are more than all of it. Set {1 - WSD_DECAY:g} or less"
        )


def check_lora(given: Settings) -> None:
    """That the adapters are trained, and that the export can merge them."""
    if not given.lora_rank:
        if given.lora_modules:
            raise HubError(
                "lora_module_path: without lora_rank there are no adapters. Set lora_rank, to 16 say, or "
                "leave it out"
            )
        return
    if given.lora_alpha <= 0:
        raise HubError(
            f"lora_alpha: with {given.lora_alpha:g} the adapters change nothing. Set "
            f"{2 * given.lora_rank}, say"
        )
    if not given.lora_modules:
        return
    try:
        chosen = re.compile(given.lora_modules)
    except re.error as error:
        raise HubError(
            f"lora_module_path: {given.lora_modules!r} is no regular expression ({error}). Correct it"
        ) from error
    # MaxText's command line reads the value as YAML and replaces a name in braces after a dollar.
    strange = given.lora_modules[0] not in string.ascii_letters + "(.^"
    if strange or re.search(r"\$\{|: | #", given.lora_modules):
        raise HubError(
            f"lora_module_path: {given.lora_modules!r} is not what MaxText's command line reads as a string. "
            "Begin it with a letter, a dot or a bracket, without '${', ': ' and ' #'"
        )
    if given.model in MODELS and not any(map(chosen.fullmatch, LINEAR)):
        raise HubError(
            f"lora_module_path: {given.lora_modules!r} matches no linear layer of {given.model}. It "
            f"must match the whole path, such as {LINEAR[0]}"
        )


def check_type(given: Settings, accelerator_type: str) -> list[str]:
    workers, kind = accelerators.workers(accelerator_type), accelerators.generation(accelerator_type)
    if workers and workers > 1 and kind:
        prefix = accelerator_type.partition("-")[0]
        raise HubError(
            f"tpu_vm_accelerator_type: a {accelerator_type} has {workers} workers, and training takes "
            f"one. Choose {prefix}-{kind.host_chips * kind.cores} or less"
        )
    if given.platform == "cpu" or not given.own_shape:
        return []
    asked = (given.batch, given.length, given.lora_rank, given.accumulation > 1)
    fit = memory.fits(given.model, given.dtype, accelerator_type, *asked)
    if fit.verdict == memory.TOO_LARGE:
        fitting = memory.remedies(given.model, given.dtype, accelerator_type, *asked)
        remedy = f"What fits: {', or '.join(fitting)}" if fitting else "Choose a smaller model"
        raise HubError(f"model: {fit}. {remedy}")
    return [f"{fit}."] if fit.verdict == memory.UNKNOWN else []


def has_chat_template(text: Callable[[str], str | None]) -> bool:
    """Whether a tokenizer has one; text: gives a file of its repository, or None."""
    if (text("chat_template.jinja") or "").strip():
        return True
    try:
        config = json.loads(text("tokenizer_config.json") or "{}")
    except ValueError:
        return False
    return bool(isinstance(config, dict) and config.get("chat_template"))


def check_rows(rows: list[dict[str, Any]], columns: list[str], dataset: str) -> None:
    """That MaxText trains on each of these rows as it is written."""
    problems = [(number, conversations.problem(row, columns)) for number, row in enumerate(rows)]
    bad = [(number, problem) for number, problem in problems if problem]
    if bad:
        number, problem = bad[0]
        raise HubError(
            f"dataset: row {number} of {dataset}: {problem} ({len(bad)} of the {len(rows)} rows that were "
            "read). Correct such rows or leave them out"
        )


def check_turns(rows: list[dict[str, Any]], columns: list[str]) -> list[str]:
    """A warning where training sees a conversation otherwise than a server renders it."""
    several = sum(conversations.answers(row, columns) > 1 for row in rows)
    if not several:
        return []
    return [
        f"dataset: {several} of the {len(rows)} rows that were read have several answers. MaxText renders "
        "each answer with the messages since the one before. So what the chat template writes once for a "
        "conversation, such as a default system message or the empty think block of Qwen3, stands before "
        "each answer. A server writes it once. One answer a row avoids this."
    ]


def amount_of(
    rows: list[dict[str, Any]],
    total: int | None,
    columns: list[str],
    count: Callable[[list[str]], list[int] | None] = lambda _texts: None,
) -> Amount:
    """Rows and tokens; count: gives the tokens of texts, or None: then they are told by their characters."""
    texts = [conversations.texts(row, columns) for row in rows]
    found = count([text for row in texts for text in row])
    if found is not None:
        numbers = iter(found)
        counted = [sum(next(numbers) for _text in row) for row in texts]
        likely, most = (
            [number + each * len(row) for number, row in zip(counted, texts)]
            for each in (MESSAGE_TOKENS, TEMPLATE_TOKENS_MOST)
        )
        return Amount(total, likely, most)
    likely = [tokens(row) for row in texts]
    most = [sum(len(text.encode()) + TEMPLATE_BYTES_MOST for text in row) for row in texts]
    return Amount(total, likely, most)


def check_length(rows: list[dict[str, Any]], columns: list[str], length: int) -> list[str]:
    """A warning of rows that are cut, by their characters; HubError where no answer is left of any."""
    whole = [tokens(conversations.texts(row, columns)) for row in rows]
    asked = [tokens(conversations.question(row, columns)) for row in rows]
    cut, hidden = sum(each > length for each in whole), sum(each > length for each in asked)
    if rows and min(asked) > length * CAUTION:
        enough = -(-max(whole) // 128) * 128
        raise HubError(
            f"max_target_length: {length} tokens end before the first answer in each of the {len(rows)} rows "
            f"that were read, so nothing is learned. Set it to about {enough} or more"
        )
    if not cut:
        return []
    lost = (
        f", {hidden} of them even before the first answer, so nothing is learned from them" if hidden else ""
    )
    return [
        f"About {cut} of the {len(rows)} rows that were read are longer than max_target_length "
        f"({length} tokens) and are cut{lost}: their last answers have no end."
    ]


def tokens(texts: list[str]) -> int:
    return sum(about(text) + MESSAGE_TOKENS for text in texts)


def about(text: str) -> int:
    """Tokens of a text, about. There are never more than its bytes: tokenizers fall back to those."""
    ascii_only = len(text) if text.isascii() else sum(character < "\x80" for character in text)
    return ascii_only // CHARACTERS_A_TOKEN + len(text) - ascii_only
