# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud TPU v2: nodes, operations, and what a location offers."""

from __future__ import annotations

from typing import Any

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.google import capacity, compute, nodes, nodespec, operations
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import ApiError, invalid_field, not_found, unknown_location
from localcloud.google.nodes import NODE, NodeWork
from localcloud.json_types import Json

SERVICE = "tpu.googleapis.com"
api = Api("tpu.v2", SERVICE)

TYPES = "type.googleapis.com/google.cloud.tpu.v2"
#: What an operation that is not a deletion answers, by the `api` of its record.
RESPONSES = {"tpu": "google.cloud.tpu.v2.Node", "queued": "google.cloud.tpu.v2.QueuedResource"}
#: What nodes.patch may change: mask -> field. Both spellings of a field mask are in use.
UPDATABLE = {
    "description": "description",
    "tags": "tags",
    "labels": "labels",
    "metadata": "metadata",
    "data_disks": "dataDisks",
    "dataDisks": "dataDisks",
    "network_config.enable_external_ips": "networkConfig",
    "networkConfig.enableExternalIps": "networkConfig",
}


def location(call: Call, *, wildcard: bool = False) -> str:
    """Path of the location that a call names; `-` stands for all in lists."""
    zone = call.path["locationsId"]
    if zone not in catalog.ZONES and not (wildcard and zone == "-"):
        raise unknown_location(zone)
    return f"projects/{call.project.project_id}/locations/{zone}"


def project_of(path: str) -> catalog.Project:
    """The project of a resource that exists."""
    project = catalog.find_project(path.split("/")[1])
    assert project is not None
    return project


def collection(call: Call, kind: str) -> list[tuple[str, Json]]:
    """The records of a kind in the location of a list call, or in all locations of the project."""
    path = location(call, wildcard=True)
    prefix = path.removesuffix("-") if path.endswith("/-") else f"{path}/"
    return call.cloud.store.items(kind, prefix)


def listing(call: Call, kind: str, key: str) -> Json:
    """The answer to a list call. One of all zones leaves out those that cannot be reached, and says so."""
    items = collection(call, kind)
    zones = sorted(catalog.ZONES) if call.path["locationsId"] == "-" else []
    parent = f"projects/{call.project.project_id}/locations"
    lost = [
        f"{parent}/{zone}"
        for zone in zones
        if call.cloud.faults.meet("zone", zone=zone, method=call.method.id)
    ]
    there = [item for item in items if item[0].partition(f"/{key}/")[0] not in lost]
    return {**page(call, there, key), **({"unreachable": lost} if lost else {})}


# ---- nodes


def _node(call: Call) -> Json:
    name = f"{location(call)}/nodes/{call.path['nodesId']}"
    node = call.cloud.store.get(NODE, name)
    if node is None:
        raise not_found(name)
    return node


@api.method("tpu.projects.locations.nodes.get")
def get_node(call: Call) -> Json:
    return _node(call)


@api.method("tpu.projects.locations.nodes.list")
def list_nodes(call: Call) -> Json:
    return listing(call, NODE, "nodes")


@api.method("tpu.projects.locations.nodes.create")
def create_node(call: Call) -> Json:
    node_id = call.query.get("nodeId", "")
    nodespec.check_node_id(node_id)
    zone, body = call.path["locationsId"], call.body
    name = f"{location(call)}/nodes/{node_id}"
    kind = nodespec.check(zone, body)
    with call.cloud.store.lock:
        if call.cloud.store.get(NODE, name) is not None:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists")
        disks = nodespec.data_disks(call.cloud, zone, body.get("dataDisks", []), kind, holder=name)
        node = nodespec.new_node(call.project, name, body, kind, disks=disks, subnet=call.cloud.config.subnet)
        demand = [(kind, capacity.node_tier(body))]
        capacity.check_quota(call.cloud, call.project, zone, demand)
        room = capacity.fits(call.cloud, zone, demand, call.method.id)
        call.cloud.store.put(NODE, name, node)
        return _begin(call, "create", name, stocked_out=not room)


@api.method("tpu.projects.locations.nodes.delete")
def delete_node(call: Call) -> Json:
    with call.cloud.store.lock:
        node = _node(call)
        if node["state"] == "DELETING":
            raise _busy(node)
        call.cloud.operations.cancel_all(node["name"])
        call.cloud.store.update(NODE, node["name"], state="DELETING")
    return _begin(call, "delete", node["name"])


