#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_services
short_description: Enable APIs of a Google Cloud project
version_added: 0.1.0
description:
  - Enables APIs (services) in a project, all that are missing in one call, and waits until Google has done
    so.
  - For a minute after that an API may still say that it is disabled. The TPU API, Compute Engine and OS
    Login are therefore asked, when this module has just enabled them, until they answer; of other APIs this
    collection knows no call that anybody may make.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.actiongroup_gcp
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  services:
    description: Names of the services.
    type: list
    elements: str
    required: true
  state:
    description: The services are enabled. Disabling is left to a person, since it stops whatever uses the
      service.
    type: str
    choices: [present]
    default: present
  wait_timeout:
    description: Seconds to wait for Google, until what was enabled also answers.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Enable what a TPU VM needs
  tpuops.maxtext.gcp_services:
    project: my-project
    services:
      - compute.googleapis.com
      - tpu.googleapis.com
"""

RETURN = r"""
services:
  description: State of each service by its name, V(ENABLED) or V(DISABLED).
  returned: success
  type: dict
  sample: {compute.googleapis.com: ENABLED, tpu.googleapis.com: ENABLED}
failure:
  description: The cause of a failure, for a rescue block to act on. After a wait that ended too early,
    C(operation) names what goes on, or what enabled the service that does not answer yet.
  returned: failure
  type: dict
  sample: {kind: permission, code: 403, reason: PERMISSION_DENIED, details: []}
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    ApiDisabled,
    GcpError,
    InvalidArgument,
    PreconditionFailed,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import (
    finished_long_running,
    poll,
    response_of,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module

API = "serviceusage"
BATCH = 20  # services that batchEnable takes at most; batchGet takes 30
#: Service -> a cheap call of it, (API, path, query), by which to see whether it answers.
PROBES = {
    "tpu.googleapis.com": ("tpu", "v2/projects/{project}/locations", {"pageSize": 1}),
    "compute.googleapis.com": ("compute", "projects/{project}/zones", {"maxResults": 1}),
    # Of an account that no project has: anybody may ask, and the answer is a refusal.
    "oslogin.googleapis.com": ("oslogin", "v1/users/nobody@{project}.invalid/loginProfile", {}),
}


def enable(module: AnsibleModule, client: Client) -> dict[str, Any]:
    project, wanted = module.params["project"], list(dict.fromkeys(module.params["services"]))
    check_names(project=project)
    if not wanted or not all("." in service for service in wanted):
        raise InvalidArgument(
            f"services: {wanted!r} does not name services",
            remedy="Give full names such as tpu.googleapis.com.",
        )
    deadline = Deadline(module.params["wait_timeout"])
    client = client.within(deadline)
    before: dict[str, str] = {}
    for start in range(0, len(wanted), BATCH):
        before.update(states(client, project, wanted[start : start + BATCH]))
    missing = [service for service in wanted if before[service] != "ENABLED"]
    if not module.check_mode:
        operations: dict[str, str] = {}
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            operations.update(dict.fromkeys(part, batch_enable(client, project, part, deadline)))
        for service, operation in operations.items():
            if service in PROBES:
                await_answer(client, project, service, operation, deadline)
    after = {**before, **dict.fromkeys(missing, "ENABLED")}
    return {"changed": bool(missing), "services": after, "diff": {"before": before, "after": after}}


def states(client: Client, project: str, services: list[str]) -> dict[str, str]:
    names = [f"projects/{project}/services/{service}" for service in services]
    found = client.get(API, f"v1/projects/{project}/services:batchGet", {"names": names}).get("services", [])
    # Answers name the project by its number.
    known = {str(item["name"]).rpartition("/")[2]: str(item.get("state", "DISABLED")) for item in found}
    return {service: known.get(service, "DISABLED") for service in services}


def batch_enable(client: Client, project: str, services: list[str], deadline: Deadline) -> str:
    """Enable the services; the name of the operation that did."""
    operation = client.post(API, f"v1/projects/{project}/services:batchEnable", {"serviceIds": services})
    response = response_of(finished_long_running(client, API, "v1", operation, deadline))
    failures = response.get("failures", [])
    if failures:
        listed = "; ".join(f"{item.get('serviceId')}: {item.get('errorMessage')}" for item in failures)
        raise PreconditionFailed(f"Google did not enable every service: {listed}", details=failures)
    return str(operation["name"])


def await_answer(client: Client, project: str, service: str, operation: str, deadline: Deadline) -> None:
    """Wait until an API that the operation enabled says something else than that it is disabled."""
    api, path, query = PROBES[service]

    def probe() -> dict[str, Any]:
        try:
            client.get(api, path.format(project=project), query)
        except ApiDisabled:
            return {}
        except GcpError:
            pass  # a refusal is an answer too; the task that needs the call gets its error
        return {"answers": True}

    poll(probe, bool, deadline, f"The API {service} is enabled, but its use", operation)


OPERATION = google(
    {
        "services": {"type": "list", "elements": "str", "required": True},
        "state": {"type": "str", "choices": ["present"], "default": "present"},
        "wait_timeout": {"type": "int", "default": 300},
    },
    enable,
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
