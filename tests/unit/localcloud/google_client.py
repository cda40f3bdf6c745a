# SPDX-License-Identifier: GPL-3.0-or-later
"""Google's APIs over machines that exist only in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from starlette.testclient import TestClient

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.google import compute, tpu
from localcloud.google.nodes import NodeWork
from localcloud.google.queued import Queue
from localcloud.machines import DiskAttachment, Machine, MachineError, MachineSpec
from tests.keys import public_key

ZONE = "us-west1-c"
PROJECT = catalog.DEFAULT_PROJECT
LOCATION = f"projects/{PROJECT.project_id}/locations/{ZONE}"
ZONE_PATH = f"projects/{PROJECT.project_id}/zones/{ZONE}"


@dataclass
class FakeMachines:
    """What the server uses of `Machines`, without machines.

    hold: while clear, boots wait; failing: boots of machines whose name ends so fail; network: what addresses
    begin with.
    """

    machines: dict[str, Machine] = field(default_factory=dict)
    disks: dict[str, int] = field(default_factory=dict)
    keys: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    hold: threading.Event = field(default_factory=threading.Event)
    failing: str = "-"
    network: str = "10.128.0."
    uv_cache_dir = wheels_dir = guest_python = serve_python = ""

    def __post_init__(self) -> None:
        self.hold.set()

    def boot(self, spec: MachineSpec) -> Machine:
        assert self.hold.wait(30)
        if spec.name.endswith(self.failing):
            raise MachineError(f"machine {spec.name!r} does not answer on port 22")
        known = self.machines.get(spec.name)
        address = known.address if known else f"{self.network}{2 + len(self.machines)}"
        keys = {"ssh-ed25519": public_key(spec.name)}
        self.machines[spec.name] = Machine(spec.name, spec.hostname, address, True, keys, spec.disks)
        return self.machines[spec.name]

    def stop(self, name: str) -> None:
        self.machines[name] = replace(self.machines[name], running=False)

    def delete(self, name: str) -> None:
        self.machines.pop(name, None)
        self.keys.pop(name, None)

    def list(self) -> Sequence[Machine]:
        return list(self.machines.values())

    def set_authorized_keys(self, name: str, keys: Mapping[str, Sequence[str]]) -> None:
        self.keys[name] = {user: [*lines] for user, lines in keys.items()}

    def create_disk(self, name: str, size_gb: int) -> None:
        self.disks[name] = size_gb

    def resize_disk(self, name: str, size_gb: int) -> None:
        self.disks[name] = size_gb

    def delete_disk(self, name: str) -> None:
        self.disks.pop(name, None)

    def attach_disk(self, machine: str, disk: DiskAttachment) -> None:
        present = self.machines[machine]
        self.machines[machine] = replace(present, disks=(*present.disks, disk))

    def detach_disk(self, machine: str, disk: str) -> None:
        present = self.machines[machine]
        kept = tuple(other for other in present.disks if other.disk != disk)
        self.machines[machine] = replace(present, disks=kept)


@dataclass
class Google:
    """A client of the APIs of a cloud, with credentials."""

    cloud: Cloud
    machines: FakeMachines
    work: NodeWork
    queue: Queue
    client: TestClient

    def call(
        self, method: str, path: str, body: Any = None, status: int = 200, **query: Any
    ) -> dict[str, Any]:
        """The answer to a call that must end with `status`."""
        response = self.client.request(method, path, json=body, params=query)
        assert response.status_code == status, response.text
        return cast(dict[str, Any], response.json())

    def error(
        self, method: str, path: str, body: Any = None, status: int = 400, **query: Any
    ) -> dict[str, Any]:
        return cast(dict[str, Any], self.call(method, path, body, status, **query)["error"])

    def enable(self, *services: str) -> None:
        for service in services or (tpu.SERVICE, compute.SERVICE):
            self.cloud.set_service(PROJECT, service, True)

    def finish(self, operation: dict[str, Any]) -> dict[str, Any]:
        """A TPU operation once it is done."""
        record = self.cloud.operations.wait(operation["name"], 30)
        assert record is not None
        assert record["done"], record
        return self.call("GET", f"/v2/{operation['name']}")

    def create_disk(self, name: str = "data", size_gb: str = "10", **body: Any) -> str:
        """A blank disk; its path."""
        operation = self.call(
            "POST", f"/compute/v1/{ZONE_PATH}/disks", {"name": name, "sizeGb": size_gb, **body}
        )
        self.call("POST", f"/compute/v1/{ZONE_PATH}/operations/{operation['name']}/wait")
        return f"{ZONE_PATH}/disks/{name}"

    def begin_node(self, node_id: str = "tpu-v5e-8", **body: Any) -> dict[str, Any]:
        """The operation that creates a node."""
        node = {"acceleratorType": "v5litepod-8", "runtimeVersion": "v2-alpha-tpuv5-lite", **body}
        return self.call("POST", f"/v2/{LOCATION}/nodes", node, nodeId=node_id)

    def create_node(self, node_id: str = "tpu-v5e-8", **body: Any) -> dict[str, Any]:
        """A new node that is READY."""
        operation = self.finish(self.begin_node(node_id, **body))
        assert "error" not in operation, operation
        return cast(dict[str, Any], operation["response"])
