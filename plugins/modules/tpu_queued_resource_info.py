#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_queued_resource_info
short_description: List queued resources of the TPU API
version_added: 0.2.0
description:
  - Lists the queued resources in one zone, in several, or in all, or finds one by its name.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.gcp.zones
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
  - tpuops.maxtext.attributes.actiongroup_gcp
options:
  name:
    description: Name of the queued resource to find. The list is empty if it is not there.
    type: str
"""

EXAMPLES = r"""
- name: List the queued resources of a project
  tpuops.maxtext.tpu_queued_resource_info:
    project: my-project
  register: queued

- name: Find one
  tpuops.maxtext.tpu_queued_resource_info:
    project: my-project
    zones: [us-west1-c]
    name: tpu-v5e-8
"""

RETURN = r"""
queued_resources:
  description: The queued resources as the API gives them.
  returned: success
  type: list
  elements: dict
  sample:
    - name: projects/my-project/locations/us-west1-c/queuedResources/tpu-v5e-8
      state: {state: WAITING_FOR_RESOURCES}
unreachable_zones:
  description: Zones that failed, or that Google could not ask; what is there is missing from
    RV(queued_resources).
  returned: success
  type: list
  elements: str
zone_failures:
  description: Why, for each of RV(unreachable_zones). It holds C(msg), and the rest as a failed module
    returns it as C(failure).
  returned: success
  type: dict
  sample: {}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.listing import OPTIONS, listed
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module


def find(module: AnsibleModule, client: Client) -> dict[str, Any]:
    queued, failures = listed(module, client, "queuedResources")
    return {"queued_resources": queued, "unreachable_zones": list(failures), "zone_failures": failures}


OPERATION = google(OPTIONS, find)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
