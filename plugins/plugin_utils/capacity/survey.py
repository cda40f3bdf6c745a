# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google has of a name, in the zones of the candidates and elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import short_name, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.elsewhere import Elsewhere
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import (
    GOING,
    Place,
    is_ours,
    maker_of,
    place_of,
    serves,
    state_of,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import ModuleFailed

NOT_ASKED = "Google could not ask it"


class Play(Protocol):
    """Plays a module of this collection. check: as in a check run, always. Raises ModuleFailed."""

    def __call__(self, module: str, arguments: Json, check: bool = False) -> Json: ...


@dataclass
class Survey:
    """Asks Google, and keeps which zones did not answer.

    zones: those of the candidates.
    warn:  takes what the user must know of what was found.
    check: whether this is a check run.
    down:  whether it is asked to delete or to stop what there is.
    """

    name: str
    zones: Sequence[str]
    labels: Mapping[str, str]
    play: Play
    warn: Callable[[str], None]
    check: bool
    down: bool

    def __post_init__(self) -> None:
        self.unasked: dict[str, Json] = {}  # zone -> why it did not answer
        self._makers: set[Place] = set()  # queued resources that nodes of ours come from
        self._lost_makers: set[Place] = set()  # those that other people's nodes come from
        self._served_elsewhere: list[Json] = []

    def nodes(self) -> list[Json]:
        arguments = {"zones": self.zones, "name": self.name}
        found = self._listed("tpu_vm_info", arguments, "nodes")
        self._makers = {maker_of(node) for node in found if self.ours(node)}
        self._lost_makers = {maker_of(node) for node in found if not self.ours(node)}
        return sorted(found, key=lambda node: self.zones.index(zone_of(node)))

    def queued(self) -> list[Json]:
        """The queued resources of the name in the candidates' zones, elsewhere those of ours without a node.

        All zones are asked, in one request: what a candidate waited for stays when that is off the list.
        """
        found = self._listed("tpu_queued_resource_info", {"name": self.name}, "queued_resources")
        here = [item for item in found if zone_of(item) in self.zones]
        others = [item for item in found if item not in here and self.ours(item)]
        self._served_elsewhere = [item for item in others if state_of(item) == "ACTIVE"]
        for item in [] if self.down else self._served_elsewhere:
            self.warn(
                as_started(
                    f"The queued resource {self.name} in {zone_of(item)}, where no candidate is, has its "
                    "node, which costs money. Add a candidate there, or delete it with ansible-playbook "
                    f"playbooks/leftovers.yml -e leftovers_delete=queued:{zone_of(item)}/{self.name}"
                )
            )
        here.sort(key=lambda item: self.zones.index(zone_of(item)))
        return here + [item for item in others if item not in self._served_elsewhere]

    def elsewhere(self, everything: bool = False) -> Elsewhere:
        """What other zones have of ours: of the name, or everything."""
        try:
            nodes, missing = self._asked("tpu_vm_info", {} if everything else {"name": self.name}, "nodes")
        except ModuleFailed as failed:
            return Elsewhere(named=self._served_elsewhere, unknown=str(failed))
        ours = [node for node in nodes if is_ours(node, self.labels)]
        named = [node for node in ours if short_name(node["name"]) == self.name]
        there = [node for node in named if zone_of(node) not in self.zones and state_of(node) != GOING]
        queued = [item for item in self._served_elsewhere if not serves(item, named)]
        return Elsewhere(
            [*there, *queued], [node for node in ours if node not in named], partly=bool(missing)
        )

    def history(self) -> list[Json]:
        """What Google remembers of nodes of the name in the candidates' zones, also if they are deleted."""
        zones = [zone for zone in self.zones if zone not in self.unasked]
        try:
            found = self.play("tpu_vm_info", {"name": self.name, "zones": zones, "history": True})
        except ModuleFailed:  # an API that is not enabled, a zone that does not answer: nothing is remembered
            return []
        history: list[Json] = found["history"]
        return history

    def disks(self, name: str) -> tuple[list[Json], list[str]]:
        """The disks of a name, and the candidates' zones whose disks Google could not tell.

        That is another API: a zone without an answer here may well give a node.
        """
        disks, missing = self._asked("gcp_disk_info", {"name": name}, "disks")
        return disks, [zone for zone in self.zones if zone in missing]

    def ours(self, resource: Json) -> bool:
        """Whether this tool made it for the same person: others may well use the same name.

        Of what a node comes from the node's labels tell: its own cannot change when somebody else takes the
        node on, and it is deleted with the node.
        """
        if "tpu" in resource and place_of(resource) in self._makers | self._lost_makers:
            return place_of(resource) in self._makers
        return is_ours(resource, self.labels)

    def _listed(self, module: str, arguments: Json, key: str) -> list[Json]:
        """What there is. Zones that did not answer are kept, each with its first failure."""
        items, missing = self._asked(module, arguments, key)
        self.unasked = {**missing, **self.unasked}
        return items

    def _asked(self, module: str, arguments: Json, key: str) -> tuple[list[Json], dict[str, Json]]:
        """What there is, and why zones did not answer.

        Where the API is not enabled there is nothing, on the way down and in a check run, which has not
        enabled it.
        """
        try:
            found = self.play(module, arguments)
        except ModuleFailed as failed:
            if failed.kind == "api_disabled" and (self.check or self.down):
                return [], {}
            raise
        missing = found.get("unreachable_zones", [])
        if missing:
            self.warn(f"Google could not ask these zones: {', '.join(missing)}.")
        failures = found.get("zone_failures", {})
        items: list[Json] = found[key]
        return items, {
            zone: failures.get(zone) or {"kind": "unavailable", "msg": NOT_ASKED} for zone in missing
        }
