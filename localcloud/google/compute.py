# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute Engine v1: disks, their types, zones, zone operations and the project."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.filters import FilterError, compile_filter
from localcloud.google import operations
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import CODES, ApiError, compute_not_found, invalid_field, pool_exhausted
from localcloud.google.operations import now
from localcloud.json_types import Json

SERVICE = "compute.googleapis.com"
api = Api("compute.v1", SERVICE)

KIND = "disk"
BASE = "https://www.googleapis.com/compute/v1/"
#: Google's own limit on one `wait` call.
WAIT_SECONDS = 120
NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z][-_a-z0-9]{0,62}")


def numeric_id(path: str, time: str = "") -> str:
    """A resource's numeric id, stable for its life."""
    return str(int.from_bytes(hashlib.sha256(f"{path} {time}".encode()).digest()[:8]) >> 1)


def fingerprint(value: object) -> str:
    """What optimistic locking compares."""
    return base64.urlsafe_b64encode(hashlib.sha256(repr(value).encode()).digest()[:8]).decode()


def check_labels(labels: dict[str, str], field: str) -> None:
    for key, value in labels.items():
        if not LABEL.fullmatch(key) or not re.fullmatch(r"[-_a-z0-9]{0,63}", value):
            raise invalid_field(
                field,
                f"Invalid value for field '{field}': '{key}={value}'. Keys start with a lower-case letter; "
                "keys and values hold at most 63 lower-case letters, digits, underscores and dashes.",
            )


def _zone(call: Call) -> str:
    zone = call.path["zone"]
    if zone not in catalog.ZONES:
        raise compute_not_found(f"projects/{call.project.project_id}/zones/{zone}")
    return zone


def _zone_path(call: Call) -> str:
    return f"projects/{call.project.project_id}/zones/{_zone(call)}"


def _disk_path(call: Call) -> str:
    """Path of the disk that a call names; 404 when there is none."""
    path = f"{_zone_path(call)}/disks/{call.path.get('disk') or call.path['resource']}"
    if call.cloud.store.get(KIND, path) is None:
        raise compute_not_found(path)
    return path


# ---- disks


def attachments(cloud: Cloud) -> dict[str, list[tuple[str, str]]]:
    """Disk path -> (node, mode) of every node that holds it; only the nodes' records keep that."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, node in cloud.store.items("node"):
        for disk in node.get("dataDisks", []):
            found.setdefault(disk["sourceDisk"], []).append((name, disk["mode"]))
    return found


def instance_link(node: str) -> str:
    """The link under which Compute Engine knows a TPU VM."""
    _, project, _, zone, _, name = node.split("/")
    return f"{BASE}projects/{project}/zones/{zone}/instances/tpu-{name}"


def machine_disk(path: str) -> str:
    """The machines' name of a disk: unique over projects and zones, at most 63 characters."""
    return f"{path.rpartition('/')[2][:54]}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"


def _render(disk: Json, users: Sequence[tuple[str, str]]) -> Json:
    return {**disk, "users": [instance_link(node) for node, _ in users]} if users else disk


def _disk_type(call: Call, given: str) -> str:
    """Path of the disk type that a request names, by URL, path or name."""
    name = given.rpartition("/")[2] or "pd-standard"
    if name not in catalog.DISK_TYPES:
        raise invalid_field(
            "resource.type",
            f"Invalid value for field 'resource.type': '{given}'. The URL is malformed or the type "
            f"does not exist in {_zone(call)}; there are {', '.join(sorted(catalog.DISK_TYPES))}.",
        )
    return f"{_zone_path(call)}/diskTypes/{name}"


def _size(body: Json, disk_type: str) -> int:
    default, valid = catalog.DISK_TYPES[disk_type.rpartition("/")[2]]
    size = int(body.get("sizeGb", default))
    smallest, largest = (int(bound.removesuffix("GB")) for bound in valid.split("-"))
    if not smallest <= size <= largest:
        raise invalid_field(
            "resource.sizeGb",
            f"Invalid value for field 'resource.sizeGb': '{size}'. Disk size must be "
            f"{smallest} to {largest} GB.",
        )
    return size


