# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts of the inventory a run works on: the workers of its own node, and nobody else's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import gcp_argument_spec
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import command
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import is_ours, remedy, whose

#: The variable in which each source of the inventory plugin says what it lists: {file, project, zones,
#: nodes, unshared}. unshared: the options by which it asks as somebody else, or elsewhere, than the modules.
LISTED = "_tpu_vm_sources"
EXAMPLES = "The README shows one of a few lines; a clone has inventories/gcp and inventories/local"

STOPPED = frozenset({"STOPPING", "STOPPED"})
GOING = frozenset({"DELETING", "HIDING", "HIDDEN"})
#: Stages without which no other can work on a new node.
CREATE = "tpu_vm,data_disk"


def of_run(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], name: str, labels: Json) -> Json:
    """{hosts, others, missing} for the node of a run.

    hosts: the workers of the node of this name that has our labels; others: a sentence for each node of the
    name that is somebody else's; missing: why no stage can run on them, "" where one can.
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
        reason = not_running(name, states[0])
    else:
        reason = missing(name, told)
    return {"hosts": hosts, "others": told, "missing": reason}


def of_nodes(groups: Mapping[str, Sequence[str]], hostvars: Mapping[str, Any], nodes: Sequence[Json]) -> Json:
    """The same for the workers of {zone, nodes: names} each, of any owner."""
    hosts = [
        host
        for zone, name in ((each["zone"], name) for each in nodes for name in each["nodes"])
        for host in groups.get(group_of(name), [])
        if (hostvars[host]["tpu_zone"], hostvars[host]["tpu_node"]) == (zone, name)
    ]
    return {"hosts": list(dict.fromkeys(hosts)), "others": [], "missing": ""}


def unlisted(
    sources: Sequence[Mapping[str, Any]], project: str, zones: Sequence[str], name: str | None
) -> str:
    """Why the inventory would not show the node that a run makes in one of the zones; "" where it would.

    Without a name and zones only the project counts. A run that finds this out later has paid for the node.
    """
    if not sources:
        return (
            "inventory: no source of the plugin tpuops.maxtext.tpu_vm was given. Give one with -i. "
            f"{EXAMPLES}."
        )
    if not project:
        return (
            "project: is not set. Set it in group_vars/all.yml beside the inventory, with -e project=ID, or "
            "in the environment variable GCP_PROJECT."
        )
    problems = [problem(source, project, zones, name) for source in sources]
    return "" if "" in problems else problems[0]


def problem(source: Mapping[str, Any], project: str, zones: Sequence[str], name: str | None) -> str:
    """Why one source would not show the node; "" where it would."""
    file = source["file"]
    unshared = source.get("unshared", [])
    if unshared:
        names = ", ".join(unshared)
        it, value = ("it", "that value") if len(unshared) == 1 else ("them", "those values")
        variables = ", ".join(gcp_argument_spec()[option]["fallback"][1][0] for option in unshared)
        return (
            f"{names}: {file} sets {it}, and the modules of a run would not use {value}. Set {it} in "
            "gcp_auth in group_vars/all.yml beside the inventory, a secret with ansible-vault or as an "
            f"environment variable ({variables}), and remove {it} from the file."
        )
    if source["project"] != project:
        shown = source["project"] or "no project"
        return (
            f"project: is {project}, but {file} lists the nodes of {shown}. Remove the option project from "
            "the file, or set the same project in both."
        )
    hidden = [zone for zone in zones if source["zones"] and zone not in source["zones"]]
    if name is not None and hidden:
        return (
            f"zone: the node may be created in {', '.join(hidden)}, but {file} lists "
            f"{', '.join(source['zones'])}. Remove the option zones from the file, or name the same zones "
            "in both."
        )
    nodes = [str(node).rpartition("/")[2] for node in source["nodes"]]
    if name is not None and nodes and name not in nodes:
        return (
            f"tpu_vm_name: is {name}, but {file} lists {', '.join(nodes)}. Remove the option nodes from the "
            "file, or name the same node in both."
        )
    return ""


def not_running(name: str, state: str) -> str:
    """Why no stage can run on a node in this state, and what to do."""
    if state in STOPPED:
        return (
            f"tpu_vm_name: the TPU VM {name} is {state}. Start it: {make(name, 'tpu_vm')}. Then run the same "
            "command again."
        )
    if state in DEAD | GOING:
        return (
            f"tpu_vm_name: the TPU VM {name} is {state}. Create it again, with the same disk: "
            f"{make(name)}. Then run the same command again."
        )
    return (
        f"tpu_vm_name: the TPU VM {name} is {state}. Google works on it. Run the same command again in some "
        "minutes."
    )


def missing(name: str, others: Sequence[str]) -> str:
    if others:
        return f"{' '.join(others)} Else create your own with {make('NAME')}."
    return (
        f"The inventory has no worker of the node {name}. Create it with {make(name)}, or name another with "
        "-e tpu_vm_name=NAME."
    )


def make(name: str, tags: str = CREATE) -> str:
    """The command that runs the stages of these tags on the node of this name."""
    return command("site", "--tags", tags, tpu_vm_name=name)


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
