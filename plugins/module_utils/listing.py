# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of the TPU API in one zone, in several or in all, for the modules that only read."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .arguments import check_names
from .gcp.client import Client
from .tpu import Tpus, short_name

Json = dict[str, Any]

ZONES: Json = {"zones": {"type": "list", "elements": "str", "aliases": ["zone"]}}
OPTIONS: Json = {"name": {"type": "str"}, **ZONES}


def check_zones(module: AnsibleModule) -> list[str]:
    """The zones of the options, empty for all; refuses what is no zone, and what is no project."""
    check_names(project=module.params["project"])
    zones: list[str] = module.params["zones"] or []
    for zone in zones:
        check_names(zone=zone)
    return zones


def listed(module: AnsibleModule, client: Client, collection: str) -> tuple[list[Json], list[str]]:
    """The resources of a collection that the options ask for, and the zones that Google could not ask."""
    project, name = module.params["project"], module.params["name"]
    zones = check_zones(module)
    if name:
        check_names(name=name)
    found: list[Json] = []
    unreachable: list[str] = []
    for zone in zones or ["-"]:
        tpus = Tpus(client, project, zone)
        if name and zones:
            one = tpus.find(collection, name)
            found += [one] if one else []
            continue
        for page in tpus.pages(collection):
            items = page.get(collection, [])
            found += [item for item in items if name in (None, short_name(item["name"]))]
            unreachable += page.get("unreachable", [])
    return found, [short_name(zone) for zone in unreachable]