@api.method("compute.disks.insert")
def insert_disk(call: Call) -> Json:
    body = call.body
    if "name" not in body:
        raise invalid_field("resource.name", "Required field 'resource.name' not specified")
    for source in ("sourceImage", "sourceSnapshot", "sourceDisk"):
        if source in body or source in call.query:
            raise ApiError("UNIMPLEMENTED", f"The local cloud makes blank disks only, not from {source}.")
    zone_path = _zone_path(call)
    path = f"{zone_path}/disks/{body['name']}"
    disk_type = _disk_type(call, body.get("type", ""))
    size = _size(body, disk_type)
    check_labels(body.get("labels", {}), "resource.labels")
    check_provisioned(body, disk_type)
    created = now()
    with call.cloud.store.lock:
        if call.cloud.store.get(KIND, path) is not None:
            raise ApiError("ALREADY_EXISTS", f"The resource '{path}' already exists")
        disk = {
            **body,
            "kind": "compute#disk",
            "id": numeric_id(path, created),
            "creationTimestamp": created,
            "status": "CREATING",
            "zone": BASE + zone_path,
            "selfLink": BASE + path,
            "type": BASE + disk_type,
            "sizeGb": str(size),
            **{field: str(body[field]) for field in PROVISIONED if field in body},
            "physicalBlockSizeBytes": "4096",
            "labelFingerprint": fingerprint(body.get("labels", {})),
        }
        call.cloud.store.put(KIND, path, disk)
    full = call.cloud.faults.meet("capacity", zone=call.path["zone"], method=call.method.id)
    return _begin(call, "insert", path, stocked_out=bool(full))


@api.method("compute.disks.get")
def get_disk(call: Call) -> Json:
    path = _disk_path(call)
    disk = call.cloud.store.get(KIND, path)
    assert disk is not None
    return _render(disk, attachments(call.cloud).get(path, ()))


def _disks(cloud: Cloud, prefix: str) -> list[tuple[str, Json]]:
    """Path and resource of each disk below a path."""
    users = attachments(cloud)
    return [(path, _render(disk, users.get(path, ()))) for path, disk in cloud.store.items(KIND, prefix)]


@api.method("compute.disks.list")
def list_disks(call: Call) -> Json:
    parent = f"{_zone_path(call)}/disks"
    return _listing(call, "compute#diskList", parent, _disks(call.cloud, f"{parent}/"))


@api.method("compute.disks.aggregatedList")
def aggregate_disks(call: Call) -> Json:
    disks = _disks(call.cloud, f"projects/{call.project.project_id}/zones/")
    return _aggregate(call, "compute#diskAggregatedList", "disks", disks)


@api.method("compute.disks.delete")
def delete_disk(call: Call) -> Json:
    with call.cloud.store.lock:
        path = _disk_path(call)
        if users := attachments(call.cloud).get(path):
            raise ApiError(
                "INVALID_ARGUMENT",
                f"The disk resource '{path}' is already being used by '{instance_link(users[0][0])}'",
                reason="resourceInUseByAnotherResource",
            )
        call.cloud.store.update(KIND, path, status="DELETING")
    return _begin(call, "delete", path)


@api.method("compute.disks.resize")
def resize_disk(call: Call) -> Json:
    path = _disk_path(call)
    disk = call.cloud.store.get(KIND, path)
    assert disk is not None
    size = _size(call.body, disk["type"])
    if size < int(disk["sizeGb"]):
        raise invalid_field(
            "sizeGb",
            f"Invalid value for field 'sizeGb': '{size}'. Requested disk size cannot be smaller than "
            f"current size ({disk['sizeGb']} GB).",
        )
    return _begin(call, "resize", path, size_gb=size)


#: What disks.update may change of a Hyperdisk.
PROVISIONED = ("provisionedIops", "provisionedThroughput")


def check_provisioned(body: Json, disk_type: str) -> None:
    """Refuse performance for a disk type that has its own by its size."""
    given = [field for field in PROVISIONED if field in body]
    if given and "/hyperdisk-" not in disk_type:
        raise invalid_field(
            f"resource.{given[0]}",
            f"Invalid value for field 'resource.{given[0]}': '{body[given[0]]}'. It cannot be specified for "
            f"disk type {disk_type.rpartition('/')[2]}.",
        )


@api.method("compute.disks.update")
def update_disk(call: Call) -> Json:
    fields = [field for field in call.query.get("updateMask", "").split(",") if field]
    fields += call.query.get("paths", [])
    unknown = [field for field in fields if field not in PROVISIONED]
    if not fields or unknown:
        raise invalid_field(
            "update_mask",
            f"Invalid update mask '{','.join(unknown)}': the fields that can be updated are "
            f"{', '.join(PROVISIONED)}.",
        )
    path = _disk_path(call)
    changes = {field: str(call.body[field]) for field in fields if field in call.body}
    check_provisioned(changes, (call.cloud.store.get(KIND, path) or {})["type"])
    return _begin(call, "update", path, changes=changes)


