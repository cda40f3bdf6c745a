# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terminal of the command, for a task that talks with its user.

A task runs in a process of its own, in a session without a terminal. The terminal is that of its parent. It
is opened by name and read without line editing by the kernel: that counts bytes, and Japanese needs
characters and their width. Ctrl-C is read as a key, so that it does not end the command.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import select
import signal
import subprocess
import termios
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPT, END, ESCAPE = "\x03", "\x04", "\x1b"
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"
PASTE_BEGIN, PASTE_END = "200~", "201~"


class Interrupted(Exception):
    """Ctrl-C was pressed on an empty line."""


def find(pid: int) -> int | None:
    """A descriptor of the terminal on which the process reads; None where it reads from none."""
    for path in (f"/proc/{pid}/fd/0", terminal_of(pid)):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.isatty(descriptor):
            return descriptor
        os.close(descriptor)
        if path.startswith("/proc"):
            return None  # its input is something else, whatever terminal it has
    return None


def terminal_of(pid: int) -> str:
    """The controlling terminal, as ps tells it: without /proc there is no other way."""
    if os.path.isdir("/proc/self"):
        return "/nowhere"
    done = subprocess.run(["ps", "-o", "tty=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"/dev/{done.stdout.strip() or 'nowhere'}"


@contextlib.contextmanager
def cleaned_up(clean_up: Callable[[], None]) -> Iterator[None]:
    """Calls it at the end, also where Ansible ends the process of the task by a signal."""
    before: dict[int, Any] = {}

    def end(number: int, frame: Any) -> None:
        clean_up()
        if callable(before[number]):
            before[number](number, frame)
        os._exit(1)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        before[each] = signal.signal(each, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        clean_up()


class Terminal:
    """A terminal with keys instead of lines, between `with` and its end."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keys: list[str] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Terminal:
        before = termios.tcgetattr(self.descriptor)
        mode = termios.tcgetattr(self.descriptor)
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        self._take_foreground()
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, mode)

        def restore() -> None:
            with contextlib.suppress(OSError, termios.error):  # the window may be closed
                self.write(PASTE_OFF)
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, before)

        self._stack.enter_context(cleaned_up(restore))
        self.write(PASTE_ON)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def _take_foreground(self) -> None:
        """Where the task is in the session of the terminal, only the group in front may read.

        Ansible does so with WORKER_SESSION_ISOLATION off.
        """
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            group = os.tcgetpgrp(self.descriptor)
            os.tcsetpgrp(self.descriptor, os.getpgrp())
        except OSError:
            return  # it has a session of its own
        self._stack.callback(os.tcsetpgrp, self.descriptor, group)

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(self.descriptor, data) :]

    @property
    def columns(self) -> int:
        try:
            return os.get_terminal_size(self.descriptor).columns or 80
        except OSError:
            return 80

    def key(self) -> str:
        """The next character; END when the terminal is gone."""
        while not self._keys:
            try:
                data = os.read(self.descriptor, 4096)
            except OSError:
                data = b""
            if not data:
                return END
            self._keys += self._decoder.decode(data)
        return self._keys.pop(0)

    def interrupted(self, descriptor: int) -> bool:
        """Wait for the descriptor to have something to read; whether Ctrl-C was pressed before."""
        while True:
            ready = select.select([descriptor, self.descriptor], [], [])[0]
            if self.descriptor in ready:
                pressed = self.key()
                if pressed in (INTERRUPT, END):
                    return True
                self._keys.clear()  # what is typed into an answer is nobody's message
            if descriptor in ready:
                return False

    def line(self, prompt: str) -> str | None:
        """A message of one or, pasted, of several lines; None at its end. Raises Interrupted."""
        text, pasting = "", False
        self.write(prompt)
        while True:
            key = self.key()
            before = text
            if key == ESCAPE:
                sequence = self._sequence()
                pasting = sequence == PASTE_BEGIN or (pasting and sequence != PASTE_END)
            elif pasting and key in "\r\n":
                text += "\n"
            elif key in "\r\n":
                self.write("\n")
                return text
            elif key == END and not text:
                self.write("\n")
                return None
            elif key == INTERRUPT and not text:
                self.write("\n")
                raise Interrupted
            elif key in ("\x7f", "\b"):
                text = without_last(text)
            elif key in (INTERRUPT, "\x15"):
                text = ""
            elif key == "\x17":
                text = text.rstrip()
                text = text[: max(text.rfind(" "), text.rfind("\n")) + 1]
            elif key.isprintable():
                text += key
            if text.startswith(before):
                self.write(text[len(before) :])
            else:
                self._redraw(prompt, before, text)

    def _redraw(self, prompt: str, before: str, text: str) -> None:
        up = rows(prompt + before, self.columns)
        self.write("\r" + (f"\x1b[{up}A" if up else "") + "\x1b[J" + prompt + text)

    def _sequence(self) -> str:
        """What follows ESC [, up to its last character; "" for any other sequence."""
        if self.key() not in "[O":
            return ""
        text = ""
        while True:
            key = self.key()
            text += key
            if "@" <= key <= "~" or key == END:
                return text


def width(character: str) -> int:
    """Columns that it takes."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def rows(text: str, columns: int) -> int:
    """How many rows the cursor goes down while this is written from the first column on."""
    down = at = 0
    for character in text:
        if character == "\n":
            down, at = down + 1, 0
            continue
        wide = width(character)
        if at + wide > columns:
            down, at = down + 1, 0
        at += wide
    return down


def without_last(text: str) -> str:
    """Without the last character and the marks that combine with it."""
    while text and unicodedata.combining(text[-1]):
        text = text[:-1]
    return text[:-1]
