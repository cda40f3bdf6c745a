# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the modules of this collection are played.

Secrets stay out of what Ansible prints with ANSIBLE_DEBUG, and a machine that Google has moved or repaired is
followed to the host key that it publishes. What works on the controller runs in this process,
if it can.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import in_process
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.node_loss import Watch

HOST_KEY_REFUSED = "Host key verification failed"  # how OpenSSH says it
# Seconds for which a key is waited for: the guest agent publishes it after sshd has shown it.
PUBLISHED_WITHIN = 30.0
PAUSE = 5.0
ARGUMENTS = re.compile(r"(_execute_module \([\w.]+), .*", re.DOTALL)


class Quiet(ActionBase):  # type: ignore[misc]
    """An action plugin whose modules' arguments are not printed, whatever the user has set.

    Ansible prints them after each module, those too that are `no_log` in the module.

    If the role `common` is in the play, its variable common_node names the node whose host keys are read.
    """

    def _execute_module(self, *arguments: Any, **options: Any) -> Any:
        result = self._performed(*arguments, **options)
        if result is None:
            result = self._played(*arguments, **options)
        return with_commands(result)

    def _performed(
        self,
        module_name: str | None = None,
        module_args: Mapping[str, Any] | None = None,
        _tmp: str | None = None,
        task_vars: Mapping[str, Any] | None = None,
        **_more: Any,
    ) -> dict[str, Any] | None:
        """What a module returned in this process, None where it needs one of its own."""
        module = module_name or self._task.resolved_action or self._task.action
        operation = in_process.operation_of(self, module, task_vars or {})
        if operation is None:
            return None
        arguments = self._task.args if module_args is None else module_args
        with in_process.place_of(self):
            result = in_process.perform(module, operation, arguments, bool(self._task.check_mode))
        Display().debug(f"done with _execute_module ({module}, arguments hidden), in this process")
        return result

    def _played(self, *arguments: Any, **options: Any) -> Any:
        """What the module returned. A host key that Google has published since is trusted first."""
        watch: Watch | None = None
        until = 0.0
        while True:
            try:
                with arguments_hidden():
                    return super()._execute_module(*arguments, **options)
            except AnsibleConnectionFailure as error:
                if HOST_KEY_REFUSED not in str(error):
                    raise
                again = watch is not None
                if watch is None:
                    watch = self._node_watch(options.get("task_vars") or {})
                    until = time.monotonic() + PUBLISHED_WITHIN
                # The module has not begun: it can be played again.
                if watch is None or time.monotonic() >= until:
                    raise
                if not self._renew_host_keys(watch) and again:
                    time.sleep(PAUSE)

    def _node_watch(self, variables: Mapping[str, Any]) -> Watch | None:
        """The node of the host, None where nobody says which one it is."""
        if not variables.get("common_node"):
            return None
        try:
            node = self._templar.template(variables["common_node"])
        except AnsibleError:  # such as options of another inventory: SSH's refusal tells more
            return None
        return Watch(node) if node else None

    def _renew_host_keys(self, watch: Watch) -> bool:
        """Whether a worker has published another key than the one that SSH refused."""
        renewed = watch.renew_host_keys()
        for worker in renewed:
            Display().display(f"{worker} has published a new host key; SSH trusts it")
        with contextlib.suppress(AnsibleError):  # a master connection that died would be used again
            self._connection.reset()
        return bool(renewed)


def with_commands(result: dict[str, Any]) -> dict[str, Any]:
    """The result of a module with its commands as a user has to type them.

    A module does not know how it was called.

    Ansible shows a failure by what it made of the module's message, ``exception``, and makes that anew of
    ``msg`` where it is not there.
    """
    message = result.get("msg")
    if isinstance(message, str) and (told := as_started(message)) != message:
        result["msg"] = told
        result.pop("exception", None)
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