@api.method("compute.disks.setLabels")
def set_labels(call: Call) -> Json:
    labels = call.body.get("labels", {})
    check_labels(labels, "labels")
    with call.cloud.store.lock:
        path = _disk_path(call)
        disk = call.cloud.store.get(KIND, path)
        assert disk is not None
        if call.body.get("labelFingerprint", disk["labelFingerprint"]) != disk["labelFingerprint"]:
            raise ApiError(
                "FAILED_PRECONDITION",
                "Labels fingerprint either invalid or resource labels have changed",
                reason="conditionNotMet",
            )
    changes = {"labels": labels or None, "labelFingerprint": fingerprint(labels)}
    return _begin(call, "setLabels", path, changes=changes)


def register(cloud: Cloud) -> None:
    """Say how the operations of this API are done."""

    def insert(operation: Json) -> Json:
        path = operation["target"]
        if operation["arguments"].get("stocked_out"):
            raise pool_exhausted(path.partition("/disks/")[0])
        disk = cloud.store.get(KIND, path)
        if disk is not None:
            cloud.machines.create_disk(machine_disk(path), int(disk["sizeGb"]))
            cloud.store.update(KIND, path, status="READY")
        return {}

    def delete(operation: Json) -> Json:
        cloud.machines.delete_disk(machine_disk(operation["target"]))
        cloud.store.delete(KIND, operation["target"])
        return {}

    def resize(operation: Json) -> Json:
        size = operation["arguments"]["size_gb"]
        cloud.machines.resize_disk(machine_disk(operation["target"]), size)
        cloud.store.update(KIND, operation["target"], sizeGb=str(size))
        return {}

    def change(operation: Json) -> Json:
        cloud.store.update(KIND, operation["target"], **operation["arguments"]["changes"])
        return {}

    def undo_insert(operation: Json, error: Exception) -> None:
        delete(operation)

    def undo_delete(operation: Json, error: Exception) -> None:
        if cloud.store.get(KIND, operation["target"]) is not None:
            cloud.store.update(KIND, operation["target"], status="READY")

    cloud.operations.register("compute", "insert", insert, undo_insert)
    cloud.operations.register("compute", "delete", delete, undo_delete)
    cloud.operations.register("compute", "resize", resize)
    for verb in ("setLabels", "update"):
        cloud.operations.register("compute", verb, change)


# ---- operations


def _begin(call: Call, verb: str, path: str, **arguments: object) -> Json:
    return _operation(call.begin("compute", verb, _zone_path(call), path, **arguments))


def _operation(record: Json) -> Json:
    """An operation in Compute Engine's style."""
    name = record["name"]
    zone_path, _, short = name.partition("/operations/")
    operation: Json = {
        "kind": "compute#operation",
        "id": numeric_id(name),
        "name": short,
        "zone": BASE + zone_path,
        "operationType": record["verb"],
        "targetLink": BASE + record["target"],
        "targetId": numeric_id(record["target"]),
        "user": record["user"],
        "status": "DONE" if record["done"] else "RUNNING",
        "progress": 100 if record["done"] else 0,
        "insertTime": record["createTime"],
        "startTime": record["createTime"],
        "selfLink": BASE + name,
    }
    if record["done"]:
        operation["endTime"] = record["endTime"]
    if error := record.get("error"):
        code = next(code for code, (number, _) in CODES.items() if number == error["code"])
        named = next((detail["reason"] for detail in error.get("details", [])), code)
        operation["error"] = {"errors": [{"code": named, "message": error["message"]}]}
        operation["httpErrorStatusCode"] = CODES[code][1]
        operation["httpErrorMessage"] = code
    return operation


def _operation_name(call: Call) -> str:
    return f"{_zone_path(call)}/operations/{call.path['operation']}"


@api.method("compute.zoneOperations.get")
def get_operation(call: Call) -> Json:
    name = _operation_name(call)
    record = call.cloud.store.get(operations.KIND, name)
    if record is None:
        raise compute_not_found(name)
    return _operation(record)


@api.method("compute.zoneOperations.wait")
def wait_operation(call: Call) -> Json:
    name = _operation_name(call)
    record = call.cloud.operations.wait(name, WAIT_SECONDS)
    if record is None:
        raise compute_not_found(name)
    return _operation(record)


@api.method("compute.zoneOperations.list")
def list_operations(call: Call) -> Json:
    prefix = f"{_zone_path(call)}/operations/"
    found = [(name, _operation(record)) for name, record in call.cloud.store.items(operations.KIND, prefix)]
    return _listing(call, "compute#operationList", prefix[:-1], found)


# ---- what does not change


@api.method("compute.projects.get")
def get_project(call: Call) -> Json:
    project = call.project
    return {
        "kind": "compute#project",
        "id": project.number,
        "name": project.project_id,
        "creationTimestamp": "2026-01-01T00:00:00.000-08:00",
        "selfLink": f"{BASE}projects/{project.project_id}",
        "defaultServiceAccount": project.service_account,
        "defaultNetworkTier": "PREMIUM",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
        "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint([]), "items": []},
    }


