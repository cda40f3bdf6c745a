# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tpu_capacity, which runs on the controller: it plays other modules of this collection."""

from __future__ import annotations

from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.climb import Climb
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.descent import Descent
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import LadderError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.options import (
    NODE_OPTIONS,
    limits_of,
    make_candidates,
    make_limits,
    priced,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import (
    ModuleAction,
    ModuleFailed,
    failed,
    labels_of_run,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import origin

OPTIONS = {
    **NODE_OPTIONS,
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent", "stopped"], "default": "present"},
    "node": {"type": "dict", "default": {}},
    "delete_disk": {"type": "str"},
    "run": {"type": "str", "default": ""},
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
        candidates = make_candidates(options, options["wait_timeout"])
        common: Json = {
            "name": options["name"],
            "candidates": candidates,
            "play": self.play,
            "say": display.display,
            "labels": labels_of_run(options, options["run"]),
            "check": bool(self._task.check_mode),
        }
        if options["state"] != "present":
            return Descent(**common, down_timeout=options["wait_timeout"])
        limited = bool(make_limits(options, candidates).told())
        return Climb(**common, node=options["node"], disk=options["disk"], limited=limited)

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
