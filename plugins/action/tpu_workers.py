# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tpu_workers, which looks at the inventory alone."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels, run_workers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet

OPTIONS = {
    "name": {"type": "str"},
    "nodes": {"type": "list", "elements": "dict"},
    "labels": {"type": "dict", "default": {}},
    "owner": {"type": "str"},
    "project": {"type": "str"},
    "zones": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(Quiet):
    """Finds the hosts of a run."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: Json | None = None) -> Json:
        super().run(tmp, task_vars)
        _validated, options = self.validate_argument_spec(
            argument_spec=OPTIONS,
            required_one_of=[("name", "nodes", "project")],
            mutually_exclusive=[("name", "nodes"), ("nodes", "project")],
        )
        variables = task_vars or {}
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
            try:
                mine = labels.marked(options["labels"], "", options["owner"] or labels.login_name())
            except ValueError as error:
                raise AnsibleActionFail(str(error)) from error
            found = run_workers.of_run(groups, hostvars, options["name"], mine)
        return {**found, "changed": False}
