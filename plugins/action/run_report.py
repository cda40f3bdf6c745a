# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module run_report, which runs on the controller: it asks Google, and prints text for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import connect
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import (
    leftovers,
    own_end,
    run_report,
    tunnel,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.options import (
    NODE_OPTIONS,
    make_candidates,
    make_limits,
    priced,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import (
    ModuleAction,
    ModuleFailed,
    labels_of_run,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import origin
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_report import Details
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown

OPTIONS = {
    **NODE_OPTIONS,
    "phase": {"type": "str", "choices": ["start", "end", "status"], "default": "status"},
    "name": {"type": "str", "required": True},
    "hosts": {"type": "list", "elements": "str", "default": []},
    "hf_repo": {"type": "str", "default": ""},
    "hf_endpoint": {"type": "str", "default": "https://huggingface.co"},
}
READ = "_tpu_vm_runs"  # the variable in which the workers keep what run_info returned
UNNAMED = "yours (the credentials do not tell its name)"

display = Display()


class ActionModule(ModuleAction):
    """Prints the block that belongs to the phase."""

    OPTIONS = OPTIONS

    def operate(self, options: Json) -> Json:
        self.warnings: list[str] = []
        lines = self.started(options) if options["phase"] == "start" else self.status(options)
        for line in lines:
            display.display(line)
        warnings = {"warnings": self.warnings} if self.warnings else {}
        return {"changed": False, "report": lines, **warnings}

    def started(self, options: Json) -> list[str]:
        """No question is put to Google."""
        found = make_candidates(options)
        places = [priced(each, options["disk"], options["prices"]) for each in found]
        repo, hub = options["hf_repo"], options["hf_endpoint"]
        limit = make_limits(options, found).told()
        lines = run_report.start(
            str(options["project"]), account(options), options["name"], places, repo, hub, limit
        )
        # A check run prints its plan with the prices, and what they are.
        return lines if self._task.check_mode else [*lines, f"           ({origin(options['prices'])})"]

    def status(self, options: Json) -> list[str]:
        everything, missing = self.everything(options["prices"])
        marked = labels_of_run(options)
        return run_report.status(
            run_report.View(
                project=str(options["project"]),
                account=account(options),
                name=options["name"],
                resources=[each for each in everything if each.owner == marked.get("owner", "")],
                details=self.details(options["hosts"]),
                now=datetime.now(UTC),
                currency=str(options["prices"].get("currency", "")),
                hub=options["hf_endpoint"],
                unasked=sorted(missing),
                ended=self.ended(options, everything, marked),
                notes=[f"({origin(options['prices'])})"] if options["phase"] == "status" else [],
            )
        )

    def ended(self, options: Json, resources: list[leftovers.Leftover], marked: Mapping[str, str]) -> str:
        """That our node of the name, which is not there, deleted itself.

        A report that fails tells nobody what costs money. Why Google does not say it is a warning.
        """
        if any(each.kind == leftovers.NODE and each.name == options["name"] for each in resources):
            return ""
        zones = list(dict.fromkeys(each["zone"] for each in options["candidates"]))
        try:
            found = self.play("tpu_vm_info", {"name": options["name"], "zones": zones, "history": True})
        except ModuleFailed as error:
            if error.kind != "api_disabled":  # without the API there was no node
                self.warnings.append(
                    f"Whether TPU VM {options['name']} deleted itself is not known: "
                    f"{str(error).rstrip('.')}. Run again."
                )
            return ""
        return own_end.of_history(options["name"], found["history"], marked)

    def details(self, hosts: list[str]) -> dict[tuple[str, str], Details]:
        """What the first worker of each node was asked."""
        found: dict[tuple[str, str], Details] = {}
        for host in hosts:
            variables = self._task_variables["hostvars"][host]
            place = (str(variables["tpu_zone"]), str(variables["tpu_node"]))
            if int(variables.get("tpu_worker_id") or 0) == 0 or place not in found:
                found[place] = of_worker(host, variables)
        return found


def of_worker(host: str, variables: Mapping[str, Any]) -> Details:
    read = variables.get(READ) or {}
    if "runs" in read:
        return Details(dict(read), tunnel.command(variables))
    return Details(None, tunnel.command(variables), f"{host}: {read.get('msg') or 'was not asked'}")


def account(options: Mapping[str, Any]) -> str:
    """Whose credentials are used."""
    try:
        return connect(options).email or UNNAMED
    except GcpError as error:
        return f"unknown: {shown(error)}"