@api.method("tpu.projects.locations.nodes.stop")
def stop_node(call: Call) -> Json:
    return _switch(call, "stop", "READY", "STOPPING")


@api.method("tpu.projects.locations.nodes.start")
def start_node(call: Call) -> Json:
    return _switch(call, "start", "STOPPED", "STARTING")


def _switch(call: Call, verb: str, before: str, meanwhile: str) -> Json:
    with call.cloud.store.lock:
        node = _node(call)
        if nodes.accelerator(node).workers > 1:
            raise ApiError(
                "FAILED_PRECONDITION", f"Cannot {verb} {node['name']}: it is a slice of several hosts."
            )
        _require_idle(call, node)
        if node["state"] != before:
            raise ApiError(
                "FAILED_PRECONDITION", f"Cannot {verb} {node['name']}: it is {node['state']}, not {before}."
            )
        demand = [(nodes.accelerator(node), capacity.node_tier(node))]
        room = verb == "stop" or capacity.fits(call.cloud, node["name"].split("/")[3], demand, call.method.id)
        call.cloud.store.update(NODE, node["name"], state=meanwhile)
    return _begin(call, verb, node["name"], stocked_out=not room)


@api.method("tpu.projects.locations.nodes.patch")
def patch_node(call: Call) -> Json:
    masks = [mask for mask in call.query.get("updateMask", "").split(",") if mask]
    unknown = [mask for mask in masks if mask not in UPDATABLE]
    if not masks or unknown:
        raise invalid_field(
            "update_mask",
            f"Invalid update mask '{','.join(unknown)}': the fields that can be updated are "
            "description, tags, labels, metadata, data_disks, network_config.enable_external_ips.",
        )
    compute.check_labels(call.body.get("labels", {}), "node.labels")
    with call.cloud.store.lock:
        node = _node(call)
        _require_idle(call, node)
        if node["state"] not in ("READY", "STOPPED"):
            raise _busy(node)
        changes = {UPDATABLE[mask]: _new_value(call, node, UPDATABLE[mask]) for mask in masks}
        return _begin(call, "update", node["name"], changes=changes)


def _new_value(call: Call, node: Json, field: str) -> Any:
    """The value of a masked field, None where it is to be cleared."""
    if field == "dataDisks":
        return nodespec.data_disks(
            call.cloud,
            call.path["locationsId"],
            call.body.get(field, []),
            nodes.accelerator(node),
            holder=node["name"],
        )
    if field == "networkConfig":
        if field not in node:
            raise invalid_field("update_mask", f"{node['name']} has network_configs, not network_config.")
        given = call.body.get(field, {}).get("enableExternalIps", False)
        return {**node[field], "enableExternalIps": given}
    return call.body.get(field)


def _require_idle(call: Call, node: Json) -> None:
    if call.cloud.operations.pending(node["name"]):
        raise _busy(node)


def _busy(node: Json) -> ApiError:
    return ApiError(
        "ABORTED",
        f"Unable to queue the operation: another one on {node['name']} ({node['state']}) is in progress.",
    )


@api.method("tpu.projects.locations.nodes.getGuestAttributes")
def get_guest_attributes(call: Call) -> Json:
    node = _node(call)
    path = call.body.get("queryPath", "").strip("/")
    # gcloud sends one empty id when it asks for all workers.
    wanted = {int(worker) for worker in call.body.get("workerIds", []) if worker.isdigit()}
    answers = []
    for worker in nodes.workers(call.cloud, node["name"]):
        if wanted and worker["index"] not in wanted:
            continue
        items = [
            {"namespace": namespace, "key": key, "value": value}
            for (namespace, key), value in nodes.guest_attributes(worker).items()
            if path in ("", namespace, f"{namespace}/{key}")
        ]
        answers.append({"queryPath": path, "queryValue": {"items": items}})
    return {"guestAttributes": answers}


# ---- operations


def _begin(call: Call, verb: str, node: str, **arguments: object) -> Json:
    return render(call.begin("tpu", verb, location(call), node, **arguments))


