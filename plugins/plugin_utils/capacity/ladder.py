# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the way up the ladder and the way down have in common: what they delete, count and refuse.

They decide, and the modules of this collection act. The caller says how a module is played and where lines
are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.survey import Play, Survey
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import GOING, maker_of, place_of, state_of

CLEAN_UP_TIMEOUT = 300


class LadderError(Exception):
    """What ends the ladder. failure: the cause, as the modules return it; refusals: of those tried before."""

    def __init__(self, message: str, failure: Json, refusals: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.failure = failure
        self.refusals = list(refusals)


def refused(message: str, reason: str = "dataElsewhere", kind: str = "precondition") -> LadderError:
    """What is refused before anything is asked for."""
    return LadderError(message, {"kind": kind, "code": 0, "reason": reason, "details": []})


@dataclass
class Ladder:
    """Candidates, and what is done with what they have.

    name:       of the node, and of its queued resource.
    candidates: in the order in which they are tried; at least one.
    labels:     of everything that is made.
    check:      whether this is a check run.
    down_timeout: seconds that a deletion may take, or a stop.
    """

    DOWN: ClassVar[bool]

    name: str
    candidates: Sequence[Candidate]
    play: Play
    say: Callable[[str], None]
    labels: dict[str, str] = field(default_factory=dict)
    check: bool = False
    down_timeout: int = CLEAN_UP_TIMEOUT

    def __post_init__(self) -> None:
        self.changed = False
        self.warnings: list[str] = []
        self.diffs: list[Json] = []
        self.survey = Survey(
            self.name, self.zones, self.labels, self.play, self.warnings.append, self.check, self.DOWN
        )

    @property
    def zones(self) -> list[str]:
        return list(dict.fromkeys(candidate.zone for candidate in self.candidates))

    def purged(self, found: Json) -> bool:
        """Whether it is ours, or goes already and is only waited for."""
        return self.survey.ours(found) or state_of(found) == GOING

    def delete_all(self, queued: Sequence[Json], nodes: Sequence[Json]) -> None:
        """Delete queued resources, then nodes, each with the queued resource that it comes from."""
        makers = [*map(place_of, queued), *map(maker_of, nodes)]
        for zone, name in dict.fromkeys(maker for maker in makers if maker[1]):
            self.delete_queued(zone, name)
        for node in nodes:
            self.delete_node(zone_of(node))

    def delete_node(self, zone: str) -> None:
        arguments = {"name": self.name, "zone": zone, "state": "absent"}
        result = self.play("tpu_vm", {**arguments, "wait_timeout": self.down_timeout})
        self.count(result, f"TPU VM {self.name} in {zone}")

    def delete_queued(self, zone: str, name: str) -> None:
        arguments = {"name": name, "zone": zone, "state": "absent", "force": True}
        result = self.play("tpu_queued_resource", {**arguments, "wait_timeout": self.down_timeout})
        self.count(result, f"queued resource {name} in {zone}")

    def count(self, result: Json, what: str) -> None:
        """Take a result into that of the task."""
        self.changed = self.changed or bool(result.get("changed"))
        difference = result.get("diff") or {}
        if result.get("changed") and difference:
            self.diffs.append({**difference, "before_header": what, "after_header": what})