def _zone_resource(call: Call, zone: str) -> Json:
    project_path = f"{BASE}projects/{call.project.project_id}"
    return {
        "kind": "compute#zone",
        "id": numeric_id(zone),
        "name": zone,
        "description": zone,
        "status": "UP",
        "region": f"{project_path}/regions/{catalog.region(zone)}",
        "selfLink": f"{project_path}/zones/{zone}",
    }


@api.method("compute.zones.get")
def get_zone(call: Call) -> Json:
    return _zone_resource(call, _zone(call))


@api.method("compute.zones.list")
def list_zones(call: Call) -> Json:
    zones = [(zone, _zone_resource(call, zone)) for zone in sorted(catalog.ZONES)]
    return _listing(call, "compute#zoneList", f"projects/{call.project.project_id}/zones", zones)


def _region_resource(call: Call, region: str) -> Json:
    project_path = f"{BASE}projects/{call.project.project_id}"
    return {
        "kind": "compute#region",
        "id": numeric_id(region),
        "name": region,
        "description": region,
        "status": "UP",
        "zones": [f"{project_path}/zones/{zone}" for zone in catalog.ZONES if catalog.region(zone) == region],
        "selfLink": f"{project_path}/regions/{region}",
    }


@api.method("compute.regions.get")
def get_region(call: Call) -> Json:
    region = call.path["region"]
    if region not in map(catalog.region, catalog.ZONES):
        raise compute_not_found(f"projects/{call.project.project_id}/regions/{region}")
    return _region_resource(call, region)


@api.method("compute.regions.list")
def list_regions(call: Call) -> Json:
    regions = [
        (name, _region_resource(call, name)) for name in sorted(set(map(catalog.region, catalog.ZONES)))
    ]
    return _listing(call, "compute#regionList", f"projects/{call.project.project_id}/regions", regions)


def _type_resource(call: Call, zone: str, name: str) -> Json:
    default, valid = catalog.DISK_TYPES[name]
    zone_path = f"{BASE}projects/{call.project.project_id}/zones/{zone}"
    return {
        "kind": "compute#diskType",
        "id": numeric_id(name),
        "name": name,
        "description": name,
        "defaultDiskSizeGb": str(default),
        "validDiskSize": valid,
        "zone": zone_path,
        "selfLink": f"{zone_path}/diskTypes/{name}",
    }


@api.method("compute.diskTypes.get")
def get_disk_type(call: Call) -> Json:
    zone, name = _zone(call), call.path["diskType"]
    if name not in catalog.DISK_TYPES:
        raise compute_not_found(f"{_zone_path(call)}/diskTypes/{name}")
    return _type_resource(call, zone, name)


@api.method("compute.diskTypes.list")
def list_disk_types(call: Call) -> Json:
    zone = _zone(call)
    types = [(name, _type_resource(call, zone, name)) for name in sorted(catalog.DISK_TYPES)]
    return _listing(call, "compute#diskTypeList", f"{_zone_path(call)}/diskTypes", types)


@api.method("compute.diskTypes.aggregatedList")
def aggregate_disk_types(call: Call) -> Json:
    prefix = f"projects/{call.project.project_id}/zones"
    types = [
        (f"{prefix}/{zone}/diskTypes/{name}", _type_resource(call, zone, name))
        for zone in sorted(catalog.ZONES)
        for name in sorted(catalog.DISK_TYPES)
    ]
    return _aggregate(call, "compute#diskTypeAggregatedList", "diskTypes", types)


# ---- lists


def _page(call: Call, items: list[tuple[str, Json]]) -> Json:
    try:
        predicate = compile_filter(call.query.get("filter", ""))
    except FilterError as error:
        raise invalid_field("filter", f"Invalid value for field 'filter': {error}") from None
    chosen = [item for item in items if predicate(item[1])]
    return page(call, chosen, "items", size="maxResults")


def _listing(call: Call, kind: str, path: str, items: list[tuple[str, Json]]) -> Json:
    return {"kind": kind, "id": path, "selfLink": BASE + path, **_page(call, items)}


def _aggregate(call: Call, kind: str, key: str, items: list[tuple[str, Json]]) -> Json:
    path = f"projects/{call.project.project_id}/aggregated/{key}"
    answer = _listing(call, kind, path, items)
    scopes: dict[str, dict[str, list[Any]]] = {f"zones/{zone}": {} for zone in catalog.ZONES}
    for item in answer.get("items", []):
        zone = urlsplit(item["zone"]).path.rpartition("/")[2]
        scopes[f"zones/{zone}"].setdefault(key, []).append(item)
    return {**answer, "items": scopes}
