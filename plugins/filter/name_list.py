# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A list of names, as a list or as the string that the command line makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

DOCUMENTATION = r"""
name: name_list
short_description: A list of names
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives a list as it is, and makes one of a string such as V([prompt, completion]) or V(prompt,completion),
    as a list comes from the command line.
options:
  _input:
    description: The names.
    type: raw
    required: true
"""

EXAMPLES = r"""
columns: "{{ train_data_columns | tpuops.maxtext.name_list }}"
"""

RETURN = r"""
_value:
  description: The names.
  type: list
  elements: str
"""


def name_list(value: Any) -> list[Any]:
    """The names in a string, or the list that it is."""
    if isinstance(value, str):
        return re.findall(r"[^\s,'\"\[\]]+", value)
    return list(value) if isinstance(value, list | tuple) else [value]


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"name_list": name_list}
