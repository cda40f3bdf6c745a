# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether MaxText computes the rotary position embedding (rope) that a model's configuration describes.

Nothing in the weights tells: with another rope a model is converted, trained and exported without an error,
and is worse. MaxText takes its rope from the preset, the Hub's libraries take theirs from config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: What MaxText computes for llama3.1, whatever is set (LLaMARotaryEmbedding).
LLAMA = {
    "factor": 8,
    "low_freq_factor": 1,
    "high_freq_factor": 4,
    "original_max_position_embeddings": 8192,
}
NAMES = {"rope_max_timescale": "base", "rope_type": "scaling"}


class Unknown(Exception):
    """A rope that no setting of MaxText gives; the text names it."""


def problem(arguments: list[str], config: dict[str, Any], repository: str) -> str | None:
    """How MaxText's rope differs from that of the repository's config.json; None where it does not.

    arguments: of a MaxText program, its configuration file first.
    """
    known = of_maxtext(settings(arguments))
    try:
        wanted = of_model(config)
    except Unknown as unknown:
        return (
            f"hf_model: MaxText cannot compute the rope of {repository}, {unknown}. Name another model in "
            "hf_model"
        )
    differing = {
        name: value for name, value in wanted.items() if name in known and plain(known[name]) != plain(value)
    }
    if not differing:
        return None
    name, value = next(iter(differing.items()))
    what = NAMES.get(name, f"setting {name}")
    return (
        f"hf_model: {repository} has the rope {what} {shown(value)}, but MaxText computes "
        f"{known.get('model_name')} with {shown(known[name])}. Set model to the MaxText model that belongs "
        f"to hf_model, or add {' '.join(remedies(differing, known))} to maxtext_arguments"
    )


def remedies(differing: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """The arguments of MaxText that make the difference go away."""
    if differing.get("rope_type") == "default" and named_llama(known):  # its name counts more than the type
        differing = {name: value for name, value in differing.items() if name != "rope_type"}
        differing["rope_use_scale"] = False
    return [f"{name}={shown(value)}" for name, value in differing.items()]


def plain(value: Any) -> Any:
    """A value of a file or of a command line: numbers are equal as numbers, words in any case."""
    try:
        return float(str(value).replace("_", ""))
    except ValueError:
        return str(value).lower()


def shown(value: Any) -> str:
    number = plain(value)
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(value)


def settings(arguments: list[str]) -> dict[str, Any]:
    """MaxText's settings, of its configuration file, of the model's beside it, and of the arguments."""
    import yaml

    given = dict(each.lstrip("-").split("=", 1) for each in arguments[1:] if "=" in each)
    base = Path(arguments[0])
    result: dict[str, Any] = {}
    for file in (base, base.parent / "models" / f"{given.get('model_name')}.yml"):
        if file.is_file():
            result.update(yaml.safe_load(file.read_text(encoding="utf-8")))
    return {**result, **given}


def named_llama(known: dict[str, Any]) -> bool:
    return str(known.get("model_name")).startswith("llama3.1")


def of_maxtext(known: dict[str, Any]) -> dict[str, Any]:
    """The settings, with the kind of scaling that MaxText makes of them and of the model's name."""
    if not named_llama(known) and plain(known.get("rope_type", "")) != "llama3.1":
        return known
    unscaled = plain(known.get("rope_use_scale", True)) == "false"
    return {**known, "rope_type": "default" if unscaled else "llama3.1"}


def of_model(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of MaxText for the configuration of transformers 4 or 5. Raises Unknown."""
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    parameters = text.get("rope_parameters") or text.get("rope_scaling") or {}
    base = text.get("rope_theta", parameters.get("rope_theta"))
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    wanted = {} if base is None else {"rope_max_timescale": base}
    if kind in ("default", "dynamic"):  # dynamic begins behind the length that the model was trained with
        return {**wanted, "rope_type": "default", "rope_linear_scaling_factor": 1}
    if kind == "linear":
        factor = parameters.get("factor", 1)
        return {**wanted, "rope_type": "default", "rope_linear_scaling_factor": factor}
    if kind == "llama3":
        other = {name: parameters[name] for name in LLAMA if parameters.get(name, LLAMA[name]) != LLAMA[name]}
        if other:
            raise Unknown(f"llama3 with {other}")
        return {**wanted, "rope_type": "llama3.1"}
    if kind == "yarn":
        return {**wanted, **yarn(parameters)}
    raise Unknown(str(kind))


def yarn(parameters: dict[str, Any]) -> dict[str, Any]:
    """As transformers computes it (modeling_rope_utils): halves, no pairs, scaled by the factor's log."""
    factor = parameters.get("factor", 1)
    if "attention_factor" in parameters or "mscale" in parameters or factor != int(factor):
        raise Unknown(f"yarn with {parameters}")
    return {
        "rope_type": "yarn",
        "rope_factor": factor,
        "original_max_position_embeddings": parameters.get("original_max_position_embeddings", 4096),
        "beta_fast": parameters.get("beta_fast") or 32,
        "beta_slow": parameters.get("beta_slow") or 1,
        "rope_interleave": False,
        "rope_attention_scaling": True,
        "rope_truncate": parameters.get("truncate", True),
    }
