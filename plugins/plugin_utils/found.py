# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes, queued resources and disks as Google's lists have them: what each is, and whose.

What is ours is found by its labels. What is not ours is described, with the command that makes it ours or
deletes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD, short_name, zone_of
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import OURS, labels_of

Place = tuple[str, str]  # zone and name

GOING = "DELETING"


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
