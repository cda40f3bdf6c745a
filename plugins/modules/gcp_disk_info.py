#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_disk_info
short_description: List persistent disks of Compute Engine
version_added: 0.2.0
description:
  - Lists the disks of all zones in one request, or those of one name.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
  - tpuops.maxtext.attributes.actiongroup_gcp
options:
  name:
    description: Name of the disks to find; every zone may have one. The list is empty if there is none.
    type: str
"""

EXAMPLES = r"""
- name: Find out in which zone the checkpoints are
  tpuops.maxtext.gcp_disk_info:
    project: my-project
    name: tpu-data-disk
  register: found
"""

RETURN = r"""
disks:
  description: The disks as the API gives them, and the short name of the zone of each.
  returned: success
  type: list
  elements: dict
  sample:
    - name: tpu-data-disk
      sizeGb: "256"
      zone: us-west1-c
unreachable_zones:
  description: Zones that Google could not ask; disks there are missing from RV(disks).
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import short_name


def find(module: AnsibleModule, client: Client) -> dict[str, Any]:
    project, name = module.params["project"], module.params["name"]
    check_names(project=project, **({"name": name} if name else {}))
    # Without partial success, one zone that does not answer fails the whole list.
    query = {"returnPartialSuccess": "true", **({"filter": f'name = "{name}"'} if name else {})}
    disks: list[dict[str, Any]] = []
    unreachable: list[str] = []
    for page in client.pages("compute", f"projects/{project}/aggregated/disks", query):
        for scope in page.get("items", {}).values():
            disks += [
                {**disk, "zone": short_name(disk["zone"])}
                for disk in scope.get("disks", [])
                if "zone" in disk
            ]
        unreachable += page.get("unreachables", [])
    missing = list(dict.fromkeys(map(short_name, unreachable)))
    for zone in missing:
        module.warn(f"The disks in the zone {zone} are missing: Google could not ask it")
    return {"disks": disks, "unreachable_zones": missing}


OPERATION = google({"name": {"type": "str"}}, find)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
