# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of models says, and what becomes of a name that is not in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.tpuops.maxtext.plugins.filter.known_model import (
    base_dtype,
    hub_bytes,
    hub_repository,
    model_arguments,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import models

ROOT = Path(__file__).parents[4]
#: Repositories that hold the head of a model with tied embeddings a second time.
WITH_A_COPY = {"qwen3-0.6b", "qwen3-1.7b"}


def test_a_name_alone_gives_the_repository_and_the_arguments() -> None:
    assert hub_repository("qwen3-4b") == "Qwen/Qwen3-4B"
    assert model_arguments("qwen3-4b") == ["model_name=qwen3-4b"]
    assert model_arguments("qwen3-4b", "export") == ["model_name=qwen3-4b"]
    # MaxText's converters know no 1.7B: they take it as the 0.6B, which has as many layers, with other sizes.
    own = ["model_name=qwen3-0.6b", "override_model_config=True", "base_emb_dim=2048", "base_mlp_dim=6144"]
    assert hub_repository("qwen3-1.7b") == "Qwen/Qwen3-1.7B"
    assert model_arguments("qwen3-1.7b") == own
    assert model_arguments("qwen3-1.7b", "export") == [*own, "--override_model_architecture"]
    assert hub_repository("llama3.3-70b") == "meta-llama/Llama-3.3-70B-Instruct"
    assert model_arguments("llama3.3-70b") == ["model_name=llama3.1-70b"]


def test_a_name_that_is_not_in_the_table_is_maxtext_s() -> None:
    assert model_arguments("gemma2-2b", "export") == ["model_name=gemma2-2b"]
    assert hub_bytes("me/other") is None
    assert hub_bytes("Qwen/Qwen3-4B") == models.TABLE["qwen3-4b"].hub_bytes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qwen3-4bb", "model: qwen3-4bb is not in the table of models. Did you mean qwen3-4b?"),
        ("Qwen3-14B", "Did you mean qwen3-14b?"),
        ("Qwen/Qwen3-8B", "Did you mean qwen3-8b?"),
        ("llama3.1-8b-instruct", "model: llama3.1-8b-instruct is not in the table"),
        (
            "gpt9-20b",
            "model: gpt9-20b is not in the table of models. Set hf_model=USER/NAME to its repository on the "
            "Hub, or choose one of qwen3-0.6b, ",
        ),
        ("olmo3-7b", "model: olmo3-7b cannot be used: MaxText 0.2.5 converts it from the Hub but not back"),
        ("llama3.2-1b", "its rope is scaled by 32, and MaxText 0.2.5 always scales by 8"),
        ("mistral-7b", "model: mistral-7b cannot be used: "),
        ("qwen3-8b-base", "Set model=qwen3-8b and hf_model=Qwen/Qwen3-8B-Base"),
    ],
)
def test_other_names_are_refused_with_what_to_do(name: str, said: str) -> None:
    with pytest.raises(AnsibleFilterError) as refused:
        hub_repository(name)
    assert said in str(refused.value)


def test_what_maxtext_scales_is_stored_in_float32() -> None:
    """1 / sqrt(128) is no power of two: in bfloat16 the queries are rounded, and do not come back."""
    assert base_dtype("auto", "llama3.1-8b") == "float32"
    assert base_dtype("auto", "llama3.3-70b") == "float32"
    assert base_dtype("auto", "gemma2-2b") == "float32"
    assert base_dtype("bfloat16", "llama3.1-8b") == "bfloat16"
    assert base_dtype("auto", "qwen3-4b") == "auto"


@pytest.mark.parametrize("name", models.TABLE)
def test_a_row_holds_together(name: str) -> None:
    row = models.TABLE[name]
    shape = models.MODELS[name]
    copy = 2 * shape.embedding * shape.vocabulary if name in WITH_A_COPY else 0
    assert row.hub_bytes == pytest.approx(2 * shape.parameters + copy, rel=0.01)
    assert row.gated == row.hub.startswith("meta-llama/")
    assert row.licence
    assert name not in models.REFUSED
    assert row.architecture in models.SERVED_BY
    assert len([each for each in models.TABLE.values() if each.hub == row.hub]) == 1


@pytest.mark.parametrize("name", models.REFUSED)
def test_a_refusal_says_why_and_what_to_do(name: str) -> None:
    assert ". " in models.REFUSED[name]
    assert not models.REFUSED[name].endswith(".")


@pytest.mark.parametrize(
    ("name", "billions"),
    [  # as the models' cards have them
        ("qwen3-1.7b", 1.72),
        ("qwen3-30b-a3b", 30.53),
        ("qwen2.5-1.5b", 1.544),
        ("qwen2.5-7b", 7.62),
        ("qwen2.5-14b", 14.77),
        ("llama3.3-70b", 70.55),
    ],
)
def test_parameters(name: str, billions: float) -> None:
    assert models.MODELS[name].parameters / 1e9 == pytest.approx(billions, rel=0.002)


QWEN3_4B = {
    "architectures": ["Qwen3ForCausalLM"],
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_attention_heads": 32,
    "num_hidden_layers": 36,
    "num_key_value_heads": 8,
}
QWEN3_8B = {**QWEN3_4B, "hidden_size": 4096, "intermediate_size": 12288}
A3B = {
    "architectures": ["Qwen3MoeForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_attention_heads": 32,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
}


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("qwen3-4b", QWEN3_4B, None),
        ("qwen3-4b-thinking-2507", QWEN3_4B, None),
        ("qwen3-30b-a3b", A3B, None),
        ("qwen3-4b", {"text_config": QWEN3_4B}, None),
        ("qwen3-4b", {}, None),  # it does not say
        ("gemma2-2b", QWEN3_4B, None),  # nobody knows its shape
        (
            "qwen3-4b",
            QWEN3_8B,
            "model: me/mine has hidden_size 4096, and qwen3-4b has 2560. Set model to qwen3-8b",
        ),
        (
            "llama3.1-8b",
            QWEN3_8B,
            "model: me/mine is a Qwen3ForCausalLM, and llama3.1-8b is a LlamaForCausalLM. "
            "Set model to qwen3-8b",
        ),
        (
            "qwen3-4b",
            {**QWEN3_4B, "num_hidden_layers": 12},
            "model: me/mine has num_hidden_layers 12, and qwen3-4b has 36. No model of docs/models.md has "
            "the sizes of me/mine. Choose another hf_model",
        ),
        (
            "qwen3-4b",
            {"architectures": ["PhiForCausalLM"]},
            "model: me/mine is a PhiForCausalLM, and qwen3-4b is a Qwen3ForCausalLM. No model",
        ),
        ("qwen3-4b", {"architectures": "x", "hidden_size": None}, None),
    ],
)
def test_a_repository_of_another_model_is_told_which(
    name: str, config: dict[str, Any], said: str | None
) -> None:
    found = models.other_model(name, "me/mine", config)
    assert found == said or (said and found and found.startswith(said))


def test_the_default_model_is_in_the_table() -> None:
    defaults = yaml.safe_load((ROOT / "roles/common/defaults/main.yml").read_text(encoding="utf-8"))
    assert defaults["model"] in models.TABLE
