# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugins that play other modules of this collection with the connection of their own task."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import gcp_argument_spec
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet


class ModuleFailed(Exception):
    """A module failed. result: what it returned; kind: of the cause, "api" where the module says none."""

    def __init__(self, result: Json) -> None:
        super().__init__(str(result.get("msg", "failed")))
        self.result = result
        self.failure: Json = result.get("failure", {"kind": "api"})
        self.kind = str(self.failure.get("kind", "api"))


class ModuleAction(Quiet):
    """Checks the task's options, and goes through `operate`; a module that fails there fails the task.

    OPTIONS: the argument spec beside the options that lead to Google, which every module gets that is played.
    """

    OPTIONS: ClassVar[Mapping[str, Any]] = {}
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        spec = gcp_argument_spec(**self.OPTIONS)
        _validated, options = self.validate_argument_spec(argument_spec=spec)
        self._task_variables = task_vars or {}
        self._google_options = {
            key: value for key, value in self._task.args.items() if key in spec.keys() - self.OPTIONS.keys()
        }
        try:
            return self.operate(options)
        except ModuleFailed as error:
            return failed(str(error), error.failure)

    @abstractmethod
    def operate(self, options: Json) -> Json:
        """What the task is for: its result."""

    def play(self, module: str, arguments: Json, check: bool = False) -> Json:
        """The result of a module. check: play it as in a check run, always. Raises ModuleFailed."""
        with self._checking(check):
            result: Json = self._execute_module(
                module_name=f"tpuops.maxtext.{module}",
                module_args={**self._google_options, **arguments},
                task_vars=self._task_variables,
            )
        if result.get("failed"):
            raise ModuleFailed(result)
        return result

    def listed(self, module: str, key: str, missing: set[str]) -> list[Json]:
        """What a module finds in all zones; nothing in a project whose API is not enabled.

        key: of its result. missing: takes in the zones that did not answer. Raises ModuleFailed.
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


def failed(message: str, failure: Json) -> Json:
    """The result of a task that failed, with the cause in the words of the modules."""
    return {"failed": True, "msg": message, "failure": failure}
