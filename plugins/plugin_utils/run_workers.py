# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts of the inventory a run works on: the workers of its own node, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity import is_ours, remedy, whose

Json = dict[str, Any]

STOPPED = frozenset({"STOPPING", "STOPPED"})
GOING = frozenset({"DELETING", "HIDING", "HIDDEN"})
#: Stages without which no other can work on a new node.
CREATE = "tpu_vm,data_disk"


def of_run(
    groups: Mapping[str, Sequence[str]],
    hostvars: Mapping[str, Any],
    name: str,
    labels: Json,
    site: Callable[[str], str],
) -> Json:
    """{hosts, others, missing} for the node of a run.

    hosts: the workers of the node of this name that has our labels; others: a sentence for each node of the
    name that is somebody else's; missing: why no stage can run on them, "" where one can. site: the command
    that runs the stages of these tags.
    """
    hosts: list[str] = []
    others: dict[str, str] = {}
    # Others may well use the same name in another zone.
    for host in groups.get(group_of(name), []):
        node = node_of(hostvars[host])
        if node["name"].rpartition("/")[2] != name:
            continue
        if is_ours(node, labels):
            hosts.append(host)
        else:
            others[node["name"]] = f"{whose(node, labels)} {remedy(node, labels)}."
    told = list(others.values())
    states = sorted({str(hostvars[host]["tpu_state"]) for host in hosts} - {"READY"})
    if hosts and not states:
        reason = ""
    elif hosts:
        reason = not_running(name, states[0], site)
    else:
        reason = missing(name, told, site)
    return {"hosts": hosts, "others": told, "missing": reason}


def of_nodes(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], nodes: Sequence[Json]) -> Json:
    """The same for the workers of {zone, nodes: names} each, whoever's they are."""
    hosts = [
        host
        for zone, name in ((each["zone"], name) for each in nodes for name in each["nodes"])
        for host in groups.get(group_of(name), [])
        if (hostvars[host]["tpu_zone"], hostvars[host]["tpu_node"]) == (zone, name)
    ]
    return {"hosts": list(dict.fromkeys(hosts)), "others": [], "missing": ""}


def not_running(name: str, state: str, site: Callable[[str], str]) -> str:
    """Why no stage can run on a node in this state, and what to do."""
    if state in STOPPED:
        return (
            f"tpu_vm_name: the TPU VM {name} is {state}. Start it: {site('tpu_vm')}. Then run the same "
            "command again."
        )
    if state in DEAD | GOING:
        return (
            f"tpu_vm_name: the TPU VM {name} is {state}. Create it again, with the same disk: "
            f"{site(CREATE)}. Then run the same command again."
        )
    return (
        f"tpu_vm_name: the TPU VM {name} is {state}. Google works on it. Run the same command again in some "
        "minutes."
    )


def missing(name: str, others: Sequence[str], site: Callable[[str], str]) -> str:
    make = site(CREATE)
    if others:
        return f"{' '.join(others)} Else create your own with {make} -e tpu_vm_name=NAME."
    return (
        f"The inventory has no worker of the node {name}. Create it with {make}, or name another with "
        "-e tpu_vm_name=NAME."
    )


def group_of(name: str) -> str:
    """The group in which the inventory plugin puts the workers of a node."""
    return "node_" + re.sub(r"[^A-Za-z0-9_]", "_", name)


def node_of(variables: Mapping[str, Any]) -> Json:
    """The node of a worker, as far as it says whose it is, in the API's shape."""
    place = f"projects/{variables['tpu_project']}/locations/{variables['tpu_zone']}"
    return {
        "name": f"{place}/nodes/{variables['tpu_node']}",
        "labels": dict(variables["tpu_labels"]),
        "state": str(variables["tpu_state"]),
    }
