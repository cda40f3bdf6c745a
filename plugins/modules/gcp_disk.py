#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_disk
short_description: Keep a persistent disk of Compute Engine
version_added: 0.1.0
description:
  - Creates a blank persistent disk, grows it in place, labels it, or deletes it.
  - A disk never shrinks, and a disk that is attached to a machine is not deleted.
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
  name:
    description: Name of the disk.
    type: str
    required: true
  zone:
    description: Zone of the disk.
    type: str
    required: true
  size_gb:
    description:
      - Size in GB (GiB, as Google counts). Needed to create a disk.
      - A disk that is smaller grows in place, also while it is attached; its file system does not grow with
        it.
    type: int
  type:
    description:
      - Type of the disk, V(pd-balanced) for a new one by default. It cannot change.
      - TPU v5e and v5p take V(pd-balanced), v6e takes Hyperdisk only (V(hyperdisk-balanced),
        V(hyperdisk-ml)).
    type: str
  provisioned_iops:
    description: Operations in a second that a disk of Hyperdisk is given, Google's default for a new one by
      default.
    type: int
    version_added: 0.2.0
  provisioned_throughput:
    description: MiB in a second that a disk of Hyperdisk is given, Google's default for a new one by default.
    type: int
    version_added: 0.2.0
  description:
    description: Free text. It cannot change.
    type: str
  labels:
    description: All labels of the disk. Left out, labels stay as they are.
    type: dict
  state:
    description: Whether the disk is there.
    type: str
    choices: [present, absent]
    default: present
  wait_timeout:
    description: Seconds to wait for Google. What is not done by then goes on; running again takes it up.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Keep a disk for checkpoints
  tpuops.maxtext.gcp_disk:
    project: my-project
    zone: us-west1-c
    name: tpu-data-disk
    size_gb: 256

- name: Delete it with all that is on it
  tpuops.maxtext.gcp_disk:
    project: my-project
    zone: us-west1-c
    name: tpu-data-disk
    state: absent
"""

RETURN = r"""
disk:
  description: The disk as the API gives it, empty if there is none. In check mode, as it would be.
  returned: success
  type: dict
  sample:
    name: tpu-data-disk
    sizeGb: "256"
    status: READY
    type: https://www.googleapis.com/compute/v1/projects/my-project/zones/us-west1-c/diskTypes/pd-balanced
created:
  description: Whether this call made the disk, so that nothing can be on it yet. An adopted disk is not. In
    check mode, whether it would.
  returned: success
  type: bool
