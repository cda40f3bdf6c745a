# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that do their work on the controller, such as to ask Google, performed in the process of the task.

Ansible would start another for each. Where it would run on the controller and with the controller's Python,
its packing, the start of Python and the imports cost a hundred times more than the question: two thirds of a
second of a core for each module, and a task such as tpu_capacity plays ten.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator, ValidationResult
from ansible.module_utils.common.json import Direction, get_module_encoder
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import Operation, OperationFailed

COLLECTION = "tpuops.maxtext."
MODULES = f"ansible_collections.{COLLECTION}plugins.modules"
SHOWS_ARGUMENTS = 3  # -vvv
#: As Ansible sends arguments to a module: a date, which YAML makes of 2026-12-31, is a text there.
AS_SENT = get_module_encoder("legacy", Direction.CONTROLLER_TO_MODULE)
#: The modules that are an Operation and nothing more.
NAMES = frozenset(
    {
        "gcp_disk",
        "gcp_disk_info",
        "gcp_oslogin_key",
        "gcp_project_info",
        "gcp_services",
        "hf_commits",
        "hf_repo_info",
        "serving_inputs_info",
        "ssh_key_pair",
        "tpu_queued_resource",
        "tpu_queued_resource_info",
        "tpu_types_info",
        "tpu_vm",
        "tpu_vm_info",
        "training_inputs_info",
    }
)


class Task:
    """What an operation uses of a module."""

    def __init__(self, params: Json, check_mode: bool) -> None:
        self.params, self.check_mode = params, check_mode
        self.warnings: list[str] = []

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


def operation_of(action: ActionBase, module: str, variables: Mapping[str, Any]) -> Operation | None:
    """What a module does, if the task's process can do it as well as the module's own.

    Another host, user or Python may have other credentials, and other ways to Google. Who keeps Ansible's
    files to debug a module needs a process of its own.
    """
    name = module.removeprefix(COLLECTION)
    if module == name or name not in NAMES or constants.DEFAULT_KEEP_REMOTE_FILES:
        return None
    if action._connection.transport != "local" or action._connection.become or action._task.async_val:
        return None
    host = action._task.delegate_to
    known = variables.get("ansible_delegated_vars", {}).get(host, {}) if host else variables
    if action._templar.template(known.get("ansible_python_interpreter", "")) != sys.executable:
        return None
    operation: Operation = importlib.import_module(f"{MODULES}.{name}").OPERATION
    return operation


@contextlib.contextmanager
def place_of(action: ActionBase) -> Iterator[None]:
    """As in a process of its own: the task's environment, in which options have their defaults, and nobody to
    read what is printed. No other task is in this process."""
    own: dict[str, Any] = {}
    action._compute_environment_string(own)
    before = dict(os.environ)
    os.environ.update({name: str(value) for name, value in own.items()})
    try:
        # Libraries warn there. Ansible ignores it of a module, but tells it of a task's process as an error.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def perform(module: str, operation: Operation, arguments: Mapping[str, Any], check: bool) -> Json:
    """The result that a module would return: plain values, without secrets and without Ansible's marks."""
    validator = ArgumentSpecValidator(operation.spec, **operation.rules)
    checked = validator.validate(json.loads(json.dumps(arguments, cls=AS_SENT)))
    task = Task(checked.validated_parameters, check)
    result: Json
    try:
        if checked.error_messages:
            unknown = isinstance(checked.errors[0], UnsupportedError)
            words = f"Unsupported parameters for ({module}) module: " if unknown else ""
            result = {"failed": True, "msg": f"{words}{checked.errors.msg}"}
        else:
            result = dict(operation.perform(task))
    except OperationFailed as error:
        result = {"failed": True, **error.result}
    except Exception as error:  # a fault of ours: the task that plays several modules cleans up all the same
        result = {
            "failed": True,
            "msg": f"{type(error).__name__}: {error}",
            "exception": traceback.format_exc(),
        }
    if Display().verbosity >= SHOWS_ARGUMENTS:
        result["invocation"] = {"module_args": task.params}
    if task.warnings:
        result["warnings"] = list(dict.fromkeys(task.warnings))
    # A truth value is never a secret, though a secret may read like one.
    kept = {key: value for key, value in result.items() if isinstance(value, bool)}
    shown: Json = remove_values(json.loads(json.dumps(result)), secrets_of(operation, checked))
    return shown | kept


def secrets_of(operation: Operation, checked: ValidationResult) -> set[str]:
    """The secrets as they were given, and in the type of their options: the JSON text of a dictionary has its
    line feeds otherwise, and a text without those at its ends."""
    values = checked.validated_parameters.items()
    typed = {str(value) for name, value in values if value and operation.spec.get(name, {}).get("no_log")}
    return {*typed, *checked._no_log_values}
