# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that exist only as records, for measurements over more of them than a host can boot."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from localcloud import catalog
from localcloud.catalog import DEFAULT_PROJECT, DEFAULT_ZONE, Project
from localcloud.cloud import SERVICE_KIND
from localcloud.google import nodes, nodespec, tpu
from localcloud.state import Store

#: Where their addresses come from; nothing answers there.
SUBNET = IPv4Network("10.128.0.0/9")


def seed_nodes(
    store: Store,
    count: int,
    *,
    project: Project = DEFAULT_PROJECT,
    zone: str = DEFAULT_ZONE,
    accelerator_type: str = "v5litepod-8",
    prefix: str = "seeded",
) -> list[str]:
    """Write `count` READY nodes without machines and enable the project's TPU API; the nodes' paths.

    store: of a cloud that is not running, `Store(state_dir / "state.db")` in an existing directory, or of one
    that runs in this process. What `up` starts over it lists, patches and deletes the nodes like others; it
    never boots them, as there are no workers to repair. ValueError for a type that the zone does not offer.
    """
    offers = {kind.name: kind for kind in catalog.accelerator_types(zone)}
    if accelerator_type not in offers:
        raise ValueError(f"{zone} does not offer {accelerator_type}; there are {', '.join(offers)}")
    kind = offers[accelerator_type]
    service = f"projects/{project.number}/services/{tpu.SERVICE}"
    store.put(SERVICE_KIND, service, {"name": tpu.SERVICE})
    names = [
        f"projects/{project.project_id}/locations/{zone}/nodes/{prefix}-{index:05d}" for index in range(count)
    ]
    for index, name in enumerate(names):
        body = {
            "runtimeVersion": "v2-alpha-tpuv5-lite",
            "labels": {"seed": prefix, "parity": "odd" if index % 2 else "even"},
        }
        record = nodespec.new_node(project, name, body, kind, disks=(), subnet=SUBNET)
        first = int(SUBNET[2]) + index * kind.workers
        endpoints = [
            {"ipAddress": str(IPv4Address(first + worker)), "port": nodes.RUNTIME_PORT, "accessConfig": {}}
            for worker in range(kind.workers)
        ]
        ready = {"state": "READY", "health": "HEALTHY", "networkEndpoints": endpoints}
        store.put(nodes.NODE, name, {**record, **ready})
    return names
