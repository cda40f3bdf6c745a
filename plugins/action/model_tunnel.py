# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module model_tunnel, which runs on the controller: a tunnel to the server of a node, for clients."""

from __future__ import annotations

import os
import select

from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import run_report, terminal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import Client
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import Terminal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel import Tunnel, TunnelError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel_action import SERVER, TunnelAction

OPTIONS = {
    **SERVER,
    "local_port": {"type": "int"},
}

display = Display()


class ActionModule(TunnelAction):
    """Keeps the tunnel open until the user ends it."""

    OPTIONS = OPTIONS

    def operate(self, options: Json) -> Json:
        if self._task.check_mode:
            return {"changed": False}
        local = options["local_port"] or options["port"]
        with self.opened(options, local) as tunnel:
            model = Client(tunnel.connect, tunnel.key).model()
            key_file = tunnel.keep("api-key", tunnel.key)
            for line in run_report.client(model, local, key_file):
                display.display(line)
            return self.wait(tunnel, {"changed": False, "model": model})

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
