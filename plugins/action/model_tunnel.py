# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module model_tunnel, which runs on the controller: a tunnel to the server of a node, for clients."""

from __future__ import annotations

import os
import select

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import run_report, terminal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import Client, ServerError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import command as printed
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_report import KEY_FILE
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown_lines
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import Terminal, cleaned_up
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel import Tunnel, TunnelError, command

OPTIONS = {
    "port": {"type": "int", "default": 8000},
    "local_port": {"type": "int"},
    "api_key_file": {"type": "path", "default": KEY_FILE, "no_log": False},
}

display = Display()


class ActionModule(Quiet):
    """Keeps the tunnel open until the user ends it."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validated, options = self.validate_argument_spec(argument_spec=OPTIONS)
        if self._task.check_mode:
            return {"changed": False}
        local = options["local_port"] or options["port"]
        try:
            tunnel = Tunnel(
                command(variables["hostvars"][variables["inventory_hostname"]]),
                options["port"],
                options["api_key_file"],
                local,
            )
            with cleaned_up(tunnel.close), tunnel:
                model = Client(tunnel.connect, tunnel.key).model()
                key_file = tunnel.keep("api-key", tunnel.key)
                for line in run_report.client(model, local, key_file):
                    display.display(line)
                return self.wait(tunnel, {"changed": False, "model": model})
        except (TunnelError, ServerError) as error:
            look = printed("status")
            raise AnsibleActionFail(f"{shown_lines(str(error))} To see what is served: {look}") from error

    @staticmethod
    def wait(tunnel: Tunnel, result: Json) -> Json:
        """Until Ctrl-C, or until the tunnel breaks off, which is an error."""
        screen = terminal.find(os.getppid())
        if screen is None:
            select.select([tunnel.end], [], [])  # a signal to the command ends this process
        else:
            with Terminal(screen) as opened:
                if opened.interrupted(tunnel.end):
                    return result
        raise TunnelError("ssh: the tunnel broke off.")
