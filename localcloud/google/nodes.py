# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of TPU VMs: what the operations on a node do to its machines.

A node is one record, as the API gives it. Each of its workers is a record `worker` beside it: {machine,
index, node, address, host_keys, guest_attributes}; a worker runs as one machine. host_keys are those of its
last start, guest_attributes ("namespace/key" -> value) what it has written since. Every step can be repeated,
so that an operation that a killed server has left half-done is simply run again.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.google import logins
from localcloud.google.compute import machine_disk
from localcloud.google.errors import ApiError, PreemptedError, stocked_out
from localcloud.google.operations import KIND, ClosedError, Undo
from localcloud.json_types import Json
from localcloud.machines import DiskAttachment, Machine, MachineSpec

log = logging.getLogger(__name__)

NODE = "node"
WORKER = "worker"
#: The port of the TPU runtime, as endpoints show it.
RUNTIME_PORT = 8470
UNDER_MAINTENANCE = {"state": "REPAIRING", "health": "UNHEALTHY_MAINTENANCE"}
#: How long after a repair that failed the next one waits.
RETRY_SECONDS = 10.0


def accelerator(node: Json) -> catalog.AcceleratorType:
    """The accelerator type of a node that was accepted."""
    zone = node["name"].split("/")[3]
    return next(kind for kind in catalog.accelerator_types(zone) if kind.name == node["acceleratorType"])


def machine_name(node: str, worker: int) -> str:
    """A worker's machine and host name, in the form that Google gives them: `t1v-n-<node>-w-<worker>`."""
    return f"t1v-n-{hashlib.sha256(node.encode()).hexdigest()[:8]}-w-{worker}"


def workers(cloud: Cloud, node: str) -> list[Json]:
    """The workers of a node in their order; none while it is being created."""
    found = [record for _, record in cloud.store.items(WORKER, f"{node}/workers/")]
    return sorted(found, key=lambda worker: int(worker["index"]))


def guest_attributes(worker: Json) -> dict[tuple[str, str], str]:
    """(namespace, key) -> value: what the agent publishes at a start, and what the worker wrote since."""
    found = {("guestInventory", "hostname"): worker["machine"]}
    found.update((("hostkeys", kind), key) for kind, key in worker["host_keys"].items())
    for attribute, value in worker.get("guest_attributes", {}).items():
        namespace, _slash, key = attribute.partition("/")
        found[namespace, key] = value
    return dict(sorted(found.items()))


def install_keys(cloud: Cloud, node: Json) -> None:
    """Let in who may log in to a node, and nobody else."""
    keys = logins.users(cloud.store, node)
    for worker in workers(cloud, node["name"]):
        cloud.machines.set_authorized_keys(worker["machine"], keys)


def _require_room(operation: Json) -> None:
    """Fail what was begun in a zone without room."""
    if operation["arguments"].get("stocked_out"):
        raise stocked_out(operation["target"].split("/")[3])


