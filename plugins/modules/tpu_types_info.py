#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_types_info
short_description: List what TPUs each zone offers
version_added: 0.2.0
description:
  - Lists the accelerator types and the runtime versions that zones offer to a project.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.gcp.zones
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
  - tpuops.maxtext.attributes.actiongroup_gcp
"""

EXAMPLES = r"""
- name: List what all zones offer
  tpuops.maxtext.tpu_types_info:
    project: my-project
  register: offers

- name: Show where there is a v5litepod-8
  ansible.builtin.debug:
    msg: "{{ offers.zones | dict2items | selectattr('value.accelerator_types', 'contains', 'v5litepod-8')
      | map(attribute='key') }}"
"""

RETURN = r"""
zones:
  description: What each zone offers, by its name.
  returned: success
  type: dict
  contains:
    accelerator_types:
      description: Accelerator types, as V(v5litepod-8), smaller ones first.
      type: list
      elements: str
    accelerator_configs:
      description: The generations and topologies of each accelerator type, as the API gives them.
      type: dict
      sample: {v5litepod-8: [{type: V5LITE_POD, topology: 2x4}]}
    runtime_versions:
      description: Runtime versions, the images of the workers.
      type: list
      elements: str
unreachable_zones:
  description: Zones that did not say what they offer; a warning says why. Where O(zones) names zones and
    all of them fail, the task fails.
  returned: success
  type: list
  elements: str
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    LocationError,
    PermissionDenied,
    Retryable,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.listing import ZONES, check_zones
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus, by_size

AT_ONCE = 8  # zones that are asked at the same time


def find(module: AnsibleModule, client: Client) -> dict[str, Any]:
    project, zones = module.params["project"], check_zones(module)
    names = zones or Tpus(client, project, "-").locations()

    def ask(zone: str) -> dict[str, Any] | GcpError:
        try:
            return offers(Tpus(client, project, zone))
        except GcpError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = dict(zip(names, threads.map(ask, names)))
    unreachable = []
    for zone, answer in answers.items():
        if isinstance(answer, GcpError):
            # A zone that Google lists may still be closed to the project, or have an outage of its own.
            if not isinstance(answer, (LocationError, PermissionDenied, Retryable)):
                raise answer
            unreachable.append(zone)
            module.warn(f"What the zone {zone} offers is not known: {answer}")
    if zones and len(unreachable) == len(answers):
        raise next(answer for answer in answers.values() if isinstance(answer, GcpError))
    return {
        "zones": {zone: answers[zone] for zone in names if zone not in unreachable},
        "unreachable_zones": unreachable,
    }


def offers(tpus: Tpus) -> dict[str, Any]:
    configs = {str(kind["type"]): kind.get("acceleratorConfigs", []) for kind in tpus.accelerator_types()}
    return {
        "accelerator_types": by_size(configs),
        "accelerator_configs": configs,
        "runtime_versions": sorted(str(version["version"]) for version in tpus.runtime_versions()),
    }


OPERATION = google(ZONES, find)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
