# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether MaxText computes the model that a repository's config.json describes.

The weights do not show it: 32 heads of 64 have the arrays of 16 heads of 128, and an epsilon is in no array.
Such a model is converted, trained and exported without an error, and is worse. MaxText takes these values
from the preset and its arguments; the Hub's libraries take theirs from config.json.
"""

from __future__ import annotations

from typing import Any

from tpuops import rope

#: Names in config.json (transformers 4 and 5, by model family), and the setting of MaxText 0.2.5. What only
#: changes the shape of an array is not here: the conversion compares every array.
SETTINGS = {
    "num_attention_heads": "base_num_query_heads",
    "num_key_value_heads": "base_num_kv_heads",
    "head_dim": "head_dim",
    "rms_norm_eps": "normalization_layer_epsilon",
    "layer_norm_eps": "normalization_layer_epsilon",
    "num_experts_per_tok": "num_experts_per_tok",
    "norm_topk_prob": "norm_topk_prob",
    "attn_logit_softcapping": "attn_logits_soft_cap",
    "final_logit_softcapping": "final_logits_soft_cap",
}
#: Activations that MaxText has under another name.
ACTIVATIONS = {"gelu_pytorch_tanh": "gelu", "gelu_new": "gelu", "silu": "silu", "relu": "relu"}


def problem(arguments: list[str], config: dict[str, Any], repository: str) -> str | None:
    """How what MaxText computes differs from the repository's config.json; None where it does not.

    arguments: of a MaxText program, its configuration file first. config: the content of config.json.
    """
    of_rope: str | None = rope.problem(arguments, config, repository)
    if of_rope:
        return of_rope
    known = rope.settings(arguments)
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    for name, setting, theirs, ours in [*values(text, known), *activation(text, known)]:
        if rope.plain(theirs) != rope.plain(ours):
            return (
                f"hf_model: {repository} has {name} {rope.shown(theirs)}, but MaxText computes "
                f"{known.get('model_name')} with {rope.shown(ours)}. Set model to the MaxText model that "
                f"belongs to hf_model, or add {setting}={rope.shown(theirs)} to maxtext_arguments"
            )
    return None


def values(text: dict[str, Any], known: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """(name, setting, value in config.json, value in MaxText) of what both have."""
    wanted = dict(text)
    heads, width = text.get("num_attention_heads"), text.get("hidden_size")
    if heads and width and text.get("head_dim") is None:  # Llama, Mistral and Qwen2 leave it out
        wanted["head_dim"] = width // heads
    if heads and text.get("num_key_value_heads") is None:
        wanted["num_key_value_heads"] = heads
    found = []
    for name, setting in SETTINGS.items():
        if name not in wanted or setting not in known:
            continue
        value = wanted[name]
        if value is None:  # no soft cap, which is 0 in MaxText
            value = 0
        found.append((name, setting, value, known[setting]))
    return found


def activation(text: dict[str, Any], known: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """The same of the activation, where MaxText has it as [ACTIVATION, linear]; gpt-oss has its own."""
    name = "hidden_activation" if text.get("hidden_activation") else "hidden_act"
    wanted, ours = ACTIVATIONS.get(str(text.get(name))), known.get("mlp_activations")
    if wanted is None or not isinstance(ours, list) or ours[0] not in ACTIVATIONS.values():
        return []
    return [(name, "mlp_activations", f"[{wanted},linear]", f"[{','.join(ours)}]")]
