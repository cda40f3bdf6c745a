# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A conversation with a model on a terminal."""

from __future__ import annotations

from typing import Protocol

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.chat_client import Client, ServerError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown, shown_lines
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.terminal import Interrupted

HELP = "Enter sends. Ctrl-C stops an answer. /new starts a new conversation. /exit or Ctrl-D ends the chat."
PROMPT = "> "


class Screen(Protocol):
    """What the conversation needs of a terminal."""

    def write(self, text: str) -> None: ...
    def line(self, prompt: str) -> str | None: ...
    def interrupted(self, descriptor: int) -> bool: ...


class Chat:
    """system: what the model is told before the first message, "" for nothing."""

    def __init__(self, client: Client, model: str, screen: Screen, system: str = "") -> None:
        self._client, self._model, self._screen = client, model, screen
        self._first = [{"role": "system", "content": system}] if system else []
        self.messages: list[Json] = list(self._first)

    def run(self) -> int:
        """Until the user ends it; the number of answers."""
        self._screen.write(f"Chat with {shown(self._model)}. {HELP}\n")
        answers = 0
        while True:
            try:
                text = self._screen.line(PROMPT)
            except Interrupted:
                self._screen.write("/exit or Ctrl-D ends the chat.\n")
                continue
            if text is None or text.strip() in ("/exit", "/quit"):
                return answers
            if text.strip() == "/new":
                self.messages = list(self._first)
                self._screen.write("A new conversation.\n")
            elif text.strip() == "/help":
                self._screen.write(f"{HELP}\n")
            elif text.strip():
                answers += self.exchange(text)

    def exchange(self, text: str) -> bool:
        """One message and its answer; whether there is one. A message without an answer is forgotten."""
        self.messages.append({"role": "user", "content": text})
        try:
            told = self._told()
        except ServerError as error:
            self._screen.write(f"\n{shown(error)} /new starts a new conversation.\n")
            told = ""
        if not told:
            self.messages.pop()
            return False
        self.messages.append({"role": "assistant", "content": told})
        return True

    def _told(self) -> str:
        """The answer, shown as it comes, as far as it came."""
        answer, told = self._client.answer(self._model, self.messages), ""
        try:
            while True:
                if self._screen.interrupted(answer.woken):
                    self._screen.write("\n(stopped)\n")
                    return told
                piece = answer.next()
                if piece is None:
                    cut = " (cut off at the greatest length)" if answer.finish_reason == "length" else ""
                    self._screen.write(f"{cut}\n")
                    return told
                told += piece
                self._screen.write(shown_lines(piece))
        finally:
            answer.close()


def ask(client: Client, model: str, prompt: str, system: str = "") -> str:
    """One answer, as a whole."""
    first = [{"role": "system", "content": system}] if system else []
    answer = client.answer(model, [*first, {"role": "user", "content": prompt}])
    try:
        return "".join(answer.pieces())
    finally:
        answer.close()
