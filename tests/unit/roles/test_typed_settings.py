# SPDX-License-Identifier: GPL-3.0-or-later
"""A setting from the command line is a text. It does the same as one of the inventory, which has its type."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from . import expressions

settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")

# What a run knows when its roles are played.
RUN = {
    "project": "my-project",
    "hf_username": "me",
    "ansible_user": "tpu",
    "ansible_managed": "",
    "ansible_run_tags": ["all"],
    "ansible_check_mode": False,
    "_common_commits": {
        "model": {"commit": "a" * 40},
        "dataset": {"commit": "b" * 40},
        "tokenizer": {"commit": "c" * 40},
    },
    "_export_checkpoints": {"latest_step": 60, "latest_digest": "e" * 64},
    "_vllm_serve_answer": {"commit": "d" * 40},
}

# The text on the command line, and the value that it stands for.
VALUES: dict[str, list[tuple[str, Any]]] = {
    "int": [("20000", 20000)],
    "float": [("20000", 20000)],
    "bool": [("false", False), ("yes", True)],
    "list": [("[one, two]", ["one", "two"])],
}
TYPED = [
    pytest.param(name, text, value, id=f"{name}={text}")
    for name, each in sorted(settings.known().items())
    if each.option.get("elements") != "dict" and each.role != "locked_env" and not name.startswith("common_")
    for text, value in VALUES.get(each.type, [])
]


def comparable(value: Any) -> Any:
    """A module gives its options their types: a number or a truth there may be a text."""
    if isinstance(value, bool) or value in ("yes", "false"):
        return str(value in (True, "yes"))
    if isinstance(value, int | float):
        return str(float(value))
    if isinstance(value, dict):
        return {str(key): comparable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [comparable(each) for each in value]
    try:
        return str(float(value))
    except (TypeError, ValueError):
        return str(value)


@pytest.mark.usefixtures("compiled_once")
@pytest.mark.parametrize(("name", "text", "value"), TYPED)
def test_a_text_does_what_the_value_does(name: str, text: str, value: Any) -> None:
    other = {
        place: (one, two)
        for place in expressions.places_of(name)
        if "tpuops.maxtext.settings.values" not in place  # it converts them itself
        and comparable(one := expressions.evaluate(place, {**RUN, name: text}))
        != comparable(two := expressions.evaluate(place, {**RUN, name: value}))
    }
    assert other == {}
