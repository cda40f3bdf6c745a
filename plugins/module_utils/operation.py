# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module does, apart from the process that it runs in: its own, or that of its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.basic import AnsibleModule


class OperationFailed(Exception):
    """The operation failed. result: what the module returns; `msg` says why."""

    def __init__(self, msg: str, **more: Any) -> None:
        super().__init__(msg)
        self.result: dict[str, Any] = {"msg": msg, **more}


@dataclass(frozen=True)
class Operation:
    """What a module does.

    spec:    the module's options.
    perform: its result; raises OperationFailed. Of the module that it is given it uses `params`, `check_mode`
             and `warn`.
    rules:   between options, by the names that AnsibleModule has for them.
    """

    spec: Mapping[str, Any]
    perform: Callable[[Any], Mapping[str, Any]]
    rules: Mapping[str, Any] = field(default_factory=dict)


def run_module(operation: Operation) -> None:
    """Run it as a module."""
    module = AnsibleModule(argument_spec=dict(operation.spec), supports_check_mode=True, **operation.rules)
    try:
        result = operation.perform(module)
    except OperationFailed as error:
        module.fail_json(**error.result)
    module.exit_json(**result)
