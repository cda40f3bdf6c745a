# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of the TPU API in one zone, in several or in all, for the modules that only read."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    NOT_ZONAL,
    GcpError,
    Unavailable,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus, short_name

ZONES: Json = {"zones": {"type": "list", "elements": "str", "aliases": ["zone"]}}
#: The failure of a zone that a list of all zones leaves out.
NOT_ASKED: Json = {**Unavailable("").failure, "msg": "Google could not ask it"}
OPTIONS: Json = {"name": {"type": "str"}, **ZONES}


def check_zones(module: AnsibleModule) -> list[str]:
    """The zones of the options, empty for all; refuses what is no zone, and what is no project."""
    check_names(project=module.params["project"])
    zones: list[str] = module.params["zones"] or []
    for zone in zones:
        check_names(zone=zone)
    return zones


def listed(module: AnsibleModule, client: Client, collection: str) -> tuple[list[Json], Json]:
    """The resources of a collection that the options ask for, and zone -> failure where none could be had.

    One zone that fails is no reason to know nothing of the others. Raises the error of the first where all
    of them fail.
    """
    name = module.params["name"]
    zones = check_zones(module)
    if name:
        check_names(name=name)
    found: list[Json] = []
    failures: Json = {}
    errors: list[GcpError] = []
    for zone in dict.fromkeys(zones) or ["-"]:
        tpus = Tpus(client, module.params["project"], zone)
        try:
            found += _in_zone(tpus, collection, name if zones else None, failures)
        except NOT_ZONAL:
            raise
        except GcpError as error:
            errors.append(error)
            failures[zone] = {**error.failure, "msg": str(error)}
    if errors and len(errors) == (len(set(zones)) or 1):
        raise errors[0]
    for zone, failure in failures.items():
        module.warn(f"What is in the zone {zone} is missing: {failure['msg']}")
    return [item for item in found if name in (None, short_name(item["name"]))], failures


def _in_zone(tpus: Tpus, collection: str, name: str | None, failures: Json) -> list[Json]:
    """What a zone has, all of it or what has a name. failures: gets the zones that Google could not ask."""
    if name:
        one = tpus.find(collection, name)
        return [one] if one else []
    found: list[Json] = []
    for page in tpus.pages(collection):
        found += page.get(collection, [])
        failures.update({short_name(zone): dict(NOT_ASKED) for zone in page.get("unreachable", [])})
    return found
