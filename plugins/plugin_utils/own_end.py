# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that ends by itself: when, where that cannot be, and how it is explained afterwards.

The program on the node (roles/tpu_vm/files/tpu_guard.py) labels the node with the reason before it acts.
Google's operation that wrote the label has it still when the node is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import workers
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import ENDED_LABEL, short_name
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import OURS

STOPPED = "stopped"
#: Options of a task that creates nodes, or says so.
OPTIONS: dict[str, Any] = {
    "type": "dict",
    "options": {
        "hours": {"type": "float", "default": 0},
        "idle_minutes": {"type": "int", "default": 0},
        "idle_action": {"type": "str", "choices": ["deleted", STOPPED], "default": "deleted"},
    },
}
# What a node does in these states, if its label says that it does so by itself.
DOES = {"STOPPED": "stopped", "STOPPING": "is stopping", "DELETING": "is deleting"}


class Place(Protocol):
    """A candidate, as far as it matters here; as a text it names itself."""

    @property
    def accelerator_type(self) -> str: ...
    @property
    def provisioning(self) -> str: ...


@dataclass(frozen=True)
class Limits:
    """When a node ends by itself; 0 is never."""

    hours: float = 0
    idle_minutes: int = 0
    idle_action: str = "deleted"

    def told(self) -> str:
        """What the node does, fit to follow its name; "" for a node without a limit."""
        parts = []
        if self.hours > 0:
            parts.append(f"deletes itself {counted(self.hours, 'hour')} after its creation")
        if self.idle_minutes > 0:
            verb = "stops itself " if self.idle_action == STOPPED else "" if parts else "deletes itself "
            parts.append(f"{verb}after {unused(self.idle_minutes)}")
        return ", and ".join(parts)

    def problem(self, candidates: Sequence[Place]) -> str:
        """Why a candidate cannot have these limits, as a sentence; "" where all can."""
        for place in candidates if self.idle_minutes > 0 else ():
            count = workers(place.accelerator_type) or 1
            if count > 1:
                return (
                    f"tpu_vm_max_idle_minutes: is {self.idle_minutes}, and a node of {place} has {count} "
                    "workers. The first does not see what runs on the others. Set it to 0, and "
                    "set tpu_vm_max_hours."
                )
            kind = {"spot": "a spot node", "queued": "the node of a queued resource"}.get(place.provisioning)
            if self.idle_action == STOPPED and kind:
                return (
                    f"tpu_vm_idle_action: is stopped, and Google does not start {kind} again, as that of "
                    f"{place}. Set it to deleted."
                )
        return ""


def counted(number: float, unit: str) -> str:
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def unused(minutes: int) -> str:
    return f"{counted(minutes, 'minute')} without a job, a request or a login"


def reason(label: str) -> str:
    """Why a node ended, by the value of its label; "" for what the program does not write."""
    if label == "time-up":
        return ", as its time was up (tpu_vm_max_hours)"
    idle = re.fullmatch(r"idle-(\d{1,6})", label)
    return f" after {unused(int(idle[1]))} (tpu_vm_max_idle_minutes)" if idle else ""


def of_node(node: Mapping[str, Any]) -> str:
    """That a node which is there ends, or has stopped, by itself."""
    does = DOES.get(str(node.get("state", "")))
    why = reason(str((node.get("labels") or {}).get(ENDED_LABEL, "")))
    return f"TPU VM {short_name(str(node['name']))} {does} itself{why}." if does and why else ""


def of_history(name: str, history: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    """That our last node of a name deleted itself, by what Google remembers of its operations.

    labels: ours. What failed has changed nothing, and each zone may have a node of the name.
    """
    label: dict[str, str] = {}
    owned: dict[str, bool] = {}
    told = ""
    for operation in sorted(history, key=lambda each: moment(each["time"])):
        verb, zone = operation["verb"], operation["zone"]
        if operation["failed"]:
            continue
        if verb == "update":
            label[zone] = str(operation.get("ended") or "")
        elif verb == "delete":
            why = reason(label.get(zone, "")) if owned.get(zone, True) else ""
            when = str(operation["time"])
            if why and moment(when) > datetime.min:
                told = f"TPU VM {name} deleted itself{why}, at {when}."
        elif verb in ("create", "start", "stop"):
            label[zone], told = "", ""
            if (made := operation.get("labels")) is not None:
                owned[zone] = all(made.get(key) == labels.get(key) for key in OURS)
    return told


def moment(text: Any) -> datetime:
    """A time of Google's; those of one second have fractions or none, and no order as texts."""
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=None)
    except ValueError:
        return datetime.min
