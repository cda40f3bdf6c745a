# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity ladder: a node from the first of several places that has one, with its data disk.

It decides, and the modules of this collection act. The caller says how a module is played and where lines are
shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import generation
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import (
    DEAD,
    QUEUED,
    short_name,
    zone_of,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import elsewhere, own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.elsewhere import Elsewhere
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import OURS, labels_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import ModuleFailed

Place = tuple[str, str]  # zone and name

# Refusals that another place may not give. Everything else (a permission, bad input) would come again there.
MOVES_ON = frozenset({"stockout", "quota", "preempted", "timeout"})
DISK_MOVES_ON = frozenset({"stockout", "quota"})
# A queued resource that was not served within its validity ends as Google's DEADLINE_EXCEEDED.
QUEUED_MOVES_ON = MOVES_ON | {"unavailable"}
# Of a zone that Google could not be asked about: it may answer the next time.
PASSING = frozenset({"unavailable", "transport", "rate_limited", "timeout"})
GOING = "DELETING"
ALIVE = QUEUED | {"ACTIVE"}
CLEAN_UP_TIMEOUT = 300
NOT_ASKED = "Google could not ask it"


class Play(Protocol):
    """Plays a module of this collection. check: as in a check run, always. Raises ModuleFailed."""

    def __call__(self, module: str, arguments: Json, check: bool = False) -> Json: ...


@dataclass(frozen=True)
class Candidate:
    """A place to try.

    runtime_version: None where none is known for the accelerator type.
    provisioning: on-demand, spot, queued (a queued resource) or reserved.
    spot:         for a queued one, whether it asks for spot capacity.
    valid_for:    for a queued one, seconds after which Google drops the request.
    timeout:      seconds that it may take until the node is there.
    """

    zone: str
    accelerator_type: str
    runtime_version: str | None
    provisioning: str = "on-demand"
    spot: bool = False
    valid_for: int | None = None
    timeout: int = 1800

    def __str__(self) -> str:
        how = "queued spot" if self.queued and self.spot else self.provisioning
        return f"{self.zone} {self.accelerator_type} {how}"

    @property
    def queued(self) -> bool:
        return self.provisioning == "queued"

    @property
    def tier(self) -> str:
        """What it is paid as."""
        if self.queued:
            return "spot" if self.spot else "on-demand"
        return self.provisioning

    @property
    def node_options(self) -> Json:
        """The arguments of tpu_vm. The queued resource of a queued node has those for its capacity."""
        tiers = {"on-demand": {"spot": False}, "spot": {"spot": True}, "reserved": {"reserved": True}}
        return {
            "zone": self.zone,
            "accelerator_type": self.accelerator_type,
            **({"runtime_version": self.runtime_version} if self.runtime_version else {}),
            **tiers.get(self.provisioning, {}),
        }

    @property
    def queue_options(self) -> Json:
        valid = {} if self.valid_for is None else {"valid_until_duration": f"{self.valid_for}s"}
        return {**self.node_options, "spot": self.spot, **valid}

    def made(self, found: Mapping[str, Any]) -> bool:
        """Whether a node or queued resource of its zone is what it asks for."""
        if "tpu" in found:
            types = {spec.get("node", {}).get("acceleratorType") for spec in found["tpu"].get("nodeSpec", [])}
            return self.queued and self.spot == ("spot" in found) and types == {self.accelerator_type}
        scheduling = found.get("schedulingConfig", {})
        how = next((tier for tier in ("spot", "reserved") if scheduling.get(tier)), "on-demand")
        same = self.queued if found.get("queuedResource") else self.provisioning == how
        return same and found.get("acceleratorType") == self.accelerator_type


class DiskRefused(ModuleFailed):
    """The disk could not be made."""


class LadderError(Exception):
    """What ends the ladder. failure: the cause, as the modules return it; refusals: of those tried before."""

    def __init__(self, message: str, failure: Json, refusals: Sequence[Json] = ()) -> None:
        super().__init__(message)
        self.failure = failure
        self.refusals = list(refusals)


@dataclass
class Ladder:
    """One climb, or one way down.

    name:       of the node, and of its queued resource.
    candidates: in the order in which they are tried; at least one.
    node:       options of tpu_vm that are the same everywhere.
    disk:       options of gcp_disk that are the same everywhere, None for a node without a disk.
    labels:     of everything that is made.
    check:      whether this is a check run.
    down_timeout: seconds that a deletion may take, or a stop.
    limited:    whether its nodes end by themselves, so that one may have done so.
    """

    name: str
    candidates: Sequence[Candidate]
    play: Play
    say: Callable[[str], None]
    node: Json = field(default_factory=dict)
    disk: Json | None = None
    labels: dict[str, str] = field(default_factory=dict)
    check: bool = False
    down_timeout: int = CLEAN_UP_TIMEOUT
    limited: bool = False

    def __post_init__(self) -> None:
        self.changed = False
        self.warnings: list[str] = []
        self.kept: list[str] = []
        self.diffs: list[Json] = []
        self.refusals: list[Json] = []
        self.pinned: Json = {}
        self.makers: set[Place] = set()
        self.lost_makers: set[Place] = set()
        self.unasked: dict[str, Json] = {}
        self.left: list[str] = []
        self.left_queue: set[str] = set()
        self.served_elsewhere: list[Json] = []
        self.there = False

    @property
    def zones(self) -> list[str]:
        return list(dict.fromkeys(candidate.zone for candidate in self.candidates))

    # ---- up

    def climb(self) -> Json:
        """Get the node: the fields of the result. Raises LadderError or ModuleFailed."""
        nodes = self._nodes()
        self._refuse_wrong_zones()
        self._tell_own_end(nodes)
        living = [node for node in nodes if self._ours(node) and state_of(node) not in DEAD | {GOING}]
        for other in living[1:]:
            self._warn(f"There is a TPU VM {self.name} in {zone_of(other)} as well. It costs money too.")
        if living and state_of(living[0]) != "CREATING":
            return self._kept(living[0])
        queued = self._queued()
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
        return self._first(allowed[allowed.index(makers[0]) if makers and makers[0] in allowed else 0 :])

    def _nodes(self, down: bool = False) -> list[Json]:
        arguments = {"zones": self.zones, "name": self.name}
        found = self._survey("tpu_vm_info", arguments, "nodes", down)
        self.makers = {maker_of(node) for node in found if self._ours(node)}
        self.lost_makers = {maker_of(node) for node in found if not self._ours(node)}
        return sorted(found, key=lambda node: self.zones.index(zone_of(node)))

    def _queued(self, down: bool = False) -> list[Json]:
        """The queued resources of the name in the candidates' zones, elsewhere those of ours without a node.

        All zones are asked, in one request: what a candidate waited for stays when that is off the list.
        """
        found = self._survey("tpu_queued_resource_info", {"name": self.name}, "queued_resources", down)
        here = [item for item in found if zone_of(item) in self.zones]
        others = [item for item in found if item not in here and self._ours(item)]
        self.served_elsewhere = [item for item in others if state_of(item) == "ACTIVE"]
        for item in [] if down else self.served_elsewhere:
            self._warn(
                as_started(
                    f"The queued resource {self.name} in {zone_of(item)}, where no candidate is, has its "
                    "node, which costs money. Add a candidate there, or delete it with ansible-playbook "
                    f"playbooks/leftovers.yml -e leftovers_delete=queued:{zone_of(item)}/{self.name}"
                )
            )
        here.sort(key=lambda item: self.zones.index(zone_of(item)))
        return here + [item for item in others if item not in self.served_elsewhere]

    def _elsewhere(self, everything: bool = False) -> Elsewhere:
        """What other zones have of ours: of the name, or everything."""
        before, self.unasked = self.unasked, {}
        try:
            arguments = {} if everything else {"name": self.name}
            nodes = self._survey("tpu_vm_info", arguments, "nodes", down=True)
            partly = bool(self.unasked)
        except ModuleFailed as failed:
            return Elsewhere(named=self.served_elsewhere, unknown=str(failed))
        finally:
            self.unasked = before
        ours = [node for node in nodes if is_ours(node, self.labels)]
        named = [node for node in ours if short_name(node["name"]) == self.name]
        there = [node for node in named if zone_of(node) not in self.zones and state_of(node) != GOING]
        queued = [item for item in self.served_elsewhere if not serves(item, named)]
        return Elsewhere([*there, *queued], [node for node in ours if node not in named], partly=partly)

    def _tell_elsewhere(self) -> Elsewhere:
        """What stays in other zones is a warning where something was done here: it may be another run's."""
        found = self._elsewhere(everything=not self.changed)
        told = found.stays(self.name, self.zones)
        if self.changed:
            self.warnings += told
        else:
            self.left += told
        return found

    def _tell_own_end(self, nodes: Sequence[Json]) -> None:
        """Say that the node stopped or deleted itself, where Google knows it."""
        told = [own_end.of_node(node) for node in nodes if self._ours(node)]
        if self.limited and not nodes:
            told.append(own_end.of_history(self.name, self._history(), self.labels))
        for line in filter(None, told):
            self.say(f"{self.name}  {line}")

    def _history(self) -> list[Json]:
        """What Google remembers of nodes of the name in the candidates' zones, also if they are deleted."""
        zones = [zone for zone in self.zones if zone not in self.unasked]
        try:
            found = self.play("tpu_vm_info", {"name": self.name, "zones": zones, "history": True})
        except (
            ModuleFailed
        ):  # an API that is not enabled, or a zone that does not answer: nothing is remembered
            return []
        history: list[Json] = found["history"]
        return history

    def _leave_unasked(self) -> None:
        """Add to what is left what may be in the candidates' zones that Google could not be asked about."""
        for zone in self.zones:
            if zone in self.unasked:
                self.left.append(
                    f"Whether there is a TPU VM {self.name} in {zone} is not known: "
                    f"{self.unasked[zone]['msg'].rstrip('.')}. If there is, it costs money: run again."
                )

    def _waited_for(self, queued: Json) -> bool:
        """Whether it is ours and may still give the node that a candidate asks for."""
        alive = state_of(queued) in ALIVE and self._ours(queued)
        return alive and any(c.zone == zone_of(queued) and c.made(queued) for c in self.candidates)

    def _survey(self, module: str, arguments: Json, key: str, down: bool = False) -> list[Json]:
        """What there is. Where the API is not enabled that is nothing, on the way down and in a check run,
        which has not enabled it."""
        try:
            found = self.play(module, arguments)
        except ModuleFailed as failed:
            if failed.kind == "api_disabled" and (self.check or down):
                return []
            raise
        missing = found.get("unreachable_zones", [])
        if missing:
            self._warn(f"Google could not ask these zones: {', '.join(missing)}.")
        failures = found.get("zone_failures", {})
        for zone in missing:
            self.unasked.setdefault(zone, failures.get(zone) or {"kind": "unavailable", "msg": NOT_ASKED})
        items: list[Json] = found[key]
        return items

    def _refuse_wrong_zones(self) -> None:
        """Stop at a zone that would fail again, as one that does not exist; warn of the others."""
        for zone in filter(self.unasked.__contains__, self.zones):
            failure = self.unasked[zone]
            self._warn(
                f"The candidates in {zone} are not tried: {failure['msg'].rstrip('.')}. If there is a TPU VM "
                f"{self.name}, it costs money too."
            )
            if failure["kind"] not in PASSING:
                told = {key: value for key, value in failure.items() if key != "msg"}
                raise LadderError(f"{zone}: {failure['msg']}", told)

    def _disks(self, name: str, down: bool = False) -> tuple[list[Json], list[str]]:
        """The disks of a name, and the candidates' zones whose disks Google could not tell.

        That is another API: a zone without an answer here may well give a node.
        """
        before, self.unasked = self.unasked, {}
        disks = self._survey("gcp_disk_info", {"name": name}, "disks", down)
        missing, self.unasked = [zone for zone in self.zones if zone in self.unasked], before
        return disks, missing

    def _maker(self, found: Json) -> Candidate:
        """The candidate that a node or queued resource comes from, else the first of its zone."""
        here = [candidate for candidate in self.candidates if candidate.zone == zone_of(found)]
        return next((candidate for candidate in here if candidate.made(found)), here[0])

    def _check(self) -> None:
        """Refuse what Google would refuse, of any candidate, while nothing is made."""
        seen = []
        for candidate in self.candidates:
            what = (candidate.zone, candidate.accelerator_type, candidate.runtime_version)
            if what not in seen and candidate.zone not in self.unasked:
                seen.append(what)
                self.play("tpu_vm", self._node_arguments(candidate), check=True)

    def _allowed(self) -> list[Candidate]:
        """The candidates in the zone of the data, all of them where there is no data yet."""
        if self.disk is None:
            return list(self.candidates)
        disks, missing = self._disks(self.disk["name"])
        ours = [disk for disk in disks if self._ours(disk)]
        here = sorted({disk["zone"] for disk in ours if disk["zone"] in self.zones})
        elsewhere = [disk["zone"] for disk in ours if disk["zone"] not in self.zones]
        name = self.disk["name"]
        if len(here) > 1:
            raise self._refused(
                f"There is a disk {name} in each of {', '.join(here)}, and the data of this run can be on "
                "one only. Keep only the candidates in its zone, delete the other disk, or name a new one."
            )
        if not here and elsewhere:
            raise self._refused(
                f"The disk {name}, with its data, is in {', '.join(elsewhere)}, where no candidate is. Add a "
                "candidate there, or name another disk."
            )
        if not here and missing:
            raise self._refused(
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
            self._warn(
                f"The disk {name}, with its data, is in {here[0]}: only the candidates there are tried, "
                f"{', '.join(map(str, allowed))}."
            )
        return allowed

    def _ours(self, resource: Json) -> bool:
        """Whether this tool made it for the same person: others may well use the same name.

        Of what a node comes from the node's labels tell: its own cannot change when somebody else takes the
        node on, and it is deleted with the node.
        """
        if "tpu" in resource and place_of(resource) in self.makers | self.lost_makers:
            return place_of(resource) in self.makers
        return is_ours(resource, self.labels)

    @staticmethod
    def _refused(message: str, reason: str = "dataElsewhere", kind: str = "precondition") -> LadderError:
        failure = {"kind": kind, "code": 0, "reason": reason, "details": []}
        return LadderError(message, failure)

    def _refuse_others(self, found: Sequence[Json], zones: Container[str]) -> None:
        """Stop at what has the name in one of the zones and is not ours to use, or to delete."""
        others = [
            item
            for item in found
            if zone_of(item) in zones and state_of(item) != GOING and not self._ours(item)
        ]
        makers = {maker_of(item) for item in others}  # what is said of a node goes for what it comes from
        others = [item for item in others if "tpu" not in item or place_of(item) not in makers]
        if others:
            raise self._refused(
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
        queued, dead = [[item for item in found if self._purged(item)] for found in (queued, nodes)]
        self._delete_all(queued, dead)
        self.left_queue = {zone_of(item) for item in queued}
        verb = "would delete" if self.check else "deleted"
        for item in queued:
            why = ", which no candidate asks for any more" if state_of(item) in ALIVE else ""
            self.say(f"{self.name}  {verb} the queued resource in {zone_of(item)}: {state_of(item)}{why}")
        for node in dead:
            self.say(f"{self.name}  {verb} what was left in {zone_of(node)}: {state_of(node)}")

    def _purged(self, found: Json) -> bool:
        """Whether it is ours, or goes already and is only waited for."""
        return self._ours(found) or state_of(found) == GOING

    def _delete_all(self, queued: Sequence[Json], nodes: Sequence[Json]) -> None:
        """Delete queued resources, then nodes, each with the queued resource that it comes from."""
        makers = [*map(place_of, queued), *map(maker_of, nodes)]
        for zone, name in dict.fromkeys(maker for maker in makers if maker[1]):
            self._delete_queued(zone, name)
        for node in nodes:
            self._delete_node(zone_of(node))

    def _first(self, candidates: Sequence[Candidate]) -> Json:
        """The first candidate that gives a node."""
        for candidate in candidates:
            if candidate.zone in self.unasked:
                self._note(candidate, unasked(candidate.zone, self.unasked[candidate.zone]))
                continue
            if not self.check:
                self.say(f"{self.name}  {candidate}: asking, for up to {minutes(candidate.timeout)}")
            new_disk, diffs = False, list(self.diffs)
            try:
                new_disk = self._make_disk(candidate)
                made = self._acquire(candidate)
            except DiskRefused as refusal:
                self._note(candidate, refusal)
                if refusal.kind not in DISK_MOVES_ON:
                    raise self._ended(candidate, refusal) from refusal
            except ModuleFailed as refusal:
                self._note(candidate, refusal)
                last = candidate == candidates[-1]
                if last and refusal.kind == "timeout":
                    raise self._ended(
                        candidate, refusal
                    ) from refusal  # it goes on: run again to wait further
                self._withdraw(candidate, refusal, new_disk)
                if refusal.kind not in (QUEUED_MOVES_ON if candidate.queued else MOVES_ON):
                    raise self._ended(candidate, refusal) from refusal
            else:
                return self._won(candidate, made)
            self.diffs = diffs  # what was made for it is deleted again
        listed = "\n".join(f"  {each['label']}: {each['message']}" for each in self.refusals)
        message = f"No candidate gave a TPU VM {self.name}:\n{listed}" if len(candidates) > 1 else ""
        last_one = self.refusals[-1]
        raise LadderError(message or last_one["message"], last_one["failure"], self._told())

    def _kept(self, node: Json) -> Json:
        """Bring a node that lives, and its disk, to what the options say."""
        self.there = True
        candidate = self._maker(node)
        if self.disk is not None and self.disk["name"] not in disks_of(node):
            self._refuse_others(self._disks(self.disk["name"])[0], {candidate.zone})
        self._make_disk(candidate, keeps=True)
        return self._won(candidate, self.play("tpu_vm", self._node_arguments(candidate)))

    def _make_disk(self, candidate: Candidate, keeps: bool = False) -> bool:
        """Whether the disk was made just now. keeps: it is there already, so its type is no question."""
        if self.disk is None:
            return False
        arguments = {**self.disk, "zone": candidate.zone, "labels": self.labels}
        kind = generation(candidate.accelerator_type)
        if not arguments.get("type") and kind and not keeps and not self.pinned:
            arguments["type"] = kind.disk_type
        try:
            result = self.play("gcp_disk", {key: value for key, value in arguments.items() if value})
        except ModuleFailed as refusal:
            raise DiskRefused(refusal.result) from refusal
        self._count(result, f"disk {self.disk['name']} in {candidate.zone}")
        return bool(result.get("created"))

    def _acquire(self, candidate: Candidate) -> Json:
        """The node, as soon as the candidate gives it; in a check run what asking for it would say."""
        if not candidate.queued:
            return self.play("tpu_vm", self._node_arguments(candidate))
        arguments = {**self._shared(candidate), **candidate.queue_options, "force": True}
        # A check run still sees the queued resource that would be deleted by then.
        anew = self.check and candidate.zone in self.left_queue
        result = self.play("tpu_queued_resource", {**arguments, **({"recreate": True} if anew else {})})
        if anew:
            result["diff"]["before"] = {}
        self._count(result, f"queued resource {self.name} in {candidate.zone}")
        return result

    def _won(self, candidate: Candidate, result: Json) -> Json:
        if candidate.queued and "queued_resource" in result and not self.check:
            result = self.play("tpu_vm", self._node_arguments(candidate))
        if "node" in result:
            self._count(result, f"TPU VM {self.name} in {candidate.zone}")
        if self.changed and not self.check:
            self.say(f"{self.name}  {candidate}: ready")
        return {
            "changed": self.changed,
            "candidate": described(candidate),
            "label": str(candidate),
            "there": self.there,
            "changes": [f"{verb(diff)} the {diff['after_header']}" for diff in self.diffs],
            "refusals": self._told(),
            "pinned": self.pinned,
            "node": result.get("node", {}),
            "workers": result.get("workers", []),
            "diff": self.diffs,
        }

    def _withdraw(self, candidate: Candidate, refusal: ModuleFailed, new_disk: bool) -> None:
        """Take back what a refused candidate may still make, and the disk if it was made for it, blank."""
        try:
            if candidate.queued:
                self._delete_queued(candidate.zone, self.name)
            elif refusal.kind == "timeout":
                self._delete_node(candidate.zone)
            if new_disk and self.disk is not None:
                arguments = {"name": self.disk["name"], "zone": candidate.zone, "state": "absent"}
                self.play("gcp_disk", arguments)
        except ModuleFailed as left:
            raise LadderError(
                f"{candidate}: {refusal} What was created for it could not be deleted: {left}",
                left.failure,
                self._told(),
            ) from left

    def _note(self, candidate: Candidate, refusal: ModuleFailed) -> None:
        self.refusals.append(
            {
                "candidate": described(candidate),
                "label": str(candidate),
                "kind": refusal.kind,
                "message": str(refusal),
                "failure": refusal.failure,
            }
        )
        self.say(f"{self.name}  {candidate}: {refusal.kind}. {refusal}")

    def _ended(self, candidate: Candidate, refusal: ModuleFailed) -> LadderError:
        several = len(self.candidates) > 1
        message = f"{candidate}: {refusal}" if several else str(refusal)
        return LadderError(message, self.refusals[-1]["failure"], self._told())

    def _told(self) -> list[Json]:
        keys = ("candidate", "kind", "message")
        return [{key: refusal[key] for key in keys} for refusal in self.refusals]

    # ---- down

    def descend(self, delete_disk: str = "") -> Json:
        """Delete the node and its queued resource, wherever they are, and the disk of this name."""
        nodes, queued = self._nodes(down=True), self._queued(down=True)
        gone = [node for node in nodes if self._purged(node)]
        going = [item for item in queued if self._purged(item)]
        rest = [item for item in [*nodes, *queued] if item not in gone and item not in going]
        self._keep([item for item in rest if not serves(item, gone)])
        self._delete_all(going, gone)
        itself = [f"{told} " for told in map(own_end.of_node, gone) if told]
        if not self.changed:
            self.left += self.kept
        found = self._tell_elsewhere()
        if delete_disk:
            self._delete_disk(delete_disk)
        self._leave_unasked()
        told, doubt = self._told_down(found, delete_disk), ""
        if not self.changed and not self.left:
            # A second teardown is no error, a wrong name is one. Google's operations tell the two apart.
            history = self._history()
            past, ours = elsewhere.past(self.name, history, self.labels)
            if ours and (by_itself := own_end.of_history(self.name, history, self.labels)):
                past = f" {by_itself}"
            if found.others and not ours:
                doubt = elsewhere.doubt(self.name, self.zones, found, past)
            else:
                told += past + found.having()
        return {
            "changed": self.changed,
            "diff": self.diffs,
            "kept": self.kept,
            "left": self.left,
            "doubt": doubt,
            "told": "".join([*itself, told]),
        }

    def _told_down(self, found: Elsewhere, disk: str) -> str:
        """What the way down came to, in a sentence."""
        done = [diff["before_header"] for diff in self.diffs]
        if done:
            return f"{'Would delete' if self.check else 'Deleted'}: {', '.join(done)}."
        where = found.where([zone for zone in self.zones if zone not in self.unasked])
        nothing = not self.left and not found.others
        also = f", and no other that has owner={self.labels.get('owner', '')}" if nothing else ""
        also += f", and no disk {disk}" if disk else ""
        return f"Deleted nothing: there is no TPU VM {self.name} of yours{where}{also}."

    def stop(self) -> Json:
        """Stop the node, wherever it runs. Raises LadderError where there is none of ours that could run."""
        nodes = self._nodes(down=True)
        ours = [node for node in nodes if self._ours(node) and state_of(node) not in DEAD | {GOING}]
        self._keep([node for node in nodes if not self._purged(node)])
        for node in ours:
            arguments = {"name": self.name, "zone": zone_of(node), "state": "stopped"}
            result = self.play("tpu_vm", {**arguments, "wait_timeout": self.down_timeout})
            self._count(result, f"TPU VM {self.name} in {zone_of(node)}")
        stays = self._elsewhere().stays(self.name, self.zones)
        self._leave_unasked()
        if not ours:
            told = [f"There is no TPU VM {self.name} of yours to stop in {', '.join(self.zones)}."]
            raise self._refused(" ".join([*told, *stays, *self.left]), "noNode", "not_found")
        self.warnings += stays
        done = [diff["before_header"] for diff in self.diffs]
        already = f"Stopped nothing: TPU VM {self.name} in {zone_of(ours[0])} is stopped already."
        told_done = f"{'Would stop' if self.check else 'Stopped'}: {', '.join(done)}."
        return {
            "changed": self.changed,
            "diff": self.diffs,
            "kept": self.kept,
            "left": self.left,
            "told": told_done if done else already,
        }

    def _keep(self, others: Sequence[Json]) -> None:
        """Say of what has the name and is not ours that it stays."""
        for item in others:
            told = f"{whose(item, self.labels)} It stays. If nobody needs it, delete it with {by_hand(item)}"
            self.kept.append(told)
            self._warn(told)

    def _delete_disk(self, name: str) -> None:
        """Delete the disk that is named; why it is still there, or nowhere, goes to `left`."""
        disks, missing = self._disks(name, down=True)
        found = [disk for disk in disks if disk["zone"] in self.zones]
        here = [disk["zone"] for disk in found if self._ours(disk)]
        if len(here) > 1:
            raise self._refused(
                f"There is a disk {name} in each of {', '.join(here)}. Keep only the candidates in the "
                "zone of the disk to delete."
            )
        for zone in here:
            # A check run still sees the node that the disk is attached to.
            if self.check and self.changed:
                (disk,) = [disk for disk in found if disk["zone"] == zone]
                result = {"changed": True, "diff": {"before": disk, "after": {}}}
            else:
                result = self.play("gcp_disk", {"name": name, "zone": zone, "state": "absent"})
            self._count(result, f"disk {name} in {zone}")
        if here:
            return
        told = len(self.kept)
        self._keep(found)
        self.left += self.kept[told:]
        elsewhere = [disk["zone"] for disk in disks if disk not in found and self._ours(disk)]
        if elsewhere:
            self.left.append(
                as_started(
                    f"The disk {name} is in {', '.join(elsewhere)}, where no candidate is, and stays. "
                    "Delete it: ansible-playbook "
                    f"playbooks/leftovers.yml -e leftovers_delete=disk:{elsewhere[0]}/{name}"
                )
            )
        elif missing:
            self.left.append(
                f"The disk {name} was not found, and Google could not ask {', '.join(missing)}: run again."
            )
        elif not found:
            self.left.append(
                f"There is no disk {name} of yours to delete: it is deleted already, or the name is wrong."
            )

    # ---- modules

    def _delete_node(self, zone: str) -> None:
        arguments = {"name": self.name, "zone": zone, "state": "absent"}
        result = self.play("tpu_vm", {**arguments, "wait_timeout": self.down_timeout})
        self._count(result, f"TPU VM {self.name} in {zone}")

    def _delete_queued(self, zone: str, name: str) -> None:
        arguments = {"name": name, "zone": zone, "state": "absent", "force": True}
        result = self.play("tpu_queued_resource", {**arguments, "wait_timeout": self.down_timeout})
        self._count(result, f"queued resource {name} in {zone}")

    def _shared(self, candidate: Candidate) -> Json:
        disks = {} if self.disk is None else {"data_disks": [{"source": self.disk["name"]}]}
        return {
            **self.node,
            **disks,
            "name": self.name,
            "labels": self.labels,
            "wait_timeout": candidate.timeout,
        }

    def _node_arguments(self, candidate: Candidate) -> Json:
        return {**self._shared(candidate), **candidate.node_options, "state": "started"}

    def _count(self, result: Json, what: str) -> None:
        """Take a result into that of the task."""
        self.changed = self.changed or bool(result.get("changed"))
        difference = result.get("diff") or {}
        if result.get("changed") and difference:
            self.diffs.append({**difference, "before_header": what, "after_header": what})

    def _warn(self, text: str) -> None:
        self.warnings.append(text)


def state_of(found: Mapping[str, Any]) -> str:
    """The state of a node or of a queued resource, in Google's words."""
    state = found.get("state", "")
    return str(state.get("state", "") if isinstance(state, Mapping) else state)


def serves(queued: Json, found: Sequence[Json]) -> bool:
    """Whether a queued resource is one of these, or one of these is its node."""
    return any(item is queued or maker_of(item) == place_of(queued) for item in found)


def place_of(found: Json) -> Place:
    return zone_of(found), short_name(found["name"])


def maker_of(node: Json) -> Place:
    """The place of the queued resource that a node comes from; its name is "" without one."""
    return zone_of(node), short_name(node.get("queuedResource", ""))


def unasked(zone: str, failure: Json) -> ModuleFailed:
    """The refusal of a candidate in a zone that Google could not be asked about."""
    cause = {"code": 0, "reason": "", "details": [], **failure}
    return ModuleFailed({"msg": f"{zone}: {failure['msg']}", "failure": cause})


def is_ours(found: Json, labels: Mapping[str, str]) -> bool:
    """Whether what is found has those of these labels that say whose something is."""
    has = labels_of(found)
    return all(key in has and has[key] == labels.get(key) for key in OURS)


def whose(found: Json, labels: Mapping[str, str]) -> str:
    """That what is found is not ours, and why."""
    has = labels_of(found)
    told = " and ".join(f"{key}={has[key]}" if key in has else f"no {key}" for key in OURS)
    state = f", {state_of(found)}," if state_of(found) else ""
    return (
        f"The {kind_of(found)} {place_of(found)[1]} in {zone_of(found)}{state} is not ours: of our "
        f"labels {_listed(labels, ' and ')} it has {told}."
    )


def remedy(found: Json, labels: Mapping[str, str]) -> str:
    """What gets out of the way what is not ours, or makes ours what can still be used."""
    name, zone = place_of(found)[1], zone_of(found)
    update = {"TPU VM": "tpus tpu-vm update", "disk": "disks update"}.get(kind_of(found))
    if update is None or state_of(found) in DEAD:
        return f"If nobody needs it, delete it with {by_hand(found)}"
    return (
        f"If it is yours to use, say so with gcloud compute {update} {name} --zone={zone}{in_project(found)} "
        f"--update-labels={_listed(labels, ',')}"
    )


def _listed(labels: Mapping[str, str], between: str) -> str:
    return between.join(f"{key}={labels.get(key, '')}" for key in OURS)


def disks_of(node: Json) -> list[str]:
    """The names of the data disks that it has."""
    return [short_name(disk["sourceDisk"]) for disk in node.get("dataDisks", [])]


def kind_of(found: Json) -> str:
    """What it is, of what the surveys find."""
    if "zone" in found:
        return "disk"
    return "queued resource" if "tpu" in found else "TPU VM"


def by_hand(found: Json) -> str:
    """The command that deletes it."""
    commands = {
        "TPU VM": "tpus tpu-vm delete {} --zone={}",
        "queued resource": "tpus queued-resources delete {} --zone={} --force",
        "disk": "disks delete {} --zone={}",
    }
    command = commands[kind_of(found)].format(place_of(found)[1], zone_of(found))
    return f"gcloud compute {command}{in_project(found)}"


def in_project(found: Json) -> str:
    """The option that names its project: gcloud's own configuration may name another one."""
    project = re.search(r"projects/([\w.:-]+)/", str(found.get("selfLink") or found["name"]))
    return f" --project={project[1]}" if project else ""


def described(candidate: Candidate) -> Json:
    """A candidate as the task's result has it."""
    shown: Json = {
        key: getattr(candidate, key)
        for key in ("zone", "accelerator_type", "runtime_version", "provisioning")
    }
    return {**shown, "spot": candidate.spot} if candidate.queued else shown


def verb(difference: Json) -> str:
    if not difference["before"]:
        return "create"
    return "change" if difference["after"] else "delete"


def minutes(seconds: int) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds} s"
