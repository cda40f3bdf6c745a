# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request for a node must be, and the record that it becomes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network
from urllib.parse import urlsplit

from localcloud import catalog
from localcloud.catalog import Project
from localcloud.cloud import Cloud
from localcloud.google import compute, operations
from localcloud.google.errors import compute_not_found, invalid_field
from localcloud.json_types import Json

#: A disk is named by its path, or by a URL of Compute Engine that ends in it.
_DISK = re.compile(r"(?:/?compute/(?:v1|beta)/)?/?(projects/[^/]+/zones/[^/]+/disks/[^/]+)")


def check_node_id(node_id: str) -> None:
    if not compute.NAME.fullmatch(node_id):
        raise invalid_field(
            "node_id",
            f"Invalid node id '{node_id}': it must be 1 to 63 lower-case letters, digits and dashes, start "
            f"with a letter and not end with a dash ({compute.NAME.pattern}).",
        )


def check(zone: str, body: Json) -> catalog.AcceleratorType:
    """Refuse a node that makes no sense in a zone; its accelerator type."""
    kind = _accelerator(zone, body)
    _check_runtime_version(body)
    if "networkConfig" in body and "networkConfigs" in body:
        raise invalid_field(
            "node.network_configs", "At most one of network_config and network_configs may be given."
        )
    compute.check_labels(body.get("labels", {}), "node.labels")
    return kind


def _accelerator(zone: str, body: Json) -> catalog.AcceleratorType:
    """The accelerator type that a node asks for, by name or by version and topology."""
    name, shape = body.get("acceleratorType", ""), body.get("acceleratorConfig", {})
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


def _check_runtime_version(body: Json) -> None:
    version = body.get("runtimeVersion")
    if version not in catalog.RUNTIME_VERSIONS:
        raise invalid_field(
            "node.runtime_version",
            f'Runtime version "{version}" was not found; there are: {", ".join(catalog.RUNTIME_VERSIONS)}.'
            if version
            else "runtime_version is required.",
        )


def data_disks(
    cloud: Cloud, zone: str, disks: Sequence[Json], kind: catalog.AcceleratorType, *, holder: str
) -> list[Json]:
    """Checked data disks of a node. holder: the node, whose own attachments are no conflict."""
    if not disks:
        return []
    attachments = compute.attachments(cloud)
    checked: list[Json] = []
    for disk in disks:
        path = _disk_path(cloud, zone, disk.get("sourceDisk", ""))
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


def _disk_path(cloud: Cloud, zone: str, source: str) -> str:
    """Path of an existing disk of the node's zone that fits the zone's machines."""
    match = _DISK.fullmatch(urlsplit(source).path)
    if match is None:
        raise invalid_field(
            "node.data_disks.source_disk",
            f"Invalid disk '{source}': it must have the form projects/PROJECT/zones/ZONE/disks/DISK.",
        )
    _, project_key, _, disk_zone, _, name = match[1].split("/")
    project = catalog.find_project(project_key)
    path = f"projects/{project.project_id if project else project_key}/zones/{disk_zone}/disks/{name}"
    disk = cloud.store.get(compute.KIND, path)
    if disk is None or disk["status"] != "READY":
        raise compute_not_found(path)
    if disk_zone != zone:
        raise invalid_field("node.data_disks.source_disk", f"Disk '{path}' is not in the node's zone {zone}.")
    return path


def new_node(
    project: Project,
    name: str,
    body: Json,
    kind: catalog.AcceleratorType,
    *,
    disks: Sequence[Json],
    subnet: IPv4Network,
) -> Json:
    """The record of a node that is being created. name: its path; body: as it was asked for, checked."""
    created = operations.now()
    region = catalog.region(name.split("/")[3])
    network: Json
    if several := body.get("networkConfigs"):
        network = {"networkConfigs": [_interface(project, region, one) for one in several]}
    else:
        network = {"networkConfig": _interface(project, region, body.get("networkConfig", {}))}
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
        **network,
        "cidrBlock": body.get("cidrBlock") or str(subnet),
        "serviceAccount": account,
        "schedulingConfig": body.get("schedulingConfig", {}),
        "shieldedInstanceConfig": body.get("shieldedInstanceConfig", {}),
        "dataDisks": [*disks],
    }


def _interface(project: Project, region: str, given: Json) -> Json:
    """A NetworkConfig as it is answered: names as paths, and what was left out."""
    paths = {
        "network": f"projects/{project.project_id}/global/networks",
        "subnetwork": f"projects/{project.project_id}/regions/{region}/subnetworks",
    }
    named = {key: given.get(key) or "default" for key in paths}
    return {
        "enableExternalIps": False,
        **given,
        **{key: name if "/" in name else f"{paths[key]}/{name}" for key, name in named.items()},
    }
