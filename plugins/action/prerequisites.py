# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module prerequisites, with the command that creates what is missing: the controller knows it."""

from __future__ import annotations

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import command
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prerequisites import told
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet


class ActionModule(Quiet):
    """Fails where something is missing, unless it is a check run: that has not made it."""

    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        result: Json = self._execute_module(
            module_name="tpuops.maxtext.prerequisites", module_args=self._task.args, task_vars=variables
        )
        if result.get("failed") or not result.get("missing") or self._task.check_mode:
            return result
        # What a task is given has templates in it; hostvars has their values.
        host = (variables.get("hostvars") or {}).get(variables.get("inventory_hostname")) or variables
        node = str(host.get("tpu_node") or variables.get("inventory_hostname"))
        told_of = told(self._task.args["stage"], node, result["missing"], self._task.args)
        again = command("site", "--tags", told_of.tags)
        return {
            **result,
            "failed": True,
            "msg": f"{told_of.words} To create what is missing and go on: {again}",
        }
