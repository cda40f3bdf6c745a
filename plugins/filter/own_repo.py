# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run on the Hub, where the user names none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = r"""
name: own_repo
short_description: The repository of a run on the Hub
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives the repository of the run that the user has on the Hub.
  - Fails when the user's name is empty. The result of the run would not be uploaded, and nobody would notice.
positional: _run_name
options:
  _input:
    description: The user's name on the Hub.
    type: str
    required: true
  _run_name:
    description: The name of the run.
    type: str
    required: true
"""

EXAMPLES = r"""
repository: "{{ hf_username | tpuops.maxtext.own_repo(run_name) }}"
"""

RETURN = r"""
_value:
  description: The name of the repository.
  type: str
"""


def own_repo(username: Any, run_name: str) -> str:
    """The repository. AnsibleFilterError, which names the setting, when there is no user."""
    if not username:
        raise AnsibleFilterError(
            "hf_username: is empty, so nothing could be uploaded. Set it, or the environment variable "
            "HF_USERNAME, to your name on the Hub. To upload nothing, set hf_repo to an empty text "
            "(-e hf_repo=)."
        )
    return f"{username}/{run_name}"


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"own_repo": own_repo}
