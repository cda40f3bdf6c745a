# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unreachable
type: notification
short_description: Say what to do when a TPU VM cannot be reached
version_added: 0.2.0
description:
  - A job that loses its machine says so itself. Any other task ends with what SSH says, which does not tell
    that running again helps; this adds a line that does, once for each host.
requirements:
  - To be enabled, C(callbacks_enabled = tpuops.maxtext.unreachable) in C(ansible.cfg).
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "tpuops.maxtext.unreachable"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if not result.task.ignore_unreachable:
            self._display.display(advice(result.host.get_name()))


def advice(host: str) -> str:
    return as_started(
        f"{host} cannot be reached. Jobs on it go on. Run the same command again: if Google preempted the "
        "TPU VM, it is created again with the same disk, and what had ended is not repeated. If it stays "
        "unreachable, delete it with ansible-playbook playbooks/teardown.yml, which keeps the disk, and run "
        "it once more."
    )
