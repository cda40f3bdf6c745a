# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The way up: a node from the first of several places that has one, with its data disk."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD, QUEUED, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.attempts import Attempts
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import LadderError, refused
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import (
    GOING,
    disks_of,
    kind_of,
    maker_of,
    place_of,
    remedy,
    serves,
    state_of,
    whose,
)

# Of a zone that Google could not be asked about: it may answer the next time.
PASSING = frozenset({"unavailable", "transport", "rate_limited", "timeout"})
ALIVE = QUEUED | {"ACTIVE"}


@dataclass
class Climb(Attempts):
    """One way up: what may be used, what is in the way, and which candidates are left to ask.

    limited: whether its nodes end by themselves, so that one may have done so.
    """

    limited: bool = False

    def climb(self) -> Json:
        """Get the node: the fields of the result. Raises LadderError or ModuleFailed."""
        nodes = self.survey.nodes()
        self._refuse_wrong_zones()
        self._tell_own_end(nodes)
        living = [node for node in nodes if self.survey.ours(node) and state_of(node) not in DEAD | {GOING}]
        for other in living[1:]:
            self.warnings.append(
                f"There is a TPU VM {self.name} in {zone_of(other)} as well. It costs money too."
            )
        if living and state_of(living[0]) != "CREATING":
            return self._kept(living[0])
        queued = self.survey.queued()
        begun = [*living[:1], *filter(self._waited_for, queued)][:1]
        allowed = self._allowed()
        rest = [node for node in nodes if node not in living]
        self._refuse_others([*queued, *rest], {candidate.zone for candidate in allowed})
        if not begun:
            self._check()
        # What waits for a candidate that is not tried any more could become a second node.
        begun = [item for item in begun if item in living or self._maker(item) in allowed]
        self._purge([item for item in queued if not serves(item, begun)], rest)
        # What an earlier run began is waited for first; what was refused before it is not asked again.
        makers = [self._maker(item) for item in begun]
        return self.first(allowed[allowed.index(makers[0]) if makers and makers[0] in allowed else 0 :])

    def _tell_own_end(self, nodes: Sequence[Json]) -> None:
        """Say that the node stopped or deleted itself, where Google knows it."""
        told = [own_end.of_node(node) for node in nodes if self.survey.ours(node)]
        if self.limited and not nodes:
            told.append(own_end.of_history(self.name, self.survey.history(), self.labels))
        for line in filter(None, told):
            self.say(f"{self.name}  {line}")

    def _refuse_wrong_zones(self) -> None:
        """Stop at a zone that would fail again, as one that does not exist; warn of the others."""
        for zone in filter(self.survey.unasked.__contains__, self.zones):
            failure = self.survey.unasked[zone]
            self.warnings.append(
                f"The candidates in {zone} are not tried: {failure['msg'].rstrip('.')}. If there is a TPU VM "
                f"{self.name}, it costs money too."
            )
            if failure["kind"] not in PASSING:
                told = {key: value for key, value in failure.items() if key != "msg"}
                raise LadderError(f"{zone}: {failure['msg']}", told)

    def _waited_for(self, queued: Json) -> bool:
        """Whether it is ours and may still give the node that a candidate asks for."""
        alive = state_of(queued) in ALIVE and self.survey.ours(queued)
        return alive and any(c.zone == zone_of(queued) and c.made(queued) for c in self.candidates)

    def _maker(self, found: Json) -> Candidate:
        """The candidate that a node or queued resource comes from, else the first of its zone."""
        here = [candidate for candidate in self.candidates if candidate.zone == zone_of(found)]
        return next((candidate for candidate in here if candidate.made(found)), here[0])

    def _check(self) -> None:
        """Refuse what Google would refuse, of any candidate, while nothing is made."""
        seen = []
        for candidate in self.candidates:
            what = (candidate.zone, candidate.accelerator_type, candidate.runtime_version)
            if what not in seen and candidate.zone not in self.survey.unasked:
                seen.append(what)
                self.play("tpu_vm", self.node_arguments(candidate), check=True)

    def _allowed(self) -> list[Candidate]:
        """The candidates in the zone of the data, all of them where there is no data yet."""
        if self.disk is None:
            return list(self.candidates)
        disks, missing = self.survey.disks(self.disk["name"])
        ours = [disk for disk in disks if self.survey.ours(disk)]
        here = sorted({disk["zone"] for disk in ours if disk["zone"] in self.zones})
        elsewhere = [disk["zone"] for disk in ours if disk["zone"] not in self.zones]
        name = self.disk["name"]
        if len(here) > 1:
            raise refused(
                f"There is a disk {name} in each of {', '.join(here)}, and the data of this run can be on "
                "one only. Keep only the candidates in its zone, delete the other disk, or name a new one."
            )
        if not here and elsewhere:
            raise refused(
                f"The disk {name}, with its data, is in {', '.join(elsewhere)}, where no candidate is. Add a "
                "candidate there, or name another disk."
            )
        if not here and missing:
            raise refused(
                f"The disk {name} was not found, and Google could not ask {', '.join(missing)}, where it may "
                "be with its data. Run again when it can, or take the candidates there off the list.",
                "dataUnknown",
                "unavailable",
            )
        if not here:
            self._refuse_others(disks, self.zones)
            return list(self.candidates)
        allowed = [candidate for candidate in self.candidates if candidate.zone == here[0]]
        self.pinned = {"disk": name, "zone": here[0]}
        if len(allowed) < len(self.candidates):
            self.warnings.append(
                f"The disk {name}, with its data, is in {here[0]}: only the candidates there are tried, "
                f"{', '.join(map(str, allowed))}."
            )
        return allowed

    def _refuse_others(self, found: Sequence[Json], zones: Container[str]) -> None:
        """Stop at what has the name in one of the zones and is not ours to use, or to delete."""
        others = [
            item
            for item in found
            if zone_of(item) in zones and state_of(item) != GOING and not self.survey.ours(item)
        ]
        makers = {maker_of(item) for item in others}  # what is said of a node goes for what it comes from
        others = [item for item in others if "tpu" not in item or place_of(item) not in makers]
        if others:
            raise refused(
                "\n".join(
                    f"{whose(item, self.labels)} {remedy(item, self.labels)}; else name another "
                    f"{kind_of(item)}, or take the candidates in {zone_of(item)} off the list."
                    for item in others
                ),
                "notOurs",
            )

    def _purge(self, queued: Sequence[Json], nodes: Sequence[Json]) -> None:
        """Delete what is ours of queued resources that no candidate asks for, and of preempted nodes.

        It takes quota, has the name, may hold the disk, and may become a second node.
        """
        queued, dead = [[item for item in found if self.purged(item)] for found in (queued, nodes)]
        self.delete_all(queued, dead)
        self.left_queue = {zone_of(item) for item in queued}
        verb = "would delete" if self.check else "deleted"
        for item in queued:
            why = ", which no candidate asks for any more" if state_of(item) in ALIVE else ""
            self.say(f"{self.name}  {verb} the queued resource in {zone_of(item)}: {state_of(item)}{why}")
        for node in dead:
            self.say(f"{self.name}  {verb} what was left in {zone_of(node)}: {state_of(node)}")

    def _kept(self, node: Json) -> Json:
        """Bring a node that lives, and its disk, to what the options say."""
        self.there = True
        candidate = self._maker(node)
        if self.disk is not None and self.disk["name"] not in disks_of(node):
            self._refuse_others(self.survey.disks(self.disk["name"])[0], {candidate.zone})
        self.make_disk(candidate, keeps=True)
        return self.won(candidate, self.play("tpu_vm", self.node_arguments(candidate)))
