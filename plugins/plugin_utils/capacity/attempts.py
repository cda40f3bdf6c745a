# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Candidates that are asked one after the other, until one gives a node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import generation
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import Ladder, LadderError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import ModuleFailed

# Refusals that another place may not give. Everything else (a permission, bad input) would come again there.
MOVES_ON = frozenset({"stockout", "quota", "preempted", "timeout"})
DISK_MOVES_ON = frozenset({"stockout", "quota"})
# A queued resource that was not served within its validity ends as Google's DEADLINE_EXCEEDED.
QUEUED_MOVES_ON = MOVES_ON | {"unavailable"}


class DiskRefused(ModuleFailed):
    """The disk could not be made."""


@dataclass
class Attempts(Ladder):
    """Asks, moves on after a refusal, and takes back what a refused candidate may still make.

    node: options of tpu_vm that are the same everywhere.
    disk: options of gcp_disk that are the same everywhere, None for a node without a disk.
    """

    DOWN = False

    node: Json = field(default_factory=dict)
    disk: Json | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refusals: list[Json] = []
        self.pinned: Json = {}  # the disk that has the data, and its zone
        self.left_queue: set[str] = set()  # zones whose queued resource was deleted before
        self.there = False

    def first(self, candidates: Sequence[Candidate]) -> Json:
        """The first candidate that gives a node."""
        for candidate in candidates:
            if candidate.zone in self.survey.unasked:
                self._note(candidate, unasked(candidate.zone, self.survey.unasked[candidate.zone]))
                continue
            if not self.check:
                self.say(f"{self.name}  {candidate}: asking, for up to {minutes(candidate.timeout)}")
            new_disk, diffs = False, list(self.diffs)
            try:
                new_disk = self.make_disk(candidate)
                made = self._acquire(candidate)
            except DiskRefused as refusal:
                self._note(candidate, refusal)
                if refusal.kind not in DISK_MOVES_ON:
                    raise self._ended(candidate, refusal) from refusal
            except ModuleFailed as refusal:
                self._note(candidate, refusal)
                last = candidate == candidates[-1]
                if last and refusal.kind == "timeout":
                    # It goes on: run again to wait further.
                    raise self._ended(candidate, refusal) from refusal
                self._withdraw(candidate, refusal, new_disk)
                if refusal.kind not in (QUEUED_MOVES_ON if candidate.queued else MOVES_ON):
                    raise self._ended(candidate, refusal) from refusal
            else:
                return self.won(candidate, made)
            self.diffs = diffs  # what was made for it is deleted again
        listed = "\n".join(f"  {each['label']}: {each['message']}" for each in self.refusals)
        message = f"No candidate gave a TPU VM {self.name}:\n{listed}" if len(candidates) > 1 else ""
        last_one = self.refusals[-1]
        raise LadderError(message or last_one["message"], last_one["failure"], self._told())

    def make_disk(self, candidate: Candidate, keeps: bool = False) -> bool:
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
        self.count(result, f"disk {self.disk['name']} in {candidate.zone}")
        return bool(result.get("created"))

    def _acquire(self, candidate: Candidate) -> Json:
        """The node, as soon as the candidate gives it; in a check run what asking for it would say."""
        if not candidate.queued:
            return self.play("tpu_vm", self.node_arguments(candidate))
        arguments = {**self._shared(candidate), **candidate.queue_options, "force": True}
        # A check run still sees the queued resource that would be deleted by then.
        anew = self.check and candidate.zone in self.left_queue
        result = self.play("tpu_queued_resource", {**arguments, **({"recreate": True} if anew else {})})
        if anew:
            result["diff"]["before"] = {}
        self.count(result, f"queued resource {self.name} in {candidate.zone}")
        return result

    def won(self, candidate: Candidate, result: Json) -> Json:
        if candidate.queued and "queued_resource" in result and not self.check:
            result = self.play("tpu_vm", self.node_arguments(candidate))
        if "node" in result:
            self.count(result, f"TPU VM {self.name} in {candidate.zone}")
        if self.changed and not self.check:
            self.say(f"{self.name}  {candidate}: ready")
        return {
            "changed": self.changed,
            "candidate": candidate.described(),
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
                self.delete_queued(candidate.zone, self.name)
            elif refusal.kind == "timeout":
                self.delete_node(candidate.zone)
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
                "candidate": candidate.described(),
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

    def _shared(self, candidate: Candidate) -> Json:
        disks = {} if self.disk is None else {"data_disks": [{"source": self.disk["name"]}]}
        return {
            **self.node,
            **disks,
            "name": self.name,
            "labels": self.labels,
            "wait_timeout": candidate.timeout,
        }

    def node_arguments(self, candidate: Candidate) -> Json:
        return {**self._shared(candidate), **candidate.node_options, "state": "started"}


def unasked(zone: str, failure: Json) -> ModuleFailed:
    """The refusal of a candidate in a zone that Google could not be asked about."""
    cause = {"code": 0, "reason": "", "details": [], **failure}
    return ModuleFailed({"msg": f"{zone}: {failure['msg']}", "failure": cause})


def verb(difference: Json) -> str:
    if not difference["before"]:
        return "create"
    return "change" if difference["after"] else "delete"


def minutes(seconds: int) -> str:
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds} s"