def render(record: Json) -> Json:
    """An operation as google.longrunning has it."""
    metadata = {
        "@type": f"{TYPES}.OperationMetadata",
        "createTime": record["createTime"],
        "target": record["target"],
        "verb": record["verb"],
        "cancelRequested": record["cancelled"],
        "apiVersion": "v2",
    }
    operation: Json = {"name": record["name"], "metadata": metadata, "done": record["done"]}
    if record["done"]:
        metadata["endTime"] = record["endTime"]
    if "error" in record:
        operation["error"] = record["error"]
    elif record["done"]:
        kind = RESPONSES[record["api"]] if record["verb"] != "delete" else "google.protobuf.Empty"
        operation["response"] = {"@type": f"type.googleapis.com/{kind}", **record["response"]}
    return operation


def _operation(call: Call) -> Json:
    name = f"{location(call)}/operations/{call.path['operationsId']}"
    record = call.cloud.store.get(operations.KIND, name)
    if record is None:
        raise not_found(name)
    return record


@api.method("tpu.projects.locations.operations.get")
def get_operation(call: Call) -> Json:
    return render(_operation(call))


@api.method("tpu.projects.locations.operations.list")
def list_operations(call: Call) -> Json:
    found = collection(call, operations.KIND)
    return page(call, [(name, render(record)) for name, record in found], "operations")


@api.method("tpu.projects.locations.operations.cancel")
def cancel_operation(call: Call) -> Json:
    call.cloud.operations.cancel(_operation(call)["name"])
    return {}


@api.method("tpu.projects.locations.operations.delete")
def delete_operation(call: Call) -> Json:
    record = _operation(call)
    if not record["done"]:
        raise ApiError("FAILED_PRECONDITION", f"Operation {record['name']} is not done.")
    call.cloud.store.delete(operations.KIND, record["name"])
    return {}


# ---- what a location offers


def _location_resource(call: Call, zone: str) -> Json:
    return {
        "name": f"projects/{call.project.project_id}/locations/{zone}",
        "locationId": zone,
        "labels": {"cloud.googleapis.com/region": catalog.region(zone)},
    }


@api.method("tpu.projects.locations.get")
def get_location(call: Call) -> Json:
    location(call)
    return _location_resource(call, call.path["locationsId"])


@api.method("tpu.projects.locations.list")
def list_locations(call: Call) -> Json:
    return page(call, [(zone, _location_resource(call, zone)) for zone in sorted(catalog.ZONES)], "locations")


def _zones(call: Call) -> list[str]:
    zone = call.path["locationsId"]
    location(call, wildcard=True)
    return sorted(catalog.ZONES) if zone == "-" else [zone]


def _types(call: Call) -> list[tuple[str, Json]]:
    found = []
    for zone in _zones(call):
        for kind in catalog.accelerator_types(zone):
            name = f"projects/{call.project.project_id}/locations/{zone}/acceleratorTypes/{kind.name}"
            shape = {"type": kind.version, "topology": kind.topology}
            found.append((name, {"name": name, "type": kind.name, "acceleratorConfigs": [shape]}))
    return sorted(found, key=lambda item: item[0])


def _versions(call: Call) -> list[tuple[str, Json]]:
    found = []
    for zone in _zones(call):
        for version in catalog.RUNTIME_VERSIONS:
            name = f"projects/{call.project.project_id}/locations/{zone}/runtimeVersions/{version}"
            found.append((name, {"name": name, "version": version}))
    return found


def _pick(items: list[tuple[str, Json]], name: str) -> Json:
    for found, resource in items:
        if found == name:
            return resource
    raise not_found(name)


@api.method("tpu.projects.locations.acceleratorTypes.list")
def list_accelerator_types(call: Call) -> Json:
    return page(call, _types(call), "acceleratorTypes")


@api.method("tpu.projects.locations.acceleratorTypes.get")
def get_accelerator_type(call: Call) -> Json:
    return _pick(_types(call), f"{location(call)}/acceleratorTypes/{call.path['acceleratorTypesId']}")


@api.method("tpu.projects.locations.runtimeVersions.list")
def list_runtime_versions(call: Call) -> Json:
    return page(call, _versions(call), "runtimeVersions")


@api.method("tpu.projects.locations.runtimeVersions.get")
def get_runtime_version(call: Call) -> Json:
    return _pick(_versions(call), f"{location(call)}/runtimeVersions/{call.path['runtimeVersionsId']}")


def register(cloud: Cloud) -> NodeWork:
    """Say how the operations of this API are done; returns the worker, which also repairs nodes."""
    return NodeWork(cloud)
