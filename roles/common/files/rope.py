# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether MaxText computes the rotary position embedding (rope) that a model's configuration describes.

Nothing in the weights tells: with another rope a model is converted, trained and exported without an error,
and is worse. MaxText takes its rope from the preset, the Hub's libraries take theirs from config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: Kinds of scaling that both know, as config.json and as MaxText call them.
SCALINGS = {"default": "default", "llama3": "llama3.1", "yarn": "yarn"}

Rope = tuple[float | None, str | None]  # base and scaling; None where nobody says


def problem(arguments: list[str], config: dict[str, Any], repository: str) -> str | None:
    """How MaxText's rope differs from that of the repository's config.json; None where it does not.

    arguments: of a MaxText program, its configuration file first.
    """
    known = settings(arguments)
    names = (("rope base", "rope_max_timescale"), ("rope scaling", "rope_type"))
    for ours, theirs, (what, setting) in zip(of_maxtext(known), of_model(config), names, strict=True):
        if ours is None or theirs is None or ours == theirs:
            continue
        shown, wanted = (int(each) if isinstance(each, float) else each for each in (ours, theirs))
        return (
            f"hf_model: {repository} has the {what} {wanted}, but MaxText computes {known.get('model_name')} "
            f"with {shown}: set model to the MaxText model that belongs to hf_model, or add "
            f"{setting}={wanted} to maxtext_arguments"
        )
    return None


def settings(arguments: list[str]) -> dict[str, Any]:
    """MaxText's settings, of its configuration file, of the model's beside it, and of the arguments."""
    import yaml

    given = dict(each.split("=", 1) for each in arguments[1:] if "=" in each)
    base = Path(arguments[0])
    result: dict[str, Any] = {}
    for file in (base, base.parent / "models" / f"{given.get('model_name')}.yml"):
        if file.is_file():
            result.update(yaml.safe_load(file.read_text(encoding="utf-8")))
    return {**result, **given}


def of_maxtext(known: dict[str, Any]) -> Rope:
    named = str(known.get("model_name")).startswith("llama3.1")  # MaxText looks at the name as well
    base, scaling = known.get("rope_max_timescale"), known.get("rope_type")
    return (None if base is None else float(base), "llama3.1" if named else scaling)


def of_model(config: dict[str, Any]) -> Rope:
    """Of the configuration of transformers 4 or 5."""
    text = config["text_config"] if isinstance(config.get("text_config"), dict) else config
    parameters = text.get("rope_parameters") or text.get("rope_scaling") or {}
    base = text.get("rope_theta", parameters.get("rope_theta"))
    scaling = parameters.get("rope_type", parameters.get("type", "default"))
    return (None if base is None else float(base), SCALINGS.get(scaling))