class NodeWork:
    """The work of TPU operations."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._retry_after: dict[str, float] = {}
        cloud.operations.register("tpu", "create", self._create, self._undo_create)
        for verb, before in (("delete", "READY"), ("start", "STOPPED"), ("stop", "READY")):
            cloud.operations.register("tpu", verb, getattr(self, f"_{verb}"), self._back_to(before))
        for verb in ("update", "repair", "preempt", "maintain"):
            cloud.operations.register("tpu", verb, getattr(self, f"_{verb}"))

    # ---- operations

    def _create(self, operation: Json) -> Json:
        name = operation["target"]
        node = self._cloud.store.get(NODE, name)
        if node is None:
            raise ApiError("ABORTED", f"Node {name} was deleted while it was being created.")
        _require_room(operation)
        self._boot(node)
        with self._cloud.store.lock:
            if self._cloud.operations.cancelled(operation["name"]):
                raise ApiError("CANCELLED", f"The creation of {name} was cancelled.")
            return self._publish(name)

    def _undo_create(self, operation: Json, error: Exception) -> None:
        if isinstance(error, PreemptedError):
            self._cloud.store.update(NODE, operation["target"], state="PREEMPTED")
        else:
            self._remove(operation["target"])

    def _back_to(self, state: str) -> Undo:
        """What makes a node whole again whose operation failed: the state that it had before."""

        def undo(operation: Json, error: Exception) -> None:
            with self._cloud.store.lock:
                if self._cloud.store.get(NODE, operation["target"]) is not None:
                    self._cloud.store.update(NODE, operation["target"], state=state)

        return undo

    def _delete(self, operation: Json) -> Json:
        self._remove(operation["target"])
        return {}

    def _stop(self, operation: Json) -> Json:
        name = operation["target"]
        for worker in workers(self._cloud, name):
            self._cloud.machines.stop(worker["machine"])
        return self._cloud.store.update(NODE, name, state="STOPPED", health=None)

    def _start(self, operation: Json) -> Json:
        name = operation["target"]
        _require_room(operation)
        self._boot(self._node(name))
        return self._publish(name)

    def _update(self, operation: Json) -> Json:
        name, changes = operation["target"], operation["arguments"]["changes"]
        before = self._node(name)
        after = {**before, **changes}
        if changes.get("dataDisks", before.get("dataDisks")) != before.get("dataDisks"):
            self._change_disks(before, after)
        if "metadata" in changes and before["state"] == "READY":
            install_keys(self._cloud, after)
        endpoints = self._endpoints(after)
        return self._cloud.store.update(NODE, name, **changes, networkEndpoints=endpoints)

    # ---- machines

    def _node(self, name: str) -> Json:
        node = self._cloud.store.get(NODE, name)
        if node is None:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return node

    def _attachments(self, node: Json) -> tuple[DiskAttachment, ...]:
        return tuple(
            DiskAttachment(
                disk=machine_disk(disk["sourceDisk"]), index=index, read_only=disk["mode"] == "READ_ONLY"
            )
            for index, disk in enumerate(node.get("dataDisks", []), start=1)
        )

    def _boot(self, node: Json) -> None:
        """Bring all machines of a node up, with its disks and keys."""
        name = node["name"]
        disks = self._attachments(node)
        specs = [
            MachineSpec(name=machine_name(name, index), hostname=machine_name(name, index), disks=disks)
            for index in range(accelerator(node).workers)
        ]
        with ThreadPoolExecutor(max_workers=8) as threads:
            machines = list(threads.map(self._cloud.machines.boot, specs))
        for index, machine in enumerate(machines):
            self._record(name, index, machine)
        install_keys(self._cloud, node)

    def _record(self, node: str, index: int, machine: Machine) -> None:
        record = {
            "node": node,
            "index": index,
            "machine": machine.name,
            "address": machine.address,
            "host_keys": dict(machine.host_keys),
        }
        self._cloud.store.put(WORKER, f"{node}/workers/{index}", record)

    def _change_disks(self, before: Json, after: Json) -> None:
        wanted, present = self._attachments(after), self._attachments(before)
        for worker in workers(self._cloud, before["name"]):
            for attachment in present:
                if attachment not in wanted:
                    self._cloud.machines.detach_disk(worker["machine"], attachment.disk)
            for attachment in wanted:
                if attachment not in present:
                    self._cloud.machines.attach_disk(worker["machine"], attachment)

    def _publish(self, name: str) -> Json:
        """Make a booted node READY, with the endpoints of its workers."""
        node = self._node(name)
        # A deletion that was asked for meanwhile is waiting for its turn: its state stays.
        state = "DELETING" if node["state"] == "DELETING" else "READY"
        endpoints = self._endpoints(node)
        return self._cloud.store.update(NODE, name, networkEndpoints=endpoints, state=state, health="HEALTHY")

    def _endpoints(self, node: Json) -> list[Json]:
        """One for each network of each worker. A machine has one network, so all have its address."""
        return [
            {
                "ipAddress": worker["address"],
                "port": RUNTIME_PORT,
                "accessConfig": {"externalIp": worker["address"]} if network["enableExternalIps"] else {},
            }
            for worker in workers(self._cloud, node["name"])
            for network in node.get("networkConfigs") or [node["networkConfig"]]
        ]

    def _remove(self, name: str) -> None:
        """Leave nothing of a node. Machines are found by their names, so that half-made ones go as well."""
        node = self._cloud.store.get(NODE, name)
        if node is None:
            return
        self._remove_machines(node)
        self._cloud.store.delete(NODE, name)

    def _remove_machines(self, node: Json) -> None:
        for index in range(accelerator(node).workers):
            self._cloud.machines.delete(machine_name(node["name"], index))
            self._cloud.store.delete(WORKER, f"{node['name']}/workers/{index}")

    # ---- preemption

    def preempt(self, node: str) -> str:
        """Take a READY node's machines away, as Google does with a spot node; its path.

        node: id or path. Its disks stay, attached to the node until it is deleted. ValueError when there is
        no such node, or it is not READY.
        """
        return self._befall(node, "preempt", state="PREEMPTED", health=None)

    def _befall(self, node: str, verb: str, arguments: Json | None = None, **changes: object) -> str:
        """Do to a READY node what no user asked for; its path, once it is done. ValueError as above."""
        name, operation = self._begin(node, verb, arguments or {}, **changes)
        self._cloud.operations.wait(operation, 50)
        return name

    def _begin(self, node: str, verb: str, arguments: Json, **changes: object) -> tuple[str, str]:
        """As `_befall`, without waiting: the node's path and the operation's name."""
        with self._cloud.store.lock:
            name = self._change(node, **changes)
            location = name.partition("/nodes/")[0]
            operation = self._cloud.operations.begin("tpu", verb, location, name, **arguments)
        return name, operation["name"]

    def _change(self, node: str, **changes: object) -> str:
        """Change what is said of a READY node; its path. ValueError as above."""
        with self._cloud.store.lock:
            name = self._named(node)
            found = self._node(name)
            if found["state"] != "READY" or self._cloud.operations.pending(name):
                raise ValueError(f"{name} is {found['state']}; only a READY, idle node can be struck")
            self._cloud.store.update(NODE, name, **changes)
        return name

    def _named(self, node: str) -> str:
        """The path of a node, by its id or path. ValueError when there is none, or more than one."""
        names = [name for name, _ in self._cloud.store.items(NODE) if node in (name, name.split("/")[5])]
        if len(names) != 1:
            raise ValueError(
                f"several nodes are called {node}: {', '.join(names)}" if names else f"no node {node}"
            )
        return names[0]

    def _preempt(self, operation: Json) -> Json:
        node = self._node(operation["target"])
        self._remove_machines(node)
        return node

    # ---- health

    def diagnose(self, node: str, health: str) -> str:
        """Say of a READY node that its health is this; its path. Its machines are not touched.

        node: id or path. ValueError as for `preempt`.
        """
        return self._change(node, health=health)

    # ---- maintenance

    def maintain(self, node: str, seconds: float) -> str:
        """Take the machines of a READY node off for maintenance, and boot them again; its path.

        node: id or path. Meanwhile it is REPAIRING and UNHEALTHY_MAINTENANCE. ValueError as for `preempt`.
        """
        return self._befall(node, "maintain", {"seconds": seconds}, **UNDER_MAINTENANCE)

    def begin_maintenance(self, node: str) -> str:
        """As `maintain`, until `end_maintenance`; its path, at once."""
        return self._begin(node, "maintain", {"seconds": None}, **UNDER_MAINTENANCE)[0]

    def _maintain(self, operation: Json) -> Json:
        name = operation["target"]
        for worker in workers(self._cloud, name):
            self._cloud.machines.stop(worker["machine"])
        seconds = operation["arguments"]["seconds"]
        until = math.inf if seconds is None else time.monotonic() + seconds
        while time.monotonic() < until and not self._cloud.operations.cancelled(operation["name"]):
            if self._cloud.operations.closed.wait(0.05):
                raise ClosedError
        self._boot(self._node(name))
        return self._publish(name)

    def end_maintenance(self, node: str) -> str:
        """Boot the machines of a node under maintenance before its time; its path, once they are up.

        node: id or path. ValueError when there is no such node, it is not under maintenance, or its machines
        do not boot.
        """
        name = self._named(node)
        under_way = [each for each in self._cloud.operations.pending(name) if each["verb"] == "maintain"]
        if not under_way:
            raise ValueError(f"{name} is not under maintenance")
        for operation in under_way:
            self._cloud.operations.cancel(operation["name"])
            ended = self._cloud.operations.wait(operation["name"], 50)
            if not ended or not ended["done"] or "error" in ended:
                raise ValueError(f"the maintenance of {name} does not end; see `localcloud logs`")
        return name

    # ---- repair

    def repair(self) -> None:
        """Boot again what should run and does not: killed, or gone through a reboot inside the machine."""
        for name in self._broken():
            with self._cloud.store.lock:
                waiting = time.monotonic() < self._retry_after.get(name, 0.0)
                if waiting or self._cloud.operations.pending(name):
                    continue
                log.info("repairing %s", name)
                self._cloud.store.update(NODE, name, state="REPAIRING")
                self._cloud.operations.begin("tpu", "repair", name.partition("/nodes/")[0], name)

    def unsettled(self) -> list[str]:
        """Nodes on which work is in progress or due."""
        pending = {
            operation["target"]
            for _, operation in self._cloud.store.items(KIND)
            if not operation["done"] and operation["api"] == "tpu"
        }
        return sorted(pending.union(self._broken()))

    def _broken(self) -> list[str]:
        """Nodes that should run and of whose machines at least one does not."""
        running = {machine.name for machine in self._cloud.machines.list() if machine.running}
        ended = {
            worker["node"]
            for _, worker in self._cloud.store.items(WORKER)
            if worker["machine"] not in running
        }
        nodes = ((name, self._cloud.store.get(NODE, name)) for name in sorted(ended))
        return [name for name, node in nodes if node and node["state"] in ("READY", "REPAIRING")]

    def _repair(self, operation: Json) -> Json:
        name = operation["target"]
        self._retry_after[name] = time.monotonic() + RETRY_SECONDS
        self._boot(self._node(name))
        del self._retry_after[name]
        return self._publish(name)
