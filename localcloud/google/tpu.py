# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud TPU v2: nodes, operations, and what a location offers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.discovery import Json
from localcloud.google import compute, nodes, operations
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import ApiError, invalid_field, not_found
from localcloud.google.nodes import NODE, NodeWork

SERVICE = "tpu.googleapis.com"
api = Api("tpu.v2", SERVICE)

TYPES = "type.googleapis.com/google.cloud.tpu.v2"
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
#: A disk is named by its path, or by a URL of Compute Engine that ends in it.
_DISK = re.compile(r"(?:/?compute/(?:v1|beta)/)?/?(projects/[^/]+/zones/[^/]+/disks/[^/]+)")


def _location(call: Call, *, wildcard: bool = False) -> str:
    """Path of the location that a call names; `-` stands for all in lists."""
    zone = call.path["locationsId"]
    if zone not in catalog.ZONES and not (wildcard and zone == "-"):
        raise ApiError(
            "PERMISSION_DENIED",
            f"Location {zone} is not found or access is unauthorized.",
            reason="forbidden",
        )
    return f"projects/{call.project.project_id}/locations/{zone}"


def _collection(call: Call, kind: str, collection: str) -> list[tuple[str, Json]]:
    """The records of a collection in the location of a list call, or in all locations of the project."""
    location = _location(call, wildcard=True)
    records = call.cloud.store.items(
        kind, location.removesuffix("-") if location.endswith("/-") else f"{location}/"
    )
    return [item for item in records if item[0].split("/", 5)[4] == collection]


# ---- nodes


def _node(call: Call) -> Json:
    name = f"{_location(call)}/nodes/{call.path['nodesId']}"
    node = call.cloud.store.get(NODE, name)
    if node is None:
        raise not_found(name)
    return node


@api.method("tpu.projects.locations.nodes.get")
def get_node(call: Call) -> Json:
    return _node(call)


@api.method("tpu.projects.locations.nodes.list")
def list_nodes(call: Call) -> Json:
    return page(call, _collection(call, NODE, "nodes"), "nodes")


@api.method("tpu.projects.locations.nodes.create")
def create_node(call: Call) -> Json:
    location = _location(call)
    node_id = call.query.get("nodeId", "")
    if not compute.NAME.fullmatch(node_id):
        raise invalid_field(
            "node_id",
            f"Invalid node id '{node_id}': it must be 1 to 63 lower-case letters, digits and dashes, start "
            f"with a letter and not end with a dash ({compute.NAME.pattern}).",
        )
    name = f"{location}/nodes/{node_id}"
    kind = _accelerator(call)
    _check_runtime_version(call)
    compute.check_labels(call.body.get("labels", {}), "node.labels")
    with call.cloud.store.lock:
        if call.cloud.store.get(NODE, name) is not None:
            raise ApiError("ALREADY_EXISTS", f"Resource '{name}' already exists")
        disks = _data_disks(call, call.body.get("dataDisks", []), kind, holder=name)
        call.cloud.store.put(NODE, name, _new_node(call, name, kind, disks))
    return _begin(call, "create", name)


def _accelerator(call: Call) -> catalog.AcceleratorType:
    """The accelerator type that a node asks for, by name or by version and topology."""
    zone = call.path["locationsId"]
    name, shape = call.body.get("acceleratorType", ""), call.body.get("acceleratorConfig", {})
    if bool(name) == bool(shape):
        raise invalid_field(
            "node.accelerator_type", "Exactly one of accelerator_type and accelerator_config is needed."
        )
    for kind in catalog.accelerator_types(zone):
        if name == kind.name or (
            shape and (shape.get("type"), shape.get("topology")) == (kind.version, kind.topology)
        ):
            return kind
    offered = ", ".join(kind.name for kind in catalog.accelerator_types(zone))
    wanted = name or " ".join(map(str, shape.values()))
    raise invalid_field(
        "node.accelerator_type",
        f'Accelerator type "{wanted}" is not offered in zone {zone}; there are: {offered}.',
    )


def _check_runtime_version(call: Call) -> None:
    version = call.body.get("runtimeVersion")
    if version not in catalog.RUNTIME_VERSIONS:
        raise invalid_field(
            "node.runtime_version",
            f'Runtime version "{version}" was not found; there are: {", ".join(catalog.RUNTIME_VERSIONS)}.'
            if version
            else "runtime_version is required.",
        )


def _data_disks(
    call: Call, disks: Sequence[Json], kind: catalog.AcceleratorType, *, holder: str
) -> list[Json]:
    """Checked data disks of a node. holder: the node, whose own attachments are no conflict."""
    attachments = compute.attachments(call.cloud)
    checked: list[Json] = []
    for disk in disks:
        path = _disk_path(call, disk.get("sourceDisk", ""))
        mode = disk.get("mode", "READ_WRITE")
        if mode == "DISK_MODE_UNSPECIFIED":
            mode = "READ_WRITE"
        if mode == "READ_WRITE" and kind.workers > 1:
            raise invalid_field(
                "node.data_disks",
                f"Disk '{path}' cannot be attached in READ_WRITE mode to a slice of {kind.workers} hosts; "
                "attach it READ_ONLY.",
            )
        others = [user for user in attachments.get(path, ()) if user[0] != holder]
        if others and "READ_WRITE" in (mode, others[0][1]):
            raise invalid_field(
                "node.data_disks",
                f"The disk resource '{path}' is already being used by "
                f"'{compute.instance_link(others[0][0])}'",
            )
        if path in (given["sourceDisk"] for given in checked):
            raise invalid_field("node.data_disks", f"Disk '{path}' is given twice.")
        checked.append({"sourceDisk": path, "mode": mode})
    return checked


