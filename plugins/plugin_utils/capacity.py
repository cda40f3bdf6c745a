# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity ladder: a node from the first of several places that has one, with its data disk.

It decides; what is done, the modules of this collection do. Whoever uses it says how a module is played and
where lines are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import (
    DEAD,
    QUEUED,
    short_name,
    zone_of,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.accelerators import generation
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import CREATED_BY
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import ModuleFailed

Json = dict[str, Any]

# Refusals that another place may not give. Everything else (a permission, bad input) would come again there.
MOVES_ON = frozenset({"stockout", "quota", "preempted", "timeout"})
DISK_MOVES_ON = frozenset({"stockout", "quota"})
# A queued resource that was not served within its validity ends as Google's DEADLINE_EXCEEDED.
QUEUED_MOVES_ON = MOVES_ON | {"unavailable"}
CLEAN_UP_TIMEOUT = 300


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
        """What tpu_vm is told; how a queued node was come by is its queued resource's affair."""
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
            return self.queued and self.spot == ("spot" in found)
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
    delete_timeout: seconds that a deletion may take.
    """

    name: str
    candidates: Sequence[Candidate]
    play: Play
    say: Callable[[str], None]
    node: Json = field(default_factory=dict)
    disk: Json | None = None
    labels: dict[str, str] = field(default_factory=dict)
    check: bool = False
    delete_timeout: int = CLEAN_UP_TIMEOUT

    def __post_init__(self) -> None:
        self.changed = False
        self.warnings: list[str] = []
        self.diffs: list[Json] = []
        self.refusals: list[Json] = []
        self.pinned: Json = {}
        self.there = False

    @property
    def zones(self) -> list[str]:
        return list(dict.fromkeys(candidate.zone for candidate in self.candidates))

    # ---- up

    def climb(self) -> Json:
        """Get the node: the fields of the result. Raises LadderError or ModuleFailed."""
        nodes = self._nodes()
        living = [node for node in nodes if node.get("state") not in DEAD | {"DELETING"}]
        for other in living[1:]:
            self._warn(f"There is a TPU VM {self.name} in {zone_of(other)} as well. It costs money too.")
        if living and living[0].get("state") != "CREATING":
            return self._kept(self._maker(living[0]))
        queued = self._queued()
        waiting = [item for item in queued if item.get("state", {}).get("state") in QUEUED | {"ACTIVE"}][:1]
        begun = [self._maker(item) for item in [*living[:1], *waiting]][:1]
        if not begun:
            self._check()
        allowed = self._allowed()
        self._purge(
            [node for node in nodes if node not in living], [item for item in queued if item not in waiting]
        )
        # What an earlier run began is waited for first; what was refused before it is not asked again.
        start = allowed.index(begun[0]) if begun and begun[0] in allowed else 0
        return self._first(allowed[start:])

    def _nodes(self) -> list[Json]:
        found: list[Json] = self._survey("tpu_vm_info", {"zones": self.zones, "name": self.name}, "nodes")
        return sorted(found, key=lambda node: self.zones.index(zone_of(node)))

    def _queued(self) -> list[Json]:
        """Our queued resources, in the zones where candidates have some."""
        zones = list(dict.fromkeys(c.zone for c in self.candidates if c.queued))
        if not zones:
            return []
        arguments = {"zones": zones, "name": self.name}
        return self._survey("tpu_queued_resource_info", arguments, "queued_resources")

    def _survey(self, module: str, arguments: Json, key: str) -> list[Json]:
        """What there is; nothing in a check run of a project whose API is yet to be enabled."""
        try:
            found = self.play(module, arguments)
        except ModuleFailed as failed:
            if failed.kind == "api_disabled" and self.check:
                return []
            raise
        if found.get("unreachable_zones"):
            self._warn(f"Google could not ask these zones: {', '.join(found['unreachable_zones'])}.")
        items: list[Json] = found[key]
        return items

    def _maker(self, found: Json) -> Candidate:
        """The candidate that a node or queued resource comes from, else the first of its zone."""
        here = [candidate for candidate in self.candidates if candidate.zone == zone_of(found)]
        return next((candidate for candidate in here if candidate.made(found)), here[0])

    def _check(self) -> None:
        """Refuse what Google would refuse, of any candidate, while nothing is made."""
        seen = []
        for candidate in self.candidates:
            what = (candidate.zone, candidate.accelerator_type, candidate.runtime_version)
            if what not in seen:
                seen.append(what)
                self.play("tpu_vm", self._node_arguments(candidate), check=True)

    def _allowed(self) -> list[Candidate]:
        """The candidates in the zone of the data, all of them where there is no data yet."""
        if self.disk is None:
            return list(self.candidates)
        disks = self._survey("gcp_disk_info", {"name": self.disk["name"]}, "disks")
        here = sorted({disk["zone"] for disk in disks if disk["zone"] in self.zones})
        elsewhere = [disk["zone"] for disk in disks if disk["zone"] not in self.zones and self._ours(disk)]
        name = self.disk["name"]
        if len(here) > 1:
            raise self._refused(
                f"There is a disk {name} in each of {', '.join(here)}, and the data of this run can be on "
                "one only. Leave candidates in its zone alone, delete the other, or name another disk."
            )
        if not here and elsewhere:
            raise self._refused(
                f"The disk {name}, with its data, is in {', '.join(elsewhere)}, where no candidate is. Add a "
                "candidate there, or name another disk."
            )
        if not here:
            return list(self.candidates)
        allowed = [candidate for candidate in self.candidates if candidate.zone == here[0]]
        self.pinned = {"disk": name, "zone": here[0]}
        if len(allowed) < len(self.candidates):
            self._warn(
                f"The disk {name}, with its data, is in {here[0]}: only the candidates there are tried, "
                f"{', '.join(map(str, allowed))}."
            )
        return allowed

    def _ours(self, disk: Json) -> bool:
        """Whether this tool made it for the same person: others may well use the same name elsewhere."""
        labels = disk.get("labels", {})
        return all(key in labels and labels[key] == self.labels.get(key) for key in (CREATED_BY, "owner"))

    @staticmethod
    def _refused(message: str) -> LadderError:
        failure = {"kind": "precondition", "code": 0, "reason": "dataElsewhere", "details": []}
        return LadderError(message, failure)

    def _purge(self, nodes: Sequence[Json], queued: Sequence[Json]) -> None:
        """Delete what is dead: it takes quota, has the name, and may hold the disk."""
        for item in queued:
            self._delete_queued(zone_of(item), short_name(item["name"]))
        for node in nodes:
            if node.get("queuedResource") and not queued:
                self._delete_queued(zone_of(node), short_name(node["queuedResource"]))
            self._delete_node(zone_of(node))
            self.say(f"{self.name}  deleted what was left in {zone_of(node)}: {node.get('state')}")

    def _first(self, candidates: Sequence[Candidate]) -> Json:
        """The first candidate that gives a node."""
        for candidate in candidates:
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
            self.diffs = diffs  # what was made for it is gone again
        listed = "\n".join(f"  {each['label']}: {each['message']}" for each in self.refusals)
        message = f"No candidate gave a TPU VM {self.name}:\n{listed}" if len(candidates) > 1 else ""
        last_one = self.refusals[-1]
        raise LadderError(message or last_one["message"], last_one["failure"], self._told())

    def _kept(self, candidate: Candidate) -> Json:
        """Bring a node that lives, and its disk, to what the options say."""
        self.there = True
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
        result = self.play("tpu_queued_resource", arguments)
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
                # At first without waiting: what is under way would be waited for before it is deleted.
                self._delete_node(candidate.zone, wait=False)
                self._delete_node(candidate.zone)
            if new_disk and self.disk is not None:
                arguments = {"name": self.disk["name"], "zone": candidate.zone, "state": "absent"}
                self.play("gcp_disk", arguments)
        except ModuleFailed as left:
            raise LadderError(
                f"{candidate}: {refusal} What was made for it could not be taken back: {left}",
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
        nodes, queued = self._there("tpu_vm_info", "nodes", self.zones), self._left_in_queue()
        known = {zone_of(item) for item in queued}
        for item in queued:
            self._delete_queued(zone_of(item), self.name)
        for node in nodes:
            if node.get("queuedResource") and zone_of(node) not in known:
                self._delete_queued(zone_of(node), short_name(node["queuedResource"]))
            self._delete_node(zone_of(node))
        if delete_disk:
            self._delete_disk(delete_disk)
        return {"changed": self.changed, "diff": self.diffs}

    def _left_in_queue(self) -> list[Json]:
        zones = list(dict.fromkeys(c.zone for c in self.candidates if c.queued))
        return self._there("tpu_queued_resource_info", "queued_resources", zones) if zones else []

    def _there(self, module: str, key: str, zones: list[str]) -> list[Json]:
        """What there is to delete: nothing in a project whose API is off."""
        try:
            items: list[Json] = self.play(module, {"zones": zones, "name": self.name})[key]
        except ModuleFailed as failed:
            if failed.kind == "api_disabled":
                return []
            raise
        return items

    def _delete_disk(self, name: str) -> None:
        disks = self.play("gcp_disk_info", {"name": name})["disks"]
        here = [disk["zone"] for disk in disks if disk["zone"] in self.zones]
        if len(here) > 1:
            raise self._refused(
                f"There is a disk {name} in each of {', '.join(here)}. Leave candidates in the zone of the "
                "one that is to be deleted alone."
            )
        for zone in here:
            result = self.play("gcp_disk", {"name": name, "zone": zone, "state": "absent"})
            self._count(result, f"disk {name} in {zone}")

    # ---- modules

    def _delete_node(self, zone: str, wait: bool = True) -> None:
        arguments = {"name": self.name, "zone": zone, "state": "absent", "wait": wait}
        result = self.play("tpu_vm", {**arguments, "wait_timeout": self.delete_timeout})
        self._count(result, f"TPU VM {self.name} in {zone}")

    def _delete_queued(self, zone: str, name: str) -> None:
        arguments = {"name": name, "zone": zone, "state": "absent", "force": True}
        result = self.play("tpu_queued_resource", {**arguments, "wait_timeout": self.delete_timeout})
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


def described(candidate: Candidate) -> Json:
    """A candidate as the task's result has it."""
    shown: Json = {
        key: getattr(candidate, key)
        for key in ("zone", "accelerator_type", "runtime_version", "provisioning")
    }
    return {**shown, "spot": candidate.spot} if candidate.queued else shown


def verb(difference: Json) -> str:
    if not difference["before"]:
        return "make"
    return "change" if difference["after"] else "delete"


def minutes(seconds: int) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds} s"
