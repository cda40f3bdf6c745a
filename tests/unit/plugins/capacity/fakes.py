# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that act on nodes, disks and queued resources in memory, as far as the ladder sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


def failure(kind: str) -> Json:
    return {"failed": True, "msg": f"Google said {kind}", "failure": {"kind": kind, "code": 1, "details": []}}


@dataclass
class FakeCloud:
    """refuses: (zone, what: disk, on-demand, spot, queued or reserved) -> the kind of failure."""

    nodes: dict[str, Json] = field(default_factory=dict)
    disks: dict[str, Json] = field(default_factory=dict)
    queued: dict[str, Json] = field(default_factory=dict)
    refuses: dict[tuple[str, str], str] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)
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

    def add_node(self, zone: str, state: str = "READY", spot: bool = False, **more: Any) -> None:
        name = f"projects/p/locations/{zone}/nodes/n"
        scheduling = {"schedulingConfig": {"spot": True}} if spot else {}
        self.nodes[zone] = {
            "name": name,
            "state": state,
            "acceleratorType": "v5litepod-8",
            **scheduling,
            **more,
        }

    def add_queued(self, zone: str, state: str, spot: bool = False) -> None:
        name = f"projects/p/locations/{zone}/queuedResources/n"
        self.queued[zone] = {
            "name": name,
            "state": {"state": state},
            "tpu": {},
            **({"spot": {}} if spot else {}),
        }

    def add_disk(self, zone: str, **labels: str) -> None:
        self.disks[zone] = {"name": "d", "zone": zone, "labels": labels}

    # ---- modules

    def tpu_vm_info(self, arguments: Json, _check: bool) -> Json:
        return {"nodes": [node for zone, node in self.nodes.items() if zone in arguments["zones"]]}

    def tpu_queued_resource_info(self, arguments: Json, _check: bool) -> Json:
        found = [item for zone, item in self.queued.items() if zone in arguments["zones"]]
        return {"queued_resources": found}

    def gcp_disk_info(self, _arguments: Json, _check: bool) -> Json:
        return {"disks": list(self.disks.values())}

    def gcp_disk(self, arguments: Json, check: bool) -> Json:
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
        if arguments.get("state") == "absent":
            return self._gone(self.nodes, zone, check)
        if kind := self.bad.get(zone):
            return failure(kind)
        before = self.nodes.get(zone)
        how = "spot" if arguments.get("spot") else "reserved" if arguments.get("reserved") else "on-demand"
        kind = "" if check or before else self.refuses.get((zone, how), "")
        if kind == "timeout":
            self.add_node(zone, "CREATING")
        if kind:
            return failure(kind)
        off = before is not None and before["state"] == "STOPPED" and arguments["state"] == "started"
        if not check and before is None:
            self.add_node(zone, spot=how == "spot")
        if not check and before is not None and off:
            self.nodes[zone] = {**before, "state": "READY"}
        after = self.nodes.get(zone) or {"acceleratorType": arguments["accelerator_type"]}
        diff = {"before": before or {}, "after": after}
        return {"changed": off or before is None, "node": after, "workers": [{"worker_id": 0}], "diff": diff}

    def tpu_queued_resource(self, arguments: Json, check: bool) -> Json:
        zone = arguments["zone"]
        if arguments.get("state") == "absent":
            assert arguments["force"]
            return self._gone(self.queued, zone, check)
        kind = "" if check else self.refuses.get((zone, "queued"), "")
        before = self.queued.get(zone)
        if kind == "timeout":
            self.add_queued(zone, "WAITING_FOR_RESOURCES")
        if kind:
            return failure(kind)
        if not check:
            self.add_queued(zone, "ACTIVE")
            self.add_node(zone, queuedResource=f"projects/p/locations/{zone}/queuedResources/n")
        diff = {"before": before or {}, "after": self.queued.get(zone) or {"tpu": {}}}
        return {"changed": before is None, "queued_resource": diff["after"], "diff": diff}

    @staticmethod
    def _gone(kept: dict[str, Json], zone: str, check: bool) -> Json:
        before = kept.get(zone)
        if not check:
            kept.pop(zone, None)
        return {"changed": before is not None, "diff": {"before": before or {}, "after": {}}}
