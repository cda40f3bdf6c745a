# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tpu_workers, which looks at the inventory alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import run_workers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import OptionsAction, labels_of_run

OPTIONS = {
    "name": {"type": "str"},
    "nodes": {"type": "list", "elements": "dict"},
    "labels": {"type": "dict", "default": {}},
    "owner": {"type": "str"},
    "project": {"type": "str"},
    "zones": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(OptionsAction):
    """Finds the hosts of a run."""

    TRANSFERS_FILES = False
    OPTIONS = OPTIONS
    RULES: ClassVar[Mapping[str, Any]] = {
        "required_one_of": [("name", "nodes", "project")],
        "mutually_exclusive": [("name", "nodes"), ("nodes", "project")],
    }

    def operate(self, options: Json) -> Json:
        variables = self._task_variables
        if options["project"] is not None:
            sources = variables.get(run_workers.LISTED, [])
            why = run_workers.unlisted(sources, options["project"], options["zones"], options["name"])
            if why:
                raise AnsibleActionFail(why)
            if options["name"] is None:
                return {"hosts": [], "others": [], "missing": "", "changed": False}
        groups, hostvars = variables["groups"], variables["hostvars"]
        if options["nodes"] is not None:
            found = run_workers.of_nodes(groups, hostvars, options["nodes"])
        else:
            found = run_workers.of_run(groups, hostvars, options["name"], labels_of_run(options))
        return {**found, "changed": False}
