# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps secrets out of what Ansible prints with ANSIBLE_DEBUG."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started

ARGUMENTS = re.compile(r"(_execute_module \([\w.]+), .*", re.DOTALL)


class Quiet(ActionBase):  # type: ignore[misc]
    """An action plugin whose modules' arguments are not printed, whatever the user has set.

    Ansible prints them after each module, those too that are `no_log` in the module.
    """

    def _execute_module(self, *arguments: Any, **options: Any) -> Any:
        with arguments_hidden():
            result = super()._execute_module(*arguments, **options)
        # A module does not know how it was called.
        if isinstance(result.get("msg"), str):
            result["msg"] = as_started(result["msg"])
        return result


def hidden(debug: Callable[..., None]) -> Callable[..., None]:
    """`Display.debug` without the arguments of modules."""

    def without(message: str, *arguments: Any, **options: Any) -> None:
        debug(ARGUMENTS.sub(r"\1, arguments hidden)", str(message)), *arguments, **options)

    return without


@contextmanager
def arguments_hidden() -> Iterator[None]:
    """Ansible has one display a process, and a process a task: nobody else prints meanwhile."""
    display = Display()
    original = display.debug
    display.debug = hidden(original)
    try:
        yield
    finally:
        display.debug = original
