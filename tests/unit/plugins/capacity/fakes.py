# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that act on nodes, disks and queued resources in memory, as far as those who play them see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.json_types import Json

MADE = "2026-11-24T04:00:00Z"
LATER = "2026-11-24T05:00:00Z"
OURS = {"created-by": "tpuops-maxtext", "owner": "me", "run": "r"}


def operation(zone: str, verb: str, time: str, labels: Json | None = None) -> Json:
    """What the module tpu_vm_info tells of one."""
    return {"zone": zone, "kind": "nodes", "verb": verb, "time": time, "labels": labels, "failed": False}


def failure(kind: str) -> Json:
    return {"failed": True, "msg": f"Google said {kind}", "failure": {"kind": kind, "code": 1, "details": []}}


@dataclass
class FakeCloud:
    """refuses: (zone, what: disk, on-demand, spot, queued or reserved) -> the kind of failure.

    silent: zones that cannot be asked about nodes -> the kind of failure, "-" for the list of all zones;
    lost: zones whose disks are not known; history: what Google remembers of nodes.
    """

    nodes: dict[str, Json] = field(default_factory=dict)
    disks: dict[str, Json] = field(default_factory=dict)
    queued: dict[str, Json] = field(default_factory=dict)
    refuses: dict[tuple[str, str], str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    history: list[Json] = field(default_factory=list)
    check: bool = False
    calls: list[tuple[str, Json, bool]] = field(default_factory=list)

    def __call__(self, module: str, arguments: Json, check: bool = False) -> Json:
        self.calls.append((module, arguments, check))
        answer: Json = getattr(self, module)(arguments, check or self.check)
        return answer

    def asked(self, module: str) -> list[str]:
        """Zones in which a module asked for something to be made or kept, in earnest."""
        return [
            arguments["zone"]
            for name, arguments, check in self.calls
            if name == module and not check and arguments.get("state") != "absent"
        ]

    def add_node(
        self, zone: str, state: str = "READY", spot: bool = False, name: str = "n", **more: Any
    ) -> None:
        path = f"projects/p/locations/{zone}/nodes/{name}"
        scheduling = {"schedulingConfig": {"spot": True}} if spot else {}
        self.nodes[zone] = {
            "name": path,
            "state": state,
            "acceleratorType": "v5litepod-8",
            "createTime": MADE,
            "labels": OURS,
            **scheduling,
            **more,
        }

    def add_queued(self, zone: str, state: str, spot: bool = False, **node: Any) -> None:
        """node: more of the node that it asks for."""
        name = f"projects/p/locations/{zone}/queuedResources/n"
        body = {"acceleratorType": "v5litepod-8", "labels": OURS, **node}
        self.queued[zone] = {
            "name": name,
            "state": {"state": state},
            "createTime": MADE,
            "tpu": {"nodeSpec": [{"nodeId": "n", "node": body}]},
            **({"spot": {}} if spot else {}),
        }

    def add_disk(self, zone: str, labels: Mapping[str, str] = OURS) -> None:
        link = f"https://www.googleapis.com/compute/v1/projects/p/zones/{zone}/disks/d"
        self.disks[zone] = {
            "name": "d",
            "zone": zone,
            "selfLink": link,
            "creationTimestamp": MADE,
            "labels": labels,
        }

    # ---- modules

    def tpu_vm_info(self, arguments: Json, _check: bool) -> Json:
        if "zones" not in arguments and "-" in self.silent:
            return {**failure(self.silent["-"]), "msg": "no answer"}
        named = {zone: node for zone, node in self.nodes.items() if is_named(node, arguments.get("name"))}
        history = {"history": self.history} if arguments.get("history") else {}
        return {"nodes": self._listed(named, arguments), **self._missing(arguments), **history}

    def tpu_queued_resource_info(self, arguments: Json, _check: bool) -> Json:
        return {"queued_resources": self._listed(self.queued, arguments), **self._missing(arguments)}

    def _listed(self, kept: dict[str, Json], arguments: Json) -> list[Json]:
        """What is in the zones that are named, in all where none is."""
        asked = [zone for zone in arguments.get("zones", kept) if zone not in self.silent]
        return [item for zone, item in kept.items() if zone in asked]

    def _missing(self, arguments: Json) -> Json:
        zones = [zone for zone in self.silent if zone in arguments.get("zones", self.silent) and zone != "-"]
        failures = {zone: {**failure(self.silent[zone])["failure"], "msg": "no answer"} for zone in zones}
        return {"unreachable_zones": zones, "zone_failures": failures}

    def gcp_disk_info(self, _arguments: Json, _check: bool) -> Json:
        found = [disk for zone, disk in self.disks.items() if zone not in self.lost]
        return {"disks": found, "unreachable_zones": self.lost}

    def gcp_disk(self, arguments: Json, check: bool) -> Json:
        if check and arguments.get("state") == "absent" and arguments["zone"] in self.nodes:
            return failure("precondition")  # it is attached
        zone, before = arguments["zone"], self.disks.get(arguments["zone"])
        if arguments.get("state") == "absent":
            return self._gone(self.disks, zone, check)
        if kind := self.refuses.get((zone, "disk")):
            return failure(kind)
        after = {"name": "d", "zone": zone, "labels": arguments["labels"], "type": arguments.get("type")}
        if not check and before is None:
            self.disks[zone] = after
        created = before is None and not check
        return {
            "changed": before is None,
            "created": created,
            "diff": {"before": before or {}, "after": after},
        }

    def tpu_vm(self, arguments: Json, check: bool) -> Json:
        zone = arguments["zone"]
        assert zone not in self.silent
        if arguments.get("state") == "absent":
            if zone in self.nodes and not check:
                labels = self.nodes[zone].get("labels", {})
                self.history.append(operation(zone, "create", MADE, labels))
                self.history.append(operation(zone, "delete", LATER))
            return self._gone(self.nodes, zone, check)
        if kind := self.bad.get(zone):
            return failure(kind)
        before = self.nodes.get(zone)
        if arguments.get("state") == "stopped":
            return self._stopped(zone, check)
        how = "spot" if arguments.get("spot") else "reserved" if arguments.get("reserved") else "on-demand"
        kind = "" if check or before else self.refuses.get((zone, how), "")
        if kind == "timeout":
            self.add_node(zone, "CREATING", labels=arguments["labels"])
        if kind:
            return failure(kind)
        off = before is not None and before["state"] == "STOPPED" and arguments["state"] == "started"
        disks = [
            {"sourceDisk": f"projects/p/zones/{zone}/disks/{d['source']}"}
            for d in arguments.get("data_disks", [])
        ]
        if not check and before is None:
            self.add_node(zone, spot=how == "spot", labels=arguments["labels"], dataDisks=disks)
        if not check and before is not None and off:
            self.nodes[zone] = {**before, "state": "READY"}
        after = self.nodes.get(zone) or {"acceleratorType": arguments["accelerator_type"]}
        diff = {"before": before or {}, "after": after}
        return {"changed": off or before is None, "node": after, "workers": [{"worker_id": 0}], "diff": diff}

    def _stopped(self, zone: str, check: bool) -> Json:
        before, after = self.nodes[zone], {**self.nodes[zone], "state": "STOPPED"}
        if not check:
            self.nodes[zone] = after
        return {"changed": before != after, "node": after, "diff": {"before": before, "after": after}}

    def tpu_queued_resource(self, arguments: Json, check: bool) -> Json:
        zone = arguments["zone"]
        if arguments.get("state") == "absent":
            assert arguments["force"]
            return self._gone(self.queued, zone, check)
        kind = "" if check else self.refuses.get((zone, "queued"), "")
        before = self.queued.get(zone)
        if kind == "timeout":
            self.add_queued(zone, "WAITING_FOR_RESOURCES", labels=arguments["labels"])
        if kind:
            return failure(kind)
        if not check:
            self.add_queued(zone, "ACTIVE", labels=arguments["labels"])
            maker = f"projects/p/locations/{zone}/queuedResources/n"
            self.add_node(zone, queuedResource=maker, labels=arguments["labels"])
        diff = {"before": before or {}, "after": self.queued.get(zone) or {"tpu": {}}}
        changed = before is None or bool(arguments.get("recreate"))
        return {"changed": changed, "queued_resource": diff["after"], "diff": diff}

    @staticmethod
    def _gone(kept: dict[str, Json], zone: str, check: bool) -> Json:
        before = kept.get(zone)
        if not check:
            kept.pop(zone, None)
        return {"changed": before is not None, "diff": {"before": before or {}, "after": {}}}


def is_named(node: Json, name: str | None) -> bool:
    return name in (None, node["name"].rpartition("/")[2])


class Task:
    def __init__(self, args: Json, check_mode: bool) -> None:
        self.args, self.check_mode, self.async_val, self.diff = args, check_mode, 0, False


class Playing:
    """To mix into an action plugin: an ansible-core that plays modules as the test says."""

    def __init__(
        self, cloud: Callable[[str, Json, bool], Json], args: Json, check_mode: bool = False
    ) -> None:
        self._task = Task({"project": "p", **args}, check_mode)
        self.cloud = cloud

    def _execute_module(self, module_name: str, module_args: Json, task_vars: Json) -> Json:
        assert module_args.pop("project") == "p"
        return self.cloud(module_name.removeprefix("tpuops.maxtext."), module_args, self._task.check_mode)
