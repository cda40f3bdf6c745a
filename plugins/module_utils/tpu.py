# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that is specific to version 2 of the TPU API: paths, calls, states, workers.

Google has frozen this API and makes newer generations instances of Compute Engine: this module is the seam.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import NotFound, PreconditionFailed
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import (
    finished_long_running,
    poll,
    response_of,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

# Node.state, by what can be done with the node; of those in which something is under way, how it ends.
TRANSITIONAL = {
    "CREATING": "READY",
    "RESTARTING": "READY",
    "REIMAGING": "READY",
    "DELETING": "",
    "REPAIRING": "READY",
    "STOPPING": "STOPPED",
    "STARTING": "READY",
    "HIDING": "HIDDEN",
    "UNHIDING": "READY",
}
DEAD = frozenset({"PREEMPTED", "TERMINATED"})

# QueuedResource.state.state: on its way to its nodes, and beyond return.
QUEUED = frozenset({"CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING"})
QUEUED_DEAD = frozenset({"FAILED", "SUSPENDED"})

#: The label of a node that ends by itself: why. The program on the node writes it.
ENDED_LABEL = "tpuops-ended"

API = "tpu"
VERSION = "v2"


def created_labels(response: Json) -> dict[str, str] | None:
    """The labels of the node that a creation answered with, None where it did not answer.

    response: a node, or a queued resource, which has its node in a specification.
    """
    if not response:
        return None
    specs = response.get("tpu", {}).get("nodeSpec", [])
    node = specs[0].get("node", {}) if specs else response
    return dict(node.get("labels", {}))


class Tpus:
    """The TPU API in one zone of one project; zone "-" lists all zones."""

    def __init__(self, client: Client, project: str, zone: str) -> None:
        self._client = client
        self.project = project
        self.zone = zone
        self.parent = f"projects/{project}/locations/{zone}"

    def node_name(self, name: str) -> str:
        return f"{self.parent}/nodes/{name}"

    def queued_resource_name(self, name: str) -> str:
        return f"{self.parent}/queuedResources/{name}"

    def find(self, collection: str, name: str) -> Json | None:
        """The node (nodes) or queued resource (queuedResources) of this name, None if there is none."""
        try:
            return self._client.get(API, f"{VERSION}/{self.parent}/{collection}/{name}")
        except NotFound:
            return None

    def get_node(self, name: str) -> Json | None:
        return self.find("nodes", name)

    def node_pages(self) -> Iterator[Json]:
        return self.pages("nodes")

    def queued_resource_pages(self) -> Iterator[Json]:
        return self.pages("queuedResources")

    def pages(self, collection: str) -> Iterator[Json]:
        """Pages {<collection>, unreachable}: `unreachable` names locations that did not answer."""
        return self._client.pages(API, f"{VERSION}/{self.parent}/{collection}", {"pageSize": 1000})

    def create_node(self, name: str, body: Json) -> Json:
        return self._client.post(API, f"{VERSION}/{self.parent}/nodes", body, {"nodeId": name})

    def patch_node(self, name: str, body: Json, mask: Sequence[str]) -> Json:
        path = f"{VERSION}/{self.node_name(name)}"
        return self._client.patch(API, path, body, {"updateMask": ",".join(mask)})

    def delete_node(self, name: str) -> Json:
        return self._client.delete(API, f"{VERSION}/{self.node_name(name)}")

    def start_node(self, name: str) -> Json:
        return self._client.post(API, f"{VERSION}/{self.node_name(name)}:start")

    def stop_node(self, name: str) -> Json:
        return self._client.post(API, f"{VERSION}/{self.node_name(name)}:stop")

    def create_queued_resource(self, name: str, body: Json) -> Json:
        path = f"{VERSION}/{self.parent}/queuedResources"
        return self._client.post(API, path, body, {"queuedResourceId": name, **_once()})

    def delete_queued_resource(self, name: str, force: bool) -> Json:
        """force: delete its nodes first; without it a queued resource that has nodes is refused."""
        path = f"{VERSION}/{self.queued_resource_name(name)}"
        return self._client.delete(API, path, {**({"force": "true"} if force else {}), **_once()})

    def accelerator_types(self) -> list[Json]:
        return self._all("acceleratorTypes")

    def runtime_versions(self) -> list[Json]:
        return self._all("runtimeVersions")

    def _all(self, collection: str) -> list[Json]:
        return [item for page in self.pages(collection) for item in page.get(collection, [])]

    def locations(self) -> list[str]:
        """The zones in which the project can ask for TPUs."""
        path = f"{VERSION}/projects/{self.project}/locations"
        return [str(item["locationId"]) for item in self._client.items(API, path, "locations")]

    def finished(self, operation: Mapping[str, Any], deadline: Deadline) -> Json:
        """The operation when it is done, well or not."""
        return finished_long_running(self._client, API, VERSION, operation, deadline)

    def wait(self, operation: Mapping[str, Any], deadline: Deadline) -> Json:
        """The operation's response; raises its error."""
        return response_of(self.finished(operation, deadline))

    def settle(
        self,
        path: str,
        fetch: Callable[[], Json | None],
        done: Callable[[Json], bool],
        deadline: Deadline,
    ) -> Json | None:
        """What `fetch` returns once `done` says that nothing is under way on it any more, None if it is gone.

        An operation that an earlier run (or gcloud) left is found by its target and waited for. Its error
        does not matter: what it left behind does.

        path: the resource's, its `name` in the API's words.
        """
        pending = next(self._pending(path), None)
        if pending:
            self.finished(pending, deadline)
        what = f"The change of {short_name(path)}"
        operation = pending["name"] if pending else path
        return poll(lambda: fetch() or {}, done, deadline, what, operation) or None

    def history(self, name: str) -> list[Json]:
        """What Google remembers of nodes and queued resources of this name.

        {zone, kind, verb, time, failed, labels} each. labels: those of the node that a creation made, None
        where Google does not say. An update has the label that says why the node ends by itself, too (ended).
        """
        found: list[Json] = []
        for operation in self._operations():
            data = operation.get("metadata", {})
            kind, _slash, target = (
                str(data.get("target", "")).partition(f"/locations/{self.zone}/")[2].partition("/")
            )
            if target == name and kind in ("nodes", "queuedResources"):
                told: Json = {"verb": str(data.get("verb", "")), "time": str(data.get("createTime", ""))}
                told["failed"] = "error" in operation
                response = operation.get("response") or {}
                if told["verb"] == "update":
                    told["ended"] = str((response.get("labels") or {}).get(ENDED_LABEL, ""))
                told["labels"] = created_labels(response) if told["verb"] == "create" else None
                found.append({"zone": self.zone, "kind": kind, **told})
        return found

    def _operations(self) -> Iterator[Json]:
        return self._client.items(API, f"{VERSION}/{self.parent}/operations", "operations")

    def _pending(self, target: str) -> Iterator[Json]:
        for operation in self._operations():
            if not operation.get("done") and operation.get("metadata", {}).get("target") == target:
                yield operation

    def host_keys(self, name: str) -> list[str]:
        """The host key of every worker as "<type> <base64>", "" where it is not published yet, in worker
        order."""
        try:
            answer = self._client.post(API, f"{VERSION}/{self.node_name(name)}:getGuestAttributes")
        except (NotFound, PreconditionFailed):
            return []
        return [_host_key(attributes) for attributes in answer.get("guestAttributes", [])]


def _once() -> Json:
    """The parameter by which Google knows a repeated request, whose answer was lost, for the same."""
    return {"requestId": str(uuid.uuid4())}


def _host_key(attributes: Mapping[str, Any]) -> str:
    """The best of the keys that a worker has published and that are well-formed, "" for none: the worker may
    write anything there."""
    entries = attributes.get("queryValue", {}).get("items", [])
    keys = {entry.get("key"): entry.get("value") for entry in entries if entry.get("namespace") == "hostkeys"}
    return next(filter(None, (known_hosts.host_key(kind, keys.get(kind)) for kind in known_hosts.TYPES)), "")


def short_name(path: str) -> str:
    """The last part of a resource's path: a node's, zone's, disk's or network's own name."""
    return path.rpartition("/")[2]


def zone_of(found: Mapping[str, Any]) -> str:
    """The zone of a node, a queued resource or a disk, which alone has it as a field."""
    return short_name(found["zone"]) if "zone" in found else str(found["name"].split("/")[3])


def project_of(node: Mapping[str, Any]) -> str:
    return str(node["name"].split("/")[1])


def by_size(types: Iterable[str]) -> list[str]:
    """Accelerator types, those of a generation from the smallest: v5litepod-8 before v5litepod-16."""
    return sorted(types, key=lambda name: (len(name), name))


def node_specs(queued: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """The nodes that a queued resource asks for, by name: the slices of a multislice job are numbered."""
    for spec in queued.get("tpu", {}).get("nodeSpec", []):
        slices = spec.get("multisliceParams", {})
        prefix = slices.get("nodeIdPrefix") or short_name(queued["name"])
        count = int(slices.get("nodeCount", 0))
        names = [f"{prefix}-{number}" for number in range(count)] or [spec.get("nodeId", "")]
        for name in filter(None, names):
            yield name, spec.get("node", {})


def node_ids(queued: Mapping[str, Any]) -> list[str]:
    """The names alone."""
    return [name for name, _node in node_specs(queued)]


def workers(node: Mapping[str, Any], host_keys: Sequence[str] = ()) -> list[Json]:
    """One entry a worker: {worker_id, name, address, internal_address, host_key, host_key_alias}.

    name:           the node's for a single worker, <node>-<worker_id> in a slice.
    address:        external if the node has external addresses, else internal.
    host_key_alias: under which SSH knows the host key. It holds the node's unique id, so a node made again
                    under the same name or address is another host to SSH.
    """
    endpoints = node.get("networkEndpoints", [])
    # A worker has one endpoint a network interface; the first is the one with the external address.
    endpoints = endpoints[:: max(1, len(node.get("networkConfigs", [])))]
    name = short_name(node["name"])
    return [
        {
            "worker_id": index,
            "name": name if len(endpoints) == 1 else f"{name}-{index}",
            "address": endpoint.get("accessConfig", {}).get("externalIp") or endpoint.get("ipAddress", ""),
            "internal_address": endpoint.get("ipAddress", ""),
            "host_key": host_keys[index] if index < len(host_keys) else "",
            "host_key_alias": f"tpu.{node.get('id', name)}-{index}",
        }
        for index, endpoint in enumerate(endpoints)
    ]
