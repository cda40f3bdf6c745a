# SPDX-License-Identifier: GPL-3.0-or-later
"""How many chips a zone has, and how many of them a project may use: unlimited until a user says otherwise.

Both are limits of the same form, records {zone, accelerator_type, tier, project, chips} under the kinds
"capacity" and "quota". What a limit leaves empty it does not look at; all limits that apply must hold.
"""

from __future__ import annotations

from collections.abc import Iterator

from localcloud import catalog
from localcloud.catalog import AcceleratorType, Project
from localcloud.cloud import Cloud
from localcloud.google.errors import quota_exceeded
from localcloud.json_types import Json
from localcloud.state import Store

CAPACITY, QUOTA = "capacity", "quota"
QUEUED = "queued-resource"
TIERS = ("spot", "on-demand")
#: States in which a node holds no chips, though it counts for the quota.
WITHOUT_CHIPS = ("PREEMPTED", "TERMINATED", "STOPPED")


def set_limit(
    store: Store,
    kind: str,
    *,
    zone: str,
    chips: int | None,
    accelerator_type: str = "",
    tier: str = "",
    project: str = "",
) -> Json:
    """Limit a zone, or with `chips` None lift that limit; the record. ValueError for what the zone lacks."""
    if zone not in catalog.ZONES:
        raise ValueError(f"there is no zone {zone!r}; there are {', '.join(catalog.ZONES)}")
    offers = [offer.name for offer in catalog.accelerator_types(zone)]
    if accelerator_type and accelerator_type not in offers:
        raise ValueError(f"{zone} does not offer {accelerator_type}; there are {', '.join(offers)}")
    if project and catalog.find_project(project) is None:
        known = ", ".join(known.project_id for known in catalog.PROJECTS)
        raise ValueError(f"there is no project {project!r}; there are {known}")
    record = {
        "zone": zone,
        "accelerator_type": accelerator_type,
        "tier": tier,
        "project": project,
        "chips": chips,
    }
    name = "/".join((zone, accelerator_type, tier, project))
    if chips is None:
        store.delete(kind, name)
    else:
        store.put(kind, name, record)
    return record


def node_tier(body: Json) -> str:
    """The tier of a node, from its schedulingConfig."""
    scheduling = body.get("schedulingConfig", {})
    return "spot" if scheduling.get("spot") or scheduling.get("preemptible") else "on-demand"


Demand = list[tuple[AcceleratorType, str]]
"""Wanted nodes: accelerator type and tier of each."""


def fits(cloud: Cloud, zone: str, demand: Demand, method: str) -> bool:
    """Whether a zone has the chips for all of the wanted nodes. Hold the store's lock until they are put."""
    if cloud.faults.meet("capacity", zone=zone, method=method):
        return False
    return _exceeded(cloud, CAPACITY, zone, "", demand) is None


def check_quota(cloud: Cloud, project: Project, zone: str, demand: Demand) -> None:
    """Refuse what is beyond a project's quota in a zone. Hold the store's lock until it is put."""
    limit = _exceeded(cloud, QUOTA, zone, project.project_id, demand)
    if limit is not None:
        name = f"TPU{demand[0][0].version}{'Preemptible' if demand[0][1] == 'spot' else ''}"
        raise quota_exceeded(
            project,
            f"Quota limit '{name}PerProjectPerZoneForTPUAPI' has been exceeded. "
            f"Limit: {limit['chips']} in zone {zone}.",
        )


def _exceeded(cloud: Cloud, kind: str, zone: str, project: str, demand: Demand) -> Json | None:
    """The first limit that the wanted nodes would exceed."""
    for _, limit in cloud.store.items(kind, f"{zone}/"):
        if limit["project"] and limit["project"] != project:
            continue
        wanted = sum(offer.chips for offer, tier in demand if _counts(limit, offer, tier))
        used = sum(
            offer.chips for offer, tier in _used(cloud, kind, zone, project) if _counts(limit, offer, tier)
        )
        if wanted and used + wanted > limit["chips"]:
            return limit
    return None


def _counts(limit: Json, offer: AcceleratorType, tier: str) -> bool:
    return limit["accelerator_type"] in ("", offer.name) and limit["tier"] in ("", tier)


def _used(cloud: Cloud, kind: str, zone: str, project: str) -> Iterator[tuple[AcceleratorType, str]]:
    """What holds chips of a zone: nodes, and for a quota every queued resource that was not deleted."""
    offers = {offer.name: offer for offer in catalog.accelerator_types(zone)}
    for name, node in cloud.store.items("node"):
        _, owner, _, where, _, _ = name.split("/")
        if where != zone or (project and owner != project):
            continue
        if kind == QUOTA and "queuedResource" in node:
            continue
        if kind == QUOTA or node["state"] not in WITHOUT_CHIPS:
            yield offers[node["acceleratorType"]], node_tier(node)
    if kind == QUOTA:
        for _, queued in cloud.store.items(QUEUED, f"projects/{project}/locations/{zone}/"):
            yield from queued_demand(zone, queued)


def queued_demand(zone: str, queued: Json) -> Demand:
    """The nodes that a queued resource wants."""
    demand: Demand = []
    for spec in queued["tpu"]["nodeSpec"]:
        body = spec["node"]
        shape = body.get("acceleratorConfig", {})
        offer = next(
            offer
            for offer in catalog.accelerator_types(zone)
            if body.get("acceleratorType") == offer.name
            or (shape.get("type"), shape.get("topology")) == (offer.version, offer.topology)
        )
        tier = "spot" if "spot" in queued else node_tier(body)
        demand += [(offer, tier)] * spec.get("multisliceParams", {}).get("nodeCount", 1)
    return demand
