# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module model_chat, which runs on the controller: a chat with the model that a node serves."""

from __future__ import annotations

import os

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import chat_session, terminal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import Client
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown_lines
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import Terminal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel import Tunnel
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.tunnel_action import SERVER, TunnelAction

OPTIONS = {
    "prompt": {"type": "str"},
    "system": {"type": "str", "default": ""},
    **SERVER,
    "max_tokens": {"type": "int", "no_log": False},
    "temperature": {"type": "float"},
}
NO_TERMINAL = (
    "prompt: is not set, and there is no terminal to chat on. Ask one question with "
    "-e prompt='YOUR QUESTION', or run this in a terminal."
)

display = Display()


class ActionModule(TunnelAction):
    """Asks once, or chats until the user ends it."""

    OPTIONS = OPTIONS

    def operate(self, options: Json) -> Json:
        if self._task.check_mode:
            return {"changed": False, "answers": 0}
        options["prompt"] = question(options["prompt"], self._loader)
        screen = None
        if options["prompt"] is None and (screen := terminal.find(os.getppid())) is None:
            raise AnsibleActionFail(NO_TERMINAL)
        try:
            with self.opened(options) as tunnel:
                return self.talk(tunnel, options, screen)
        finally:
            if screen is not None:
                os.close(screen)

    @staticmethod
    def talk(tunnel: Tunnel, options: Json, screen: int | None) -> Json:
        client = Client(
            tunnel.connect,
            tunnel.key,
            max_tokens=options["max_tokens"],
            temperature=options["temperature"],
        )
        model = client.model()
        if screen is None:
            answer = chat_session.ask(client, model, options["prompt"], options["system"])
            display.display(shown_lines(answer))
            return {"changed": False, "answers": 1, "answer": answer, "model": model}
        with Terminal(screen) as opened:
            answers = chat_session.Chat(client, model, opened, options["system"]).run()
        return {"changed": False, "answers": answers, "model": model}


def question(prompt: str | None, loader: DataLoader) -> str | None:
    """The extra variable `prompt` as it was written, else the option.

    Of ``-e prompt=QUESTION`` Ansible takes what comes before the first blank, and braces for a template.
    """
    for given in reversed(context.CLIARGS.get("extra_vars") or ()):
        name, _equals, text = str(given).strip().partition("=")
        if name == "prompt":
            quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
            return text[1:-1] if quoted else text
    extra = load_extra_vars(loader).get("prompt")
    return prompt if extra is None else str(extra)
