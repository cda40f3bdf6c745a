# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of a module that is an action plugin names the options that the plugin takes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.json_types import Json

PLUGINS = "ansible_collections.tpuops.maxtext.plugins"
FILES = sorted((Path(__file__).parents[3] / "plugins" / "action").glob("*.py"))
PLAYED = {path.stem: importlib.import_module(f"{PLUGINS}.action.{path.stem}") for path in FILES}
ACTIONS = {name: action for name, action in PLAYED.items() if hasattr(action, "OPTIONS")}
#: Fragments with no option of an action: they lead to Google, or say what it supports.
OTHERS = ("gcp", "attributes")
KEYS = ("type", "elements", "choices", "default", "required")


def documented(name: str) -> Json:
    """The options that the documentation has, with those of its fragments."""
    text: Any = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.{name}").DOCUMENTATION)
    found: Json = dict(text.get("options", {}))
    for fragment in text.get("extends_documentation_fragment", []):
        file = fragment.removeprefix("tpuops.maxtext.").partition(".")[0]
        if file not in OTHERS:
            module: Any = importlib.import_module(f"{PLUGINS}.doc_fragments.{file}")
            found = {**yaml.safe_load(module.ModuleDocFragment.DOCUMENTATION)["options"], **found}
    return found


def spec(options: Json, nested: str) -> Json:
    return {
        name: {
            **{key: option[key] for key in KEYS if key in option},
            **({"options": spec(option[nested], nested)} if nested in option else {}),
        }
        for name, option in options.items()
    }


def test_there_are_actions() -> None:
    assert {"tpu_capacity", "tpu_leftovers", "tpu_workers", "run_report", "model_chat"} <= ACTIONS.keys()


@pytest.mark.parametrize("name", ACTIONS)
def test_the_documentation_has_the_options_that_the_action_takes(name: str) -> None:
    assert spec(documented(name), "suboptions") == spec(ACTIONS[name].OPTIONS, "options")
