# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module tpu_leftovers, which runs on the controller: it plays other modules of this collection."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels, leftovers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.leftovers import DISK, NODE, QUEUED, Leftover
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import (
    ModuleAction,
    ModuleFailed,
    failed,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import origin

OPTIONS = {
    "delete": {"type": "list", "elements": "str", "default": []},
    "owner": {"type": "str"},
    "me": {"type": "str"},
    "labels": {"type": "dict", "default": {}},
    "prices": {"type": "dict", "default": {}},
    "wait_timeout": {"type": "int", "default": 600},
}
# What deletes each kind, and how.
DELETE: dict[str, tuple[str, Json]] = {
    QUEUED: ("tpu_queued_resource", {"force": True}),
    NODE: ("tpu_vm", {}),
    DISK: ("gcp_disk", {}),
}

display = Display()


class ActionModule(ModuleAction):
    """Lists what is ours, and deletes what is named."""

    OPTIONS = OPTIONS
    _supports_diff = True

    def operate(self, options: Json) -> Json:
        everything, missing = self.everything(options["prices"])
        owner = labels.value(options["owner"] or "")
        there = [each for each in everything if owner in ("", each.owner)]
        try:
            doomed = leftovers.chosen(there, options["delete"], owner or mine(options))
        except ValueError as error:  # leftovers.NotClear too
            raise AnsibleActionFail(f"{error}{unasked(missing)}") from error
        now, currency = datetime.now(UTC), str(options["prices"].get("currency", ""))
        if not options["delete"]:
            self.show(
                there, now, options["prices"], missing, others=len(everything) - len(there), owner=owner
            )
        deleted: list[Leftover] = []
        diffs: list[Json] = []
        failure: Json = {}
        for each in doomed:
            difference = {"before": each.found, "after": {}}
            try:
                # A check run still sees the node that the disk is attached to.
                if not (self._task.check_mode and each.kind == DISK and doomed[0].kind != DISK):
                    difference = self.delete(each, options["wait_timeout"])
            except ModuleFailed as error:
                more = "" if self._task.check_mode else gone(deleted)
                failure = failed(f"{each.path}: {error}{more}", error.failure)
                break
            deleted.append(each)
            diffs.append({**difference, "before_header": each.path, "after_header": each.path})
            display.display(f"{each.path}  {'would be deleted' if self._task.check_mode else 'deleted'}")
        return {
            **failure,
            "changed": bool(deleted),
            "leftovers": [each.described(now, currency) for each in there],
            "hour": sum(each.hour or 0.0 for each in there),
            "deleted": [each.described(now, currency) for each in deleted],
            "diff": diffs,
            "warnings": [unasked(missing).strip()] if missing else [],
        }

    def delete(self, leftover: Leftover, wait_timeout: int) -> Json:
        """What the module shows with --diff."""
        module, arguments = DELETE[leftover.kind]
        place = {"name": leftover.name, "zone": leftover.zone, "state": "absent"}
        result = self.play(module, {**place, **arguments, "wait_timeout": wait_timeout})
        difference: Json = result["diff"]
        return difference

    @staticmethod
    def show(
        there: Sequence[Leftover],
        now: datetime,
        prices: Json,
        missing: Collection[str],
        others: int,
        owner: str,
    ) -> None:
        currency = str(prices.get("currency", ""))
        for each in there:
            display.display(each.line(now, currency))
        total = sum(each.hour or 0.0 for each in there)
        unknown = sum(each.hour is None for each in there)
        more = f", and {unknown} without a price in tpu_vm_prices" if unknown else ""
        display.display(
            f"all of it: {total:.3f} {currency} an hour{more} ({origin(prices)})"
            if there
            else f"nothing is left over{f' that has owner={owner}' if owner else ''}"
            f"{', in the zones that could be asked' if missing else ''}"
            f"{'; other owners have something: leave leftovers_owner out to see it' if others else ''}"
        )


def mine(options: Json) -> str:
    """The value of the label `owner` on what the user of this command has created."""
    if not options["delete"]:
        return ""
    return labels.marked(options["labels"], "", options["me"] or labels.login_name()).get("owner", "")


def unasked(zones: Collection[str]) -> str:
    """That something may be where nobody could look."""
    return f" Google could not ask these zones: {', '.join(sorted(zones))}." if zones else ""


def gone(deleted: Sequence[Leftover]) -> str:
    """What the names of things that are deleted already mean for a user who runs again after a failure."""
    names = ", ".join(each.path for each in deleted)
    return f" Deleted before it: {names}. Run again without these names." if names else ""
