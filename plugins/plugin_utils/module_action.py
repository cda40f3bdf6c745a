# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bases of action plugins: one takes options, the other plays other modules with its own connection."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import gcp_argument_spec
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels, leftovers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.leftovers import Leftover
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet


class ModuleFailed(Exception):
    """A module failed. result: what it returned; kind: of the cause, "api" where the module says none."""

    def __init__(self, result: Json) -> None:
        super().__init__(str(result.get("msg", "failed")))
        self.result = result
        self.failure: Json = result.get("failure", {"kind": "api"})
        self.kind = str(self.failure.get("kind", "api"))


class OptionsAction(Quiet):
    """Checks the task's options, and goes through `operate`.

    OPTIONS: the argument spec. RULES: what options may stand together, as validate_argument_spec has it.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {}
    RULES: ClassVar[Mapping[str, Any]] = {}

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(argument_spec=self.spec(), **self.RULES)
        self._task_variables = task_vars or {}
        return self.operate(options)

    def spec(self) -> Mapping[str, Any]:
        return self.OPTIONS

    @abstractmethod
    def operate(self, options: Json) -> Json:
        """What the task is for: its result."""


class ModuleAction(OptionsAction):
    """A module that is played in `operate` and fails there fails the task.

    OPTIONS: without the options that lead to Google, which every module gets that is played.
    """

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        try:
            return super().run(tmp, task_vars)
        except ModuleFailed as error:
            return failed(str(error), error.failure)

    def spec(self) -> Mapping[str, Any]:
        return gcp_argument_spec(**self.OPTIONS)

    def play(self, module: str, arguments: Json, check: bool = False) -> Json:
        """The result of a module. check: play it as in a check run, always. Raises ModuleFailed."""
        with self._checking(check):
            result: Json = self._execute_module(
                module_name=f"tpuops.maxtext.{module}",
                module_args={**self._google_options(), **arguments},
                task_vars=self._task_variables,
            )
        if result.get("failed"):
            raise ModuleFailed(result)
        return result

    def _google_options(self) -> Json:
        google = self.spec().keys() - self.OPTIONS.keys()
        return {key: value for key, value in self._task.args.items() if key in google}

    def everything(self, prices: Mapping[str, Any]) -> tuple[list[Leftover], set[str]]:
        """What the project has of this tool's, and the zones that did not answer. Raises ModuleFailed."""
        missing: set[str] = set()
        found = leftovers.found(
            self._listed("tpu_vm_info", "nodes", missing),
            self._listed("tpu_queued_resource_info", "queued_resources", missing),
            self._listed("gcp_disk_info", "disks", missing),
            prices,
        )
        return found, missing

    def _listed(self, module: str, key: str, missing: set[str]) -> list[Json]:
        """What a module finds in all zones; nothing in a project whose API is not enabled.

        key: of its result. missing: takes in the zones that did not answer.
        """
        try:
            result = self.play(module, {})
        except ModuleFailed as error:
            if error.kind == "api_disabled":
                return []
            raise
        missing.update(result.get("unreachable_zones", []))
        items: list[Json] = result[key]
        return items

    @contextlib.contextmanager
    def _checking(self, check: bool) -> Iterator[None]:
        before = self._task.check_mode
        self._task.check_mode = bool(check or before)
        try:
            yield
        finally:
            self._task.check_mode = before


def labels_of_run(options: Mapping[str, Any], run: str = "") -> dict[str, str]:
    """The labels that the options `labels` and `owner` mean. The task fails where Google would refuse one."""
    try:
        return labels.marked(options["labels"], run, options["owner"] or labels.login_name())
    except ValueError as error:
        raise AnsibleActionFail(str(error)) from error


def failed(message: str, failure: Json) -> Json:
    """The result of a task that failed, with the cause in the words of the modules."""
    return {"failed": True, "msg": message, "failure": failure}
