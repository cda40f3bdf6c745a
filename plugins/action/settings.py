# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module settings, which looks at what the user of this run has set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import (
    setting_names,
    setting_values,
    settings,
    settings_given,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import OptionsAction

#: What molecule skips in each of its runs.
SKIPPED_BY_MOLECULE = ("molecule-notest", "notest", "molecule-idempotence-notest")
OPTIONS = {"values": {"type": "dict"}}


class ActionModule(OptionsAction):
    """Fails with a sentence for each setting, tag and limit that this run cannot have."""

    TRANSFERS_FILES = False
    OPTIONS = OPTIONS

    def operate(self, options: Json) -> Json:
        if options["values"] is not None:
            problems = setting_values.problems(options["values"])
        else:
            problems = self._problems_of_run(self._task_variables)
        told = " ".join(dict.fromkeys(each for each in problems if each))
        return {"changed": False, **({"failed": True, "msg": told} if told else {})}

    def _problems_of_run(self, variables: Mapping[str, Any]) -> list[str]:
        given = settings_given.variables(self._loader, variables["hostvars"], self._play_vars())
        values = [self._problem(each, variables) for each in given if each.name in settings.known()]
        return [
            *limit_problems(variables.get("ansible_limit")),
            *self._tag_problems(variables),
            *setting_names.misspelt(given),
            *values,
        ]

    def _play_vars(self) -> Mapping[str, Any]:
        return dict(self._task.play.vars)

    def _problem(self, given: setting_names.Given, variables: Mapping[str, Any]) -> str:
        """A value that cannot be evaluated yet is left to the role that needs it, which says why."""
        here = given.name in variables
        if not given.ours and not here:
            return ""
        try:
            # What is set for the workers is not among the variables of this host, or is another value there.
            value = self._templar.template(given.value if given.ours else variables[given.name])
            told = setting_values.problem(given.name, value)
            if told or not given.ours:
                return told
            seen = [self._templar.template(variables[given.name])] if here else []
            return setting_values.unseen(given, value, seen)
        except AnsibleError:
            return ""

    def _tag_problems(self, variables: Mapping[str, Any]) -> list[str]:
        """The playbook names its tags in playbook_tags, and the user's own in other_tags."""
        tags, skips, others = (
            list(self._templar.template(variables.get(name) or []))
            for name in ("playbook_tags", "playbook_skips", "other_tags")
        )
        skipped = [tag for tag in variables.get("ansible_skip_tags", ()) if tag not in SKIPPED_BY_MOLECULE]
        return [
            *setting_names.unknown_tags(variables.get("ansible_run_tags", ()), [*tags, *others]),
            *setting_names.unknown_skips(skipped, [*skips, *others]),
        ]


def limit_problems(limit: str | None) -> list[str]:
    if limit is None:
        return []
    return [
        f"--limit: is {limit}, and this playbook takes none. Leave it out: the playbook runs on the "
        "controller and on the workers of the one node that -e tpu_vm_name=NAME names."
    ]
