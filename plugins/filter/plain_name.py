# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A name that may be part of a path, of a job's name and of a command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: plain_name
short_description: A name that may be part of a path
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives the name as it is. Fails when it could lead to another directory, or mean more than a name in a
    command line.
positional: _option
options:
  _input:
    description:
      - The name, at most 80 letters, digits, dots, hyphens and underscores. The first is a letter or a
        digit.
    type: str
    required: true
  _option:
    description: The variable that the name comes from, for the message.
    type: str
    required: true
"""

EXAMPLES = r"""
run_directory: "/mnt/disks/checkpoints/maxtext/{{ run_name | tpuops.maxtext.plain_name('run_name') }}"
"""

RETURN = r"""
_value:
  description: The name.
  type: str
"""

# With `question-`, a row's number and the like before and after it, it is still a job's name.
LONGEST = 80
SHOWN = 20
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST - 1}}}")


def plain_name(value: Any, option: str) -> str:
    """The name. AnsibleFilterError, which names the option, when it is none."""
    plain = isinstance(value, str | int) and not isinstance(value, bool)
    if not plain or not NAME.fullmatch(str(value)):
        text = str(value) if plain else ""
        shown = f"{text[:SHOWN] + '...'!r} ({len(text)} characters)" if len(text) > LONGEST else repr(value)
        raise AnsibleFilterError(
            f"{option}: {shown} is not valid. Use at most {LONGEST} letters, digits, dots, hyphens and "
            "underscores, a letter or a digit first."
        )
    return str(value)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"plain_name": plain_name}
