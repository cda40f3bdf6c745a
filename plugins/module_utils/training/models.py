# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of models: the table of those that work, their shapes, and why others cannot work here.

What is said of MaxText was read in its version 0.2.5: configs/models, and the tables of the converters in
checkpoint_conversion/utils (param_mapping, hf_shape, hf_model_configs) and utils/globals (HF_IDS). An export
needs an entry in each of them. What is said of serving was read in tpu-inference 0.32.0
(models/common/model_loader.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Model:
    """The shape of a decoder, from MaxText's configs/models. tied: the output layer is the embedding."""

    family: str
    embedding: int
    heads: int
    kv_heads: int
    mlp: int
    layers: int
    vocabulary: int
    head: int = 128
    tied: bool = False
    experts: int = 0

    @property
    def parameters(self) -> int:
        """Their number; what only some families have (norms of heads, biases) is included."""
        attention = 2 * self.embedding * self.head * (self.heads + self.kv_heads)
        if self.family == "qwen2.5":
            attention += self.head * (self.heads + 2 * self.kv_heads)
        norms = 2 * self.embedding + (2 * self.head if self.family.startswith("qwen3") else 0)
        mlp = 3 * self.embedding * self.mlp * max(self.experts, 1) + self.embedding * self.experts
        layer = attention + mlp + norms
        embeddings = self.vocabulary * self.embedding * (1 if self.tied else 2)
        return embeddings + self.layers * layer + self.embedding

    def within(self, other: Model) -> bool:
        """Whether no array of this model is larger than the same one of the other."""
        sizes = [
            (
                each.embedding,
                each.heads,
                each.kv_heads,
                each.mlp,
                each.layers,
                each.vocabulary,
                each.head,
                each.experts,
            )
            for each in (self, other)
        ]
        return (
            self.family == other.family
            and (self.tied or not other.tied)
            and all(mine <= others for mine, others in zip(*sizes))
        )


_SHAPES = {
    "qwen3-0.6b": Model("qwen3", 1024, 16, 8, 3072, 28, 151936, tied=True),
    "qwen3-1.7b": Model("qwen3", 2048, 16, 8, 6144, 28, 151936, tied=True),
    "qwen3-4b": Model("qwen3", 2560, 32, 8, 9728, 36, 151936, tied=True),
    "qwen3-8b": Model("qwen3", 4096, 32, 8, 12288, 36, 151936),
    "qwen3-14b": Model("qwen3", 5120, 40, 8, 17408, 40, 151936),
    "qwen3-32b": Model("qwen3", 5120, 64, 8, 25600, 64, 151936),
    "qwen3-30b-a3b": Model("qwen3-moe", 2048, 32, 4, 768, 48, 151936, experts=128),
    "qwen2.5-1.5b": Model("qwen2.5", 1536, 12, 2, 8960, 28, 151936, tied=True),
    "qwen2.5-7b": Model("qwen2.5", 3584, 28, 4, 18944, 28, 152064),
    "qwen2.5-14b": Model("qwen2.5", 5120, 40, 8, 13824, 48, 152064),
    "llama3.1-8b": Model("llama3.1", 4096, 32, 8, 14336, 32, 128256),
    "llama3.1-70b": Model("llama3.1", 8192, 64, 8, 28672, 80, 128256),
}
# Other names of the same shapes.
MODELS = {
    **_SHAPES,
    **{f"{name}-base": _SHAPES[name] for name in ("qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b")},
    **{f"qwen3-4b-{kind}-2507": _SHAPES["qwen3-4b"] for kind in ("instruct", "thinking")},
    **{f"qwen3-30b-a3b-{kind}-2507": _SHAPES["qwen3-30b-a3b"] for kind in ("instruct", "thinking")},
    "llama3.1-8b-Instruct": _SHAPES["llama3.1-8b"],
    "llama3.3-70b": _SHAPES["llama3.1-70b"],
}

QWEN3, QWEN3_MOE = "Qwen3ForCausalLM", "Qwen3MoeForCausalLM"
QWEN2, LLAMA = "Qwen2ForCausalLM", "LlamaForCausalLM"
# Architectures, as config.json calls them -> which of its models vLLM takes on a TPU.
SERVED_BY = {QWEN3: "JAX", QWEN2: "JAX", LLAMA: "JAX", QWEN3_MOE: "PyTorch"}


@dataclass(frozen=True)
class Row:
    """A model that works from the Hub to the server. Its chat template is that of its own repository.

    hub: its repository. preset: what MaxText is told as model_name. arguments: what every MaxText program is
    told on top, where the preset is that of another model; override: whether the exporter must be told to
    believe that. hub_bytes: of its safetensors files.
    """

    hub: str
    preset: str
    architecture: str
    licence: str
    hub_bytes: float
    gated: bool = False
    arguments: tuple[str, ...] = ()
    override: bool = False


def _llama(hub: str, preset: str, licence: str, hub_bytes: float) -> Row:
    return Row(f"meta-llama/{hub}", preset, LLAMA, licence, hub_bytes, gated=True)


def _qwen(hub: str, preset: str, hub_bytes: float, architecture: str = QWEN3, *arguments: str) -> Row:
    return Row(f"Qwen/{hub}", preset, architecture, "apache-2.0", hub_bytes, arguments=arguments)


TABLE = {
    "qwen3-0.6b": _qwen("Qwen3-0.6B", "qwen3-0.6b", 1.503e9),
    # MaxText's exporter knows no 1.7B. The 0.6B has as many layers, heads and norms.
    "qwen3-1.7b": Row(
        "Qwen/Qwen3-1.7B",
        "qwen3-0.6b",
        QWEN3,
        "apache-2.0",
        4.064e9,
        arguments=("override_model_config=True", "base_emb_dim=2048", "base_mlp_dim=6144"),
        override=True,
    ),
    "qwen3-4b": _qwen("Qwen3-4B", "qwen3-4b", 8.045e9),
    # Both of 2507 have a rope base of 5000000, as this preset.
    "qwen3-4b-instruct-2507": _qwen("Qwen3-4B-Instruct-2507", "qwen3-4b-thinking-2507", 8.045e9),
    "qwen3-4b-thinking-2507": _qwen("Qwen3-4B-Thinking-2507", "qwen3-4b-thinking-2507", 8.045e9),
    "qwen3-8b": _qwen("Qwen3-8B", "qwen3-8b", 16.38e9),
    "qwen3-14b": _qwen("Qwen3-14B", "qwen3-14b", 29.54e9),
    "qwen3-32b": _qwen("Qwen3-32B", "qwen3-32b", 65.52e9),
    # MaxText's preset has the rope base of 2507, which is ten times this one's.
    "qwen3-30b-a3b": _qwen(
        "Qwen3-30B-A3B",
        "qwen3-30b-a3b",
        61.07e9,
        QWEN3_MOE,
        "override_model_config=True",
        "rope_max_timescale=1000000",
    ),
    "qwen3-30b-a3b-instruct-2507": _qwen("Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b", 61.07e9, QWEN3_MOE),
    "qwen3-30b-a3b-thinking-2507": _qwen("Qwen3-30B-A3B-Thinking-2507", "qwen3-30b-a3b", 61.07e9, QWEN3_MOE),
    "qwen2.5-1.5b": _qwen("Qwen2.5-1.5B-Instruct", "qwen2.5-1.5b", 3.087e9, QWEN2),
    "qwen2.5-7b": _qwen("Qwen2.5-7B-Instruct", "qwen2.5-7b", 15.23e9, QWEN2),
    "qwen2.5-14b": _qwen("Qwen2.5-14B-Instruct", "qwen2.5-14b", 29.54e9, QWEN2),
    "llama3.1-8b": _llama("Llama-3.1-8B-Instruct", "llama3.1-8b", "llama3.1", 16.06e9),
    "llama3.1-70b": _llama("Llama-3.1-70B-Instruct", "llama3.1-70b", "llama3.1", 141.1e9),
    # MaxText scales the rope by the name, which must begin with llama3.1; its converters know no 3.3.
    "llama3.3-70b": _llama("Llama-3.3-70B-Instruct", "llama3.1-70b", "llama3.3", 141.1e9),
}

CHOOSE = "Choose a model of docs/models.md"
_GEMMA3 = (
    "MaxText's converter loads it with PyTorch, which the locked training environment does not have. "
    f"{CHOOSE}"
)
_NO_CONVERTER = f"MaxText 0.2.5 has no converter for it. {CHOOSE}"
_ONE_WAY = f"MaxText 0.2.5 converts it from the Hub but not back. {CHOOSE}"
_ROPE = f"its rope is scaled by 32, and MaxText 0.2.5 always scales by 8. {CHOOSE}"
_NO_PRESET = f"MaxText 0.2.5 has no preset with its number of layers. {CHOOSE}"
_MIXTRAL = (
    f"MaxText 0.2.5 converts its router into an array of another shape and fails (scan_layers). {CHOOSE}"
)


def _same(name: str, hub: str) -> str:
    return f"MaxText 0.2.5 does not convert it back under this name. Set model={name} and hf_model={hub}"


# Models that cannot work with the locked environments -> why, and what to do.
REFUSED = {
    **dict.fromkeys(("gemma3-4b", "gemma3-12b", "gemma3-27b"), _GEMMA3),
    **dict.fromkeys(("olmo3-7b", "olmo3-7b-pt", "olmo3-32b"), _ONE_WAY),
    **dict.fromkeys(("mixtral-8x7b", "mixtral-8x22b"), _MIXTRAL),
    **dict.fromkeys(("llama2-7b", "llama2-13b", "llama2-70b", "llama3-8b", "llama3-70b"), _NO_CONVERTER),
    **dict.fromkeys(("mistral-7b", "gemma-2b", "gemma-7b"), _NO_CONVERTER),
    **dict.fromkeys(("llama3.2-1b", "llama3.2-3b"), _ROPE),
    **dict.fromkeys(("qwen2.5-0.5b", "qwen2.5-3b", "qwen2.5-32b", "qwen2.5-72b"), _NO_PRESET),
    "qwen3-1.7b-base": _same("qwen3-1.7b", "Qwen/Qwen3-1.7B-Base"),
    "qwen3-4b-base": _same("qwen3-4b", "Qwen/Qwen3-4B-Base"),
    "qwen3-8b-base": _same("qwen3-8b", "Qwen/Qwen3-8B-Base"),
    "qwen3-14b-base": _same("qwen3-14b", "Qwen/Qwen3-14B-Base"),
    "qwen3-30b-a3b-base": _same("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B-Base"),
    "llama3.1-8b-Instruct": _same("llama3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"),
    "llama3.1-70b-Instruct": _same("llama3.1-70b", "meta-llama/Llama-3.1-70B-Instruct"),
}

# Of these families MaxText holds some arrays scaled (Llama's queries by 1 / sqrt(head), Gemma's embedding and
# norms). In bfloat16 that rounds them, and the way back gives other bits.
SCALED = ("llama", "gemma")


def preset(name: str) -> str:
    """MaxText's name of a model; a name that is not in the table is MaxText's own."""
    return TABLE[name].preset if name in TABLE else name


def arguments(name: str, program: str = "") -> list[str]:
    """What a MaxText program is told of the model; program: "export" for the one that has an option more."""
    row = TABLE.get(name)
    own = [f"model_name={preset(name)}", *(row.arguments if row else ())]
    return own + ["--override_model_architecture"] * bool(row and row.override and program == "export")


def base_dtype(asked: str, name: str) -> str:
    """What the converted model is stored in; auto where the tensors decide."""
    return "float32" if asked == "auto" and preset(name).startswith(SCALED) else asked


def other_model(name: str, repository: str, config: dict[str, Any]) -> str | None:
    """How a repository is not the model, by its config.json, and which it is; None where it does not differ.

    A user's own fine-tune has the architecture and the sizes of its row. What MaxText computes is compared
    with all of config.json later, where MaxText is installed.
    """
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    if name not in TABLE or not (differing := _difference(name, config, text)):
        return None
    meant = [each for each in TABLE if not _difference(each, config, text)]
    # Of several with the same shapes the plain name comes first. Their rope is compared on the node.
    remedy = (
        f"Set model to {meant[0]}"
        if meant
        else f"No model of docs/models.md has the sizes of {repository}. Choose another hf_model"
    )
    return f"model: {repository} {differing}. {remedy}"


def _difference(name: str, config: dict[str, Any], text: dict[str, Any]) -> str | None:
    theirs, ours = config.get("architectures"), TABLE[name].architecture
    if isinstance(theirs, list) and theirs and ours not in theirs:
        return f"is a {theirs[0]}, and {name} is a {ours}"
    shape = MODELS[name]
    sizes = {
        "hidden_size": shape.embedding,
        "moe_intermediate_size" if shape.experts else "intermediate_size": shape.mlp,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
    }
    for key, value in sizes.items():
        if isinstance(text.get(key), int) and text[key] != value:
            return f"has {key} {text[key]}, and {name} has {value}"
    return None
