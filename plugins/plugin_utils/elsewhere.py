# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told where the candidates' zones have no node of the name: it is elsewhere, deleted, or wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import short_name, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import kind_of, place_of, state_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import OURS
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.own_end import moment

MOST = 5  # nodes that a sentence lists


@dataclass(frozen=True)
class Elsewhere:
    """What all zones have of ours.

    named:   nodes and queued resources of the name, where no candidate is.
    others:  nodes of other names.
    unknown: why Google did not say, "" where it did.
    partly:  whether Google could not ask some of the zones.
    """

    named: Sequence[Json] = ()
    others: Sequence[Json] = field(default_factory=list)
    unknown: str = ""
    partly: bool = False

    def stays(self, name: str, zones: Sequence[str]) -> list[str]:
        """A sentence for each that stays, and that nobody knows whether there is one.

        zones: those of the candidates.
        """
        told = [stays(item) for item in self.named]
        if self.unknown:
            told.append(
                f"Whether there is a TPU VM {name} of yours outside {', '.join(zones)} is not known: "
                f"{self.unknown.rstrip('.')}. If there is, it costs money. Run again."
            )
        return told

    def where(self, zones: Sequence[str]) -> str:
        """Where there is none: in these zones, and in all others too if they were asked."""
        if not self.named and not self.unknown:
            return " in any zone" + (" that Google could ask" if self.partly else "")
        return f" in {', '.join(zones)}" if zones else ""

    def having(self) -> str:
        """The other nodes, in a sentence."""
        listed = [f"{short_name(node['name'])} in {zone_of(node)}, {node['state']}" for node in self.others]
        more = f"; and {len(listed) - MOST} more" if len(listed) > MOST else ""
        return f" You have: {'; '.join(listed[:MOST])}{more}." if listed else ""


def stays(item: Json) -> str:
    """That a node or queued resource of ours is where no candidate is, and what deletes it."""
    kind = kind_of(item)
    path = {"queued resource": "queued", "TPU VM": "node"}[kind]
    zone, name = place_of(item)
    return as_started(
        f"Your {kind} {name} is in {zone}, {state_of(item)}, where no candidate is, and stays. Delete it: "
        f"ansible-playbook playbooks/leftovers.yml -e leftovers_delete={path}:{zone}/{name}"
    )


def past(name: str, history: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> tuple[str, bool]:
    """What Google remembers of the name, "" for nothing, and whether it may have been ours.

    An operation says when, but not who. Whose a node was is in the answer to its creation.
    """
    events = sorted(history, key=lambda each: moment(each["time"]))
    if not events:
        return "", False
    last = events[-1]
    zone, time = last["zone"], last["time"]
    if last["failed"] or last["verb"] != "delete":
        how = ", which failed" if last["failed"] else ""
        return f" Google remembers an operation on the name{how}: {last['verb']} in {zone} at {time}.", True
    made = [each["labels"] for each in events if each["zone"] == zone and each.get("labels") is not None]
    deleted = f" Google remembers that it was deleted in {zone} at {time}."
    if not made:
        return f"{deleted} It does not say whose it was.", True
    if all(made[-1].get(key) == labels.get(key) for key in OURS):
        return deleted, True
    key = next(key for key in reversed(OURS) if made[-1].get(key) != labels.get(key))
    its = f"{key}={made[-1][key]}" if key in made[-1] else f"no {key}"
    return (
        f" Google remembers a TPU VM {name} in {zone} until {time}. It was not yours: it had {its}, yours "
        f"have {key}={labels.get(key, '')}.",
        False,
    )


def doubt(name: str, zones: Sequence[str], found: Elsewhere, told: str) -> str:
    """That a name is probably wrong. told: what Google remembers of it, which was somebody else's."""
    nothing = (
        f" of yours in {', '.join(zones)}.{told}" if told else f" in {', '.join(zones)}, and remembers none."
    )
    return (
        f"tpu_vm_name: Google has no TPU VM {name}{nothing}"
        f"{found.having()} Name the one to delete with -e tpu_vm_name=NAME."
    )
