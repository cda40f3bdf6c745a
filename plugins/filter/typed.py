# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The value of a setting in its type: one from the command line is a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import setting_values, settings

DOCUMENTATION = r"""
name: typed
short_description: The value of a setting in its type
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives the value in the type that the argument spec of the setting names. A value that was set with C(-e
    name=value) is a text, also where the setting is a list.
  - Fails when the value has not that type.
positional: _option
options:
  _input:
    description: The value.
    type: raw
    required: true
  _option:
    description: The name of the setting.
    type: str
    required: true
"""

EXAMPLES = r"""
arguments: "{{ sft_arguments | tpuops.maxtext.typed('sft_arguments') }}"
"""

RETURN = r"""
_value:
  description: The value in its type.
  type: raw
"""


def typed(value: Any, option: str) -> Any:
    """The value. AnsibleFilterError, which names the setting, when it has another type."""
    try:
        return setting_values.converted(settings.known()[option], value)
    except setting_values.Invalid as error:
        raise AnsibleFilterError(f"{option}: {error}") from error


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"typed": typed}
