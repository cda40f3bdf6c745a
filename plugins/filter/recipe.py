# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a run trains, for its record and for MaxText."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.plugin_utils import recipe as of_run

DOCUMENTATION = r"""
name: recipe
short_description: How a run trains, for its record and for MaxText
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives those settings of a recipe that differ from MaxText's defaults, as a dictionary for the record of a
    run, or as arguments of MaxText's trainer.
positional: arguments
options:
  _input:
    description: The settings by their names.
    type: dict
    required: true
  arguments:
    description: Whether the result is a list of arguments.
    type: bool
    default: false
"""

EXAMPLES = r"""
inputs: "{{ _sft_recipe | tpuops.maxtext.recipe }}"
"""

RETURN = r"""
_value:
  description: Setting to value, or a list of V(NAME=VALUE).
  type: raw
"""


def recipe(given: dict[str, Any], arguments: bool = False) -> Any:
    """The record's part of the settings, or MaxText's arguments."""
    return of_run.arguments(given) if arguments else of_run.inputs(given)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"recipe": recipe}
