# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tpu_capacity, which runs on the controller: it plays other modules of this collection."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import generation
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels, own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.climb import Climb
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.descent import Descent
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import LadderError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import (
    ModuleAction,
    ModuleFailed,
    failed,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import Cost, cost, origin

CANDIDATE = {
    "zone": {"type": "str", "required": True},
    "accelerator_type": {"type": "str", "required": True},
    "runtime_version": {"type": "str"},
    "provisioning": {
        "type": "str",
        "choices": ["on-demand", "spot", "queued", "reserved"],
        "default": "on-demand",
    },
    "spot": {"type": "bool", "default": False},
    "valid_for": {"type": "int"},
    "timeout": {"type": "int"},
}
OPTIONS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "stopped"], "default": "present"},
    "candidates": {"type": "list", "elements": "dict", "required": True, "options": CANDIDATE},
    "node": {"type": "dict", "default": {}},
    "disk": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "size_gb": {"type": "int"},
            "type": {"type": "str"},
        },
    },
    "delete_disk": {"type": "str"},
    "labels": {"type": "dict", "default": {}},
    "run": {"type": "str", "default": ""},
    "owner": {"type": "str"},
    "prices": {"type": "dict", "default": {}},
    "limits": own_end.OPTIONS,
    "wait_timeout": {"type": "int", "default": 1800},
}

display = Display()


class ActionModule(ModuleAction):
    """Plays the ladder with Ansible's modules, and shows what comes of it."""

    OPTIONS = OPTIONS
    _supports_diff = True

    def operate(self, options: Json) -> Json:
        ladder = self.make_ladder(options)
        plan = self.make_plan(ladder, options["prices"]) if isinstance(ladder, Climb) else {}
        try:
            if isinstance(ladder, Climb):
                result = ladder.climb()
                plan["candidates"] = [line for line in plan["candidates"] if self.matters(line, ladder)]
            elif options["state"] == "stopped":
                result = ladder.stop()
            else:
                result = ladder.descend(options["delete_disk"] or "")
        except LadderError as error:
            result = {**failed(str(error), error.failure), "refusals": error.refusals}
        except ModuleFailed as error:
            result = failed(str(error), error.failure)
        if isinstance(ladder, Climb) and not result.get("failed"):
            self.show_plan(ladder, plan, result, limits_of(options).told())
        return {**result, "plan": plan, "warnings": list(dict.fromkeys(map(str, ladder.warnings)))}

    def make_ladder(self, options: Json) -> Climb | Descent:
        if not options["candidates"]:
            raise AnsibleActionFail("candidates: there is none. Name at least one zone and accelerator type.")
        try:
            marked = labels.marked(options["labels"], options["run"], options["owner"] or labels.login_name())
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        candidates = [self.make_candidate(given, options) for given in options["candidates"]]
        common: Json = {
            "name": options["name"],
            "candidates": candidates,
            "play": self.play,
            "say": display.display,
            "labels": marked,
            "check": bool(self._task.check_mode),
        }
        if options["state"] != "present":
            return Descent(**common, down_timeout=options["wait_timeout"])
        limited = bool(make_limits(options, candidates).told())
        return Climb(**common, node=options["node"], disk=options["disk"], limited=limited)

    @staticmethod
    def make_candidate(given: Json, options: Json) -> Candidate:
        kind = generation(given["accelerator_type"])
        # Of an unknown type tpu_vm says whether the zone has it at all, and then that a version is missing.
        version = given["runtime_version"] or (kind.runtime_version if kind else None)
        if given["provisioning"] != "queued" and (given["spot"] or given["valid_for"] is not None):
            raise AnsibleActionFail(
                f"candidates: spot and valid_for belong to provisioning=queued, not to "
                f"{given['provisioning']}. A spot node has provisioning=spot."
            )
        return Candidate(
            zone=given["zone"],
            accelerator_type=given["accelerator_type"],
            runtime_version=version,
            provisioning=given["provisioning"],
            spot=given["spot"],
            valid_for=given["valid_for"],
            timeout=given["timeout"] or options["wait_timeout"],
        )

    @staticmethod
    def make_plan(ladder: Climb, prices: Json) -> Json:
        """What each candidate would cost: {candidates: [{label, zone, cost, ...}], prices}."""
        return {
            "candidates": [priced(candidate, ladder.disk, prices) for candidate in ladder.candidates],
            "prices": origin(prices),
        }

    @staticmethod
    def matters(line: Json, ladder: Climb) -> bool:
        """Whether a candidate can still be tried: not where the data is in another zone."""
        return not ladder.pinned or line["zone"] == ladder.pinned["zone"]

    @staticmethod
    def show_plan(ladder: Climb, plan: Json, result: Json, limit: str) -> None:
        """In a check run, what would be made and what that costs; else what was made, if anything was."""
        won = str(result["label"])
        if not ladder.check:
            if result["changed"]:
                line = next(line for line in plan["candidates"] if line["label"] == won)
                display.display(f"{ladder.name}  {won}: {line['cost']}")
            return
        if result["there"]:
            verb = "would be changed" if result["changed"] else "is there, nothing is to be created"
            display.display(f"{ladder.name}  {won}: {verb}")
            shown = [line for line in plan["candidates"] if line["label"] == won]
        else:
            display.display(f"{ladder.name}  would be created by the first of these that has capacity:")
            shown = plan["candidates"]
        for number, line in enumerate(shown, 1):
            display.display(f"  {number}. {line['label']}: {line['cost']}")
        for what in result["changes"]:
            display.display(f"  {what}")
        if limit:
            display.display(f"  It {limit}.")
        display.display(f"  ({plan['prices']})")


def limits_of(options: Json) -> own_end.Limits:
    return own_end.Limits(**(options["limits"] or {}))


def make_limits(options: Json, candidates: list[Candidate]) -> own_end.Limits:
    """When the node ends by itself. Refuses what a candidate cannot have."""
    limits = limits_of(options)
    if problem := limits.problem(candidates):
        raise AnsibleActionFail(problem)
    return limits


def priced(candidate: Candidate, data_disk: Json | None, prices: Json) -> Json:
    """What an hour of a candidate costs, with the data disk, if there is one."""
    disk = data_disk or {}
    kind = generation(candidate.accelerator_type)
    disk_type = disk.get("type") or (kind.disk_type if kind else "pd-balanced")
    found: Cost = cost(
        prices,
        candidate.zone,
        candidate.accelerator_type,
        candidate.tier,
        disk_type if disk else "",
        disk.get("size_gb") or 0,
    )
    return {
        "label": str(candidate),
        "zone": candidate.zone,
        "cost": str(found),
        "node_hour": found.node,
        "disk_hour": found.disk,
        "total_hour": found.total,
        "currency": found.currency,
    }
