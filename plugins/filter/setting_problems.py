# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings with a value that cannot be meant."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any

DOCUMENTATION = r"""
name: setting_problems
short_description: Settings with a value that cannot be meant
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives a message for each setting whose value is not of its kind. A value from the command line is a
    string, so V(abc) would become V(0) in a template.
options:
  _input:
    description:
      - The settings, each with V(name), V(value), V(kind) and V(example).
      - The kinds are V(count) and V(batch) (whole numbers above 0, the latter also as V(2.0)), V(number)
        (above 0), V(count or 0), V(number or 0), V(rate) (a number above 0, or empty), V(list), V(dict),
        V(directory) (an absolute path below the root) and V(choice) (one of V(choices)).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
problems: >-
  {{ [{'name': 'steps', 'value': steps, 'kind': 'count', 'example': 100}]
     | tpuops.maxtext.setting_problems }}
"""

RETURN = r"""
_value:
  description: The messages; none where all is well.
  type: list
  elements: str
"""

# kind -> what it is, in words; the pattern of a whole number, if it is one; whether it may be 0.
NUMBERS: dict[str, tuple[str, str | None, bool]] = {
    "count": ("a whole number above 0", r"\d+", False),
    "batch": ("a whole number above 0", r"\d+(\.0*)?", False),
    "number": ("a number above 0", None, False),
    "rate": ("a number above 0", None, False),
    "count or 0": ("0 or a whole number above 0", r"\d+", True),
    "number or 0": ("0 or a number above 0", None, True),
}
# kind -> its type, in words, and an example as JSON.
COLLECTIONS: dict[str, tuple[type, str, str]] = {
    "list": (list, "a list", '["NAME=VALUE"]'),
    "dict": (dict, "a dictionary", '{"NAME": "VALUE"}'),
}
EMPTY = "'' (empty)"


def setting_problems(settings: list[dict[str, Any]]) -> list[str]:
    """A message for each setting whose value is not of its kind."""
    return [message for setting in settings if (message := problem(setting))]


def problem(setting: dict[str, Any]) -> str | None:
    name, value, kind = setting["name"], setting["value"], setting["kind"]
    if kind in COLLECTIONS:
        wanted, what, example = COLLECTIONS[kind]
        if isinstance(value, wanted):
            return None
        return (
            f"{name}: {value!r} is not {what}. Write it in the inventory, or as JSON: "
            f"-e '{{\"{name}\": {example}}}'."
        )
    if kind == "choice":
        choices = setting["choices"]
        shown = ", ".join(each or EMPTY for each in choices)
        return None if value in choices else f"{name}: {value!r} is none of {shown}. Set one of them."
    if kind == "directory":
        if is_directory(value):
            return None
        return (
            f"{name}: {value!r} is not the absolute path of a directory of its own. Set one, for example "
            f"{setting['example']}."
        )
    what, pattern, zero = NUMBERS[kind]
    if (kind == "rate" and value in ("", None)) or is_number(value, pattern, zero):
        return None
    return f"{name}: {value!r} is not {what}. Set one, for example {setting['example']}."


def is_directory(value: Any) -> bool:
    """Whether it is an absolute path, in its shortest form, below the root."""
    return isinstance(value, str) and value == os.path.normpath(value) and bool(re.match("/[^/]", value))


def is_number(value: Any, pattern: str | None, zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    text = str(value).strip()
    if pattern and not re.fullmatch(pattern, text, re.ASCII):
        return False
    try:
        number = float(text)
    except ValueError:
        return False
    return 0 < number < math.inf or (zero and number == 0)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"setting_problems": setting_problems}
