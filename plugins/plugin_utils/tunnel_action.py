# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins that reach the server of a node through a tunnel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import ServerError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import command as printed
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import OptionsAction
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_report import KEY_FILE
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown_lines
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import cleaned_up
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel import Tunnel, TunnelError, command

#: Where the server is on the node, and its key.
SERVER: Mapping[str, Any] = {
    "port": {"type": "int", "default": 8000},
    "api_key_file": {"type": "path", "default": KEY_FILE, "no_log": False},
}


class TunnelAction(OptionsAction):
    """OPTIONS has those of SERVER."""

    @contextlib.contextmanager
    def opened(self, options: Json, local_port: int | None = None) -> Iterator[Tunnel]:
        """The tunnel to the server of the task's host. What goes wrong with either fails the task."""
        variables = self._task_variables
        host = variables["hostvars"][variables["inventory_hostname"]]
        try:
            tunnel = Tunnel(command(host), options["port"], options["api_key_file"], local_port)
            with cleaned_up(tunnel.close), tunnel:
                yield tunnel
        except (TunnelError, ServerError) as error:
            look = printed("status")
            raise AnsibleActionFail(f"{shown_lines(str(error))} To see what is served: {look}") from error
