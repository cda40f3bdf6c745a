# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: quiet
type: notification
short_description: Keep the arguments of modules out of what ANSIBLE_DEBUG prints
version_added: 0.2.0
description:
  - With C(ANSIBLE_DEBUG) Ansible prints the arguments of each module, secrets among them, C(no_log) or not.
  - The modules of this collection hide theirs in any case. This hides those of all other modules too, such as
    a token that your own task gives to M(ansible.builtin.uri).
requirements:
  - To be enabled, C(callbacks_enabled = tpuops.maxtext.quiet) in C(ansible.cfg).
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import hidden


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tpuops.maxtext.quiet"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The processes of tasks are copies of this one."""
        self._display.debug = hidden(self._display.debug)