def _disk_path(call: Call, source: str) -> str:
    """Path of an existing disk of the node's zone that fits the zone's machines."""
    zone = call.path["locationsId"]
    match = _DISK.fullmatch(urlsplit(source).path)
    if match is None:
        raise invalid_field(
            "node.data_disks.source_disk",
            f"Invalid disk '{source}': it must have the form projects/PROJECT/zones/ZONE/disks/DISK.",
        )
    _, project_key, _, disk_zone, _, name = match[1].split("/")
    project = catalog.find_project(project_key)
    path = f"projects/{project.project_id if project else project_key}/zones/{disk_zone}/disks/{name}"
    disk = call.cloud.store.get(compute.KIND, path)
    if disk is None or disk["status"] != "READY":
        raise ApiError("NOT_FOUND", f"The resource '{path}' was not found")
    if disk_zone != zone:
        raise invalid_field("node.data_disks.source_disk", f"Disk '{path}' is not in the node's zone {zone}.")
    return path


def _new_node(call: Call, name: str, kind: catalog.AcceleratorType, disks: list[Json]) -> Json:
    created = operations.now()
    body = call.body
    project = call.project
    network = {
        "network": f"projects/{project.project_id}/global/networks/default",
        "subnetwork": f"projects/{project.project_id}/regions/{catalog.region(call.path['locationsId'])}"
        "/subnetworks/default",
        "enableExternalIps": False,
        **(body.get("networkConfigs") or [body.get("networkConfig", {})])[0],
    }
    account = {
        "email": project.service_account,
        "scope": ["https://www.googleapis.com/auth/cloud-platform"],
        **body.get("serviceAccount", {}),
    }
    return {
        **body,
        "name": name,
        "id": compute.numeric_id(name, created),
        "apiVersion": "V2",
        "createTime": created,
        "state": "CREATING",
        "acceleratorType": kind.name,
        "acceleratorConfig": {"type": kind.version, "topology": kind.topology},
        "networkConfig": network,
        "cidrBlock": str(call.cloud.config.subnet),
        "serviceAccount": account,
        "schedulingConfig": body.get("schedulingConfig", {}),
        "shieldedInstanceConfig": body.get("shieldedInstanceConfig", {}),
        "dataDisks": disks,
    }


@api.method("tpu.projects.locations.nodes.delete")
def delete_node(call: Call) -> Json:
    with call.cloud.store.lock:
        node = _node(call)
        if node["state"] == "DELETING":
            raise _busy(node)
        for operation in call.cloud.operations.pending(node["name"]):
            call.cloud.operations.cancel(operation["name"])
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
        call.cloud.store.update(NODE, node["name"], state=meanwhile)
    return _begin(call, verb, node["name"])


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
        return _data_disks(call, call.body.get(field, []), nodes.accelerator(node), holder=node["name"])
    if field == "networkConfig":
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
        entries = [
            *(("hostkeys", kind, key) for kind, key in sorted(worker["host_keys"].items())),
            ("guestInventory", "hostname", worker["machine"]),
        ]
        items = [
            {"namespace": namespace, "key": key, "value": value}
            for namespace, key, value in entries
            if path in ("", namespace, f"{namespace}/{key}")
        ]
        answers.append({"queryPath": path, "queryValue": {"items": items}})
    return {"guestAttributes": answers}


# ---- operations


def _begin(call: Call, verb: str, node: str, **arguments: object) -> Json:
    record = call.cloud.operations.begin("tpu", verb, _location(call), node, user=call.principal, **arguments)
    return _render(record)


def _render(record: Json) -> Json:
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
        kind = "google.protobuf.Empty" if record["verb"] == "delete" else "google.cloud.tpu.v2.Node"
        operation["response"] = {"@type": f"type.googleapis.com/{kind}", **record["response"]}
    return operation


def _operation(call: Call) -> Json:
    name = f"{_location(call)}/operations/{call.path['operationsId']}"
    record = call.cloud.store.get(operations.KIND, name)
    if record is None:
        raise not_found(name)
    return record


@api.method("tpu.projects.locations.operations.get")
def get_operation(call: Call) -> Json:
    return _render(_operation(call))


@api.method("tpu.projects.locations.operations.list")
def list_operations(call: Call) -> Json:
    found = _collection(call, operations.KIND, "operations")
    return page(call, [(name, _render(record)) for name, record in found], "operations")


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
    _location(call)
    return _location_resource(call, call.path["locationsId"])


@api.method("tpu.projects.locations.list")
def list_locations(call: Call) -> Json:
    return page(call, [(zone, _location_resource(call, zone)) for zone in sorted(catalog.ZONES)], "locations")


def _zones(call: Call) -> list[str]:
    zone = call.path["locationsId"]
    _location(call, wildcard=True)
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
    return _pick(_types(call), f"{_location(call)}/acceleratorTypes/{call.path['acceleratorTypesId']}")


@api.method("tpu.projects.locations.runtimeVersions.list")
def list_runtime_versions(call: Call) -> Json:
    return page(call, _versions(call), "runtimeVersions")


@api.method("tpu.projects.locations.runtimeVersions.get")
def get_runtime_version(call: Call) -> Json:
    return _pick(_versions(call), f"{_location(call)}/runtimeVersions/{call.path['runtimeVersionsId']}")


def register(cloud: Cloud) -> NodeWork:
    """Say how the operations of this API are done; returns the worker, which also repairs nodes."""
    return NodeWork(cloud)
