# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that look at the Hub from the controller
(module_utils/huggingface/arguments.py)."""

from __future__ import annotations


class ModuleDocFragment:
    """What Ansible looks for in this file."""

    DOCUMENTATION = r"""
options:
  token:
    description: Token of the Hub; without one, only public repositories are seen.
    type: str
  endpoint:
    description: Address of the Hub.
    type: str
    default: https://huggingface.co
  names:
    description: What the user calls an option, where it is not its name here; for the messages.
    type: dict
    default: {}
requirements:
  - huggingface_hub 2.0 or later
  - requests
"""
