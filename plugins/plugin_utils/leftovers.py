# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this tool made and what is still there: whose it is, how old, what it costs. No Ansible in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD, node_ids, short_name, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import CREATED_BY, TOOL, labels_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import disk_hour, node_hour
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.shown_text import shown

NODE, QUEUED, DISK = "node", "queued", "disk"
# Google takes no money for a node that has no machines.
FREE = DEAD | {"STOPPED", "HIDDEN"}


class NotClear(ValueError):
    """A name to delete that is nothing or several things; the text says what to write instead."""


@dataclass(frozen=True)
class Leftover:
    """A resource with our label.

    kind:    node, queued (a queued resource) or disk.
    state:   in Google's words.
    created: when.
    hour:    what it costs for an hour; None where no price is known.
    makes:   names of the nodes that a queued resource is for.
    maker:   the name of a node's queued resource, "" without one.
    users:   names of what a disk is attached to.
    found:   it as the API gives it.
    """

    kind: str
    name: str
    zone: str
    state: str
    owner: str
    run: str
    created: datetime
    hour: float | None
    makes: tuple[str, ...] = ()
    maker: str = ""
    users: tuple[str, ...] = ()
    found: Json = field(default_factory=dict, repr=False)

    @property
    def path(self) -> str:
        return f"{self.kind}:{self.zone}/{self.name}"

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that go with it."""
        return (self.name,) if self.kind == NODE else self.makes

    def described(self, now: datetime, currency: str) -> Json:
        return {
            "kind": self.kind,
            "name": self.name,
            "zone": self.zone,
            "state": self.state,
            "owner": self.owner,
            "run": self.run,
            "created": self.created.isoformat(timespec="seconds"),
            "age_seconds": int((now - self.created).total_seconds()),
            "hour": self.hour,
            "currency": currency,
            "users": list(self.users),
            "nodes": list(self.nodes),
        }

    def line(self, now: datetime, currency: str) -> str:
        price = "no price known" if self.hour is None else f"{self.hour:.3f} {currency} an hour"
        use = f", attached to {' and '.join(self.users)}" if self.users else ""
        whose = f"owner {self.owner or 'unknown'}, run {self.run or 'unknown'}"
        return shown(f"{self.path}  {self.state}{use}  {age(now - self.created)} old  {price}  {whose}")


def found(
    nodes: Iterable[Json], queued: Iterable[Json], disks: Iterable[Json], prices: Mapping[str, Any]
) -> list[Leftover]:
    """What has our label: nodes and queued resources, the oldest first, then disks."""
    nodes = list(nodes)
    machines = [from_node(node, prices) for node in nodes if ours(node)]
    machines += [from_queued(item, nodes) for item in queued if ours(item)]
    stores = [from_disk(disk, prices) for disk in disks if ours(disk)]
    return [*sorted(machines, key=lambda each: each.created), *sorted(stores, key=lambda each: each.created)]


def ours(resource: Mapping[str, Any]) -> bool:
    return labels_of(resource).get(CREATED_BY) == TOOL


def from_node(node: Json, prices: Mapping[str, Any]) -> Leftover:
    scheduling = node.get("schedulingConfig", {})
    tier = "spot" if scheduling.get("spot") or scheduling.get("preemptible") else "on-demand"
    tier = "reserved" if scheduling.get("reserved") else tier
    state, kind = str(node.get("state", "")), str(node.get("acceleratorType", ""))
    labels = node.get("labels", {})
    return Leftover(
        NODE,
        short_name(node["name"]),
        zone_of(node),
        state,
        labels.get("owner", ""),
        labels.get("run", ""),
        moment(node["createTime"]),
        0.0 if state in FREE else node_hour(prices, zone_of(node), kind, tier),
        maker=short_name(node.get("queuedResource", "")),
        found=node,
    )


def from_queued(queued: Json, nodes: Iterable[Json]) -> Leftover:
    labels = labels_of(queued)
    return Leftover(
        QUEUED,
        short_name(queued["name"]),
        zone_of(queued),
        str(queued.get("state", {}).get("state", "")),
        owner_of_queued(queued, nodes),
        labels.get("run", ""),
        moment(queued["createTime"]),
        0.0,  # its nodes cost something, once there are some
        makes=tuple(node_ids(queued)),
        found=queued,
    )


def owner_of_queued(queued: Json, nodes: Iterable[Json]) -> str:
    """Whose a queued resource is: its nodes decide, as somebody may have taken one over since.

    A queued resource cannot change its labels, and is deleted with its nodes. "" where they are not one
    person's.
    """
    whose = {
        node.get("labels", {}).get("owner", "") if ours(node) else ""
        for node in nodes
        if node.get("queuedResource")
        and node["queuedResource"].split("/")[2:] == queued["name"].split("/")[2:]
    }
    owners = whose or {labels_of(queued).get("owner", "")}
    return owners.pop() if len(owners) == 1 else ""


def from_disk(disk: Json, prices: Mapping[str, Any]) -> Leftover:
    labels, zone = disk.get("labels", {}), short_name(disk["zone"])
    return Leftover(
        DISK,
        str(disk["name"]),
        zone,
        str(disk.get("status", "")),
        labels.get("owner", ""),
        labels.get("run", ""),
        moment(disk["creationTimestamp"]),
        disk_hour(prices, zone, short_name(disk.get("type", "")), int(disk.get("sizeGb", 0))),
        users=tuple(short_name(user) for user in disk.get("users", [])),
        found=disk,
    )


def moment(text: str) -> datetime:
    """A time as Google writes it, with up to nine digits of a second."""
    return datetime.fromisoformat(text)


def age(passed: timedelta) -> str:
    hours = passed.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def chosen(leftovers: Sequence[Leftover], names: Sequence[str], owner: str) -> list[Leftover]:
    """What the names mean, NAME, ZONE/NAME or KIND:ZONE/NAME: queued resources, nodes, then disks.

    owner: whose things may be deleted; a name never means anybody else's.

    A queued resource takes its nodes with it, so the two count as one, under either name. Raises NotClear.
    """
    picked: list[Leftover] = []
    for name in names:
        for leftover in one(leftovers, name, owner):
            if leftover not in picked:
                picked.append(leftover)
    return sorted(picked, key=lambda each: (QUEUED, NODE, DISK).index(each.kind))


def one(leftovers: Sequence[Leftover], name: str, owner: str) -> list[Leftover]:
    """What to delete for a name. Raises NotClear where it is nothing, somebody else's, or several things."""
    named = [each for each in leftovers if name in spellings(each)]
    if not named:
        raise NotClear(
            f"delete: there is no {name} of ours. Without delete, what there is is listed; anything else is "
            "deleted with gcloud."
        )
    # A node goes with the queued resource that it came from: that decides whose the two are.
    makers = [next((each for each in leftovers if served(item, [each])), item) for item in named]
    whole = {each.path: each for each in makers}.values()
    meant = [each for each in whole if each.owner == owner]
    if not meant:
        raise NotClear(" ".join(f"delete: {foreign(each, owner)}" for each in whole))
    if len(meant) > 1:
        listed = " and ".join(each.path for each in meant)
        raise NotClear(f"delete: {name} is {listed}. Write which one is meant.")
    return meant


def foreign(leftover: Leftover, owner: str) -> str:
    """That something is not `owner`'s, and what to do if it shall go all the same."""
    if not leftover.owner:
        return (
            f"{leftover.path} has no owner, or the nodes of several; yours have owner={owner}. If nobody "
            "needs it, delete it with gcloud."
        )
    return (
        f"{leftover.path} has owner={leftover.owner}, yours have owner={owner}. It stays. If it is to be "
        f"deleted all the same, name its owner: owner={leftover.owner} (-e leftovers_owner={leftover.owner})."
    )


def spellings(leftover: Leftover) -> set[str]:
    return {
        leftover.name,
        f"{leftover.kind}:{leftover.name}",
        f"{leftover.zone}/{leftover.name}",
        leftover.path,
    }


def served(leftover: Leftover, others: Iterable[Leftover]) -> bool:
    """Whether it is a node of one of these queued resources."""
    return leftover.kind == NODE and any(
        other.kind == QUEUED
        and other.zone == leftover.zone
        and (leftover.maker == other.name or leftover.name in other.makes)
        for other in others
    )