failure:
  description: The cause of a failure, for a rescue block to act on. After a wait that ended too early,
    C(operation) names what goes on.
  returned: failure
  type: dict
  sample: {kind: quota, code: 403, reason: QUOTA_EXCEEDED, details: []}
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import Change, Field, given, texts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    InvalidArgument,
    NotFound,
    PreconditionFailed,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import (
    finished_zone_operation,
    poll,
    response_of,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import IDENTITY, Resource
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import short_name

DEFAULT_TYPE = "pd-balanced"
#: Field of the API, which has numbers as text, and option.
NUMBERS = {
    "sizeGb": "size_gb",
    "provisionedIops": "provisioned_iops",
    "provisionedThroughput": "provisioned_throughput",
}


class Disk(Resource):
    noun = "disk"
    result = "disk"
    fields = (
        Field("sizeGb", "size_gb", mutable=True),
        Field("labels", "labels", mutable=True, default={}),
        Field("type", "type", same=lambda have, want: short_name(have) == short_name(want)),
        Field("description", "description", default=""),
        Field("provisionedIops", "provisioned_iops", mutable=True),
        Field("provisionedThroughput", "provisioned_throughput", mutable=True),
    )
    state_path = "status"
    transitional: Mapping[str, str] = {"CREATING": "READY", "RESTORING": "READY", "DELETING": ""}

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        super().__init__(module, client)
        self.disks = f"projects/{self.project}/zones/{self.zone}/disks"
        self.path = f"{self.disks}/{self.name}"

    def fetch(self) -> dict[str, Any] | None:
        try:
            return self.client.get("compute", self.path)
        except NotFound:
            return None

    def settle(self, current: dict[str, Any]) -> dict[str, Any] | None:
        what = f"The disk {self.name} ({current['status']})"
        return poll(lambda: self.fetch() or {}, self.is_settled, self.deadline, what, self._pending()) or None

    def _pending(self) -> str:
        """The name of the operation that an earlier run left under way on the disk, or the disk's own."""
        path = f"projects/{self.project}/zones/{self.zone}/operations"
        for operation in self.client.items("compute", path, "items", {"filter": 'status != "DONE"'}):
            if operation.get("targetLink", "").endswith(f"/disks/{self.name}"):
                return str(operation["name"])
        return self.path

    def body(self, current: dict[str, Any] | None) -> dict[str, Any]:
        kind = self.params["type"] or (None if current else DEFAULT_TYPE)
        numbers = given(**{key: self.params[option] for key, option in NUMBERS.items()})
        return given(
            name=self.name,
            type=kind and f"projects/{self.project}/zones/{self.zone}/diskTypes/{kind}",
            description=self.params["description"],
            labels=texts(self.params["labels"]),
            **{key: str(value) for key, value in numbers.items()},
        )

    def is_dead(self, current: dict[str, Any]) -> bool:
        return current.get("status") == "FAILED"  # to be created: it never held anything

    def is_remains(self, current: dict[str, Any]) -> bool:
        return current.get("status") in ("CREATING", "FAILED")

    def check_create(self, body: dict[str, Any]) -> None:
        if "sizeGb" not in body:
            raise InvalidArgument(
                "size_gb is not set", remedy=f"A new disk ({self.name}) needs a size in GB."
            )

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.made(self._call("POST", self.disks, body))
        return self.client.get("compute", self.path)

    def facts(self, current: dict[str, Any] | None) -> dict[str, Any]:
        return {"created": self.created}

    def check_update(self, current: dict[str, Any], changes: Sequence[Change]) -> None:
        for change in changes:
            if change.field.path == "sizeGb" and int(change.want) < int(change.have):
                raise InvalidArgument(
                    f"size_gb: the disk {self.name} has {change.have} GB and cannot shrink to {change.want}",
                    remedy="Leave its size, or copy what is on it to a smaller disk of another name.",
                )

    def update(
        self, current: dict[str, Any], changes: Sequence[Change], body: dict[str, Any]
    ) -> dict[str, Any]:
        for change in changes:
            path, body = change.field.path, {change.field.path: change.want}
            if path == "sizeGb":
                operation = self._call("POST", f"{self.path}/resize", body)
            elif path == "labels":
                body["labelFingerprint"] = current["labelFingerprint"]
                operation = self._call("POST", f"{self.path}/setLabels", body)
            else:
                operation = self._call("PATCH", self.path, body, updateMask=path)
            response_of(operation)
        return self.client.get("compute", self.path)

    def check_delete(self, current: dict[str, Any]) -> None:
        users = [short_name(user) for user in current.get("users", [])]
        if users:
            raise PreconditionFailed(
                f"The disk {self.name} is attached to {', '.join(users)}",
                reason="resourceInUseByAnotherResource",
                remedy="Detach it, or delete what it is attached to, first.",
            )

    def delete(self, current: dict[str, Any]) -> None:
        response_of(self._call("DELETE", self.path))

    def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **params: str
    ) -> dict[str, Any]:
        """The finished operation of a writing call, which is done once however often it is sent."""
        params["requestId"] = str(uuid.uuid4())
        operation = self.client.request(method, "compute", path, params=params, body=body)
        return finished_zone_operation(self.client, self.project, self.zone, operation, self.deadline)


OPERATION = google(
    {
        **IDENTITY,
        **{option: {"type": "int"} for option in NUMBERS.values()},
        "type": {"type": "str"},
        "description": {"type": "str"},
        "labels": {"type": "dict"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "wait_timeout": {"type": "int", "default": 300},
    },
    lambda module, client: Disk(module, client).execute(),
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
