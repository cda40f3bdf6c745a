# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arguments of one stage's MaxText program that cannot work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import maxtext_settings

DOCUMENTATION = r"""
name: argument_problems
short_description: Arguments of one stage's MaxText program that cannot work
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives a message for the first argument that has an option of its own, changes the model in this stage
    alone, or would give a result that is not what was trained.
positional: variable
options:
  _input:
    description: The arguments, as C(NAME=VALUE).
    type: list
    elements: str
    required: true
  variable:
    description: What the user sets them with.
    type: str
    required: true
"""

EXAMPLES = r"""
problems: "{{ export_arguments | tpuops.maxtext.argument_problems('export_arguments') }}"
"""

RETURN = r"""
_value:
  description: The message; none where all is well.
  type: list
  elements: str
"""


def argument_problems(arguments: list[str], variable: str) -> list[str]:
    """A message for the first argument that cannot work."""
    try:
        maxtext_settings.check([], {variable: [str(each) for each in arguments]}, {})
    except HubError as error:
        return [f"{error}."]
    return []


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"argument_problems": argument_problems}
