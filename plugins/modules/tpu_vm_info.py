#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_vm_info
short_description: List TPU VMs
version_added: 0.1.0
description:
  - Lists the nodes of the TPU API in one zone, in several, or in all, or finds one by its name.
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
    description: Name of the node to find. The list is empty if it is not there.
    type: str
  history:
    description:
      - Whether RV(history) is returned. Needs O(name) and O(zones).
      - Google forgets an operation some time after its end. It says nowhere after which.
    type: bool
    default: false
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: List the TPU VMs of a project
  tpuops.maxtext.tpu_vm_info:
    project: my-project
  register: tpus

- name: Find one
  tpuops.maxtext.tpu_vm_info:
    project: my-project
    zones: [us-west1-c]
    name: tpu-v5e-8
"""

RETURN = r"""
nodes:
  description: The nodes as the API gives them.
  returned: success
  type: list
  elements: dict
  sample:
    - name: projects/my-project/locations/us-west1-c/nodes/tpu-v5e-8
      acceleratorType: v5litepod-8
      state: READY
unreachable_zones:
  description: Zones that failed, or that Google could not ask; nodes there are missing from RV(nodes).
  returned: success
  type: list
  elements: str
zone_failures:
  description: Why, for each of RV(unreachable_zones). It holds C(msg), and the rest as a failed module
    returns it as C(failure).
  returned: success
  type: dict
  sample: {}
history:
  description: The operations that Google remembers on a node, or queued resource, of O(name), also where
    it is gone. It is empty where there was none, where Google has forgotten it, and where it does not say.
  returned: with O(history=true)
  type: list
  elements: dict
  contains:
    zone:
      description: Where.
      type: str
    kind:
      description: C(nodes) or C(queuedResources).
      type: str
    verb:
      description: What was done, in Google's words.
      type: str
      sample: delete
    time:
      description: When it began.
      type: str
      sample: "2026-11-24T04:00:00Z"
    ended:
      description: The label C(tpuops-ended) that it left on the node, which says why a node ends by itself.
        Empty where there is none.
      returned: for the verb C(update)
      type: str
      sample: idle-30
    labels:
      description: Labels of the node that a creation made; null of any other operation, and where Google does
        not say.
      type: dict
      sample: {"created-by": "tpuops-maxtext", "owner": "ann"}
    failed:
      description: Whether it ended in an error.
      type: bool
      sample: false
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.listing import OPTIONS, listed
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus


def find(module: AnsibleModule, client: Client) -> dict[str, Any]:
    nodes, failures = listed(module, client, "nodes")
    found = {"nodes": nodes, "unreachable_zones": list(failures), "zone_failures": failures}
    if module.params["history"]:
        found["history"] = history(module, client)
    return found


def history(module: AnsibleModule, client: Client) -> list[dict[str, Any]]:
    """What was done to the name. An account may have no right to list operations: then nothing is known."""
    found: list[dict[str, Any]] = []
    for zone in dict.fromkeys(module.params["zones"]):
        try:
            found += Tpus(client, module.params["project"], zone).history(module.params["name"])
        except GcpError:
            continue
    return found


OPERATION = google(
    {**OPTIONS, "history": {"type": "bool", "default": False}},
    find,
    {"required_if": [("history", True, ["name", "zones"])]},
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
