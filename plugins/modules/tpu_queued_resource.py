#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_queued_resource
short_description: Keep a queued resource, which asks for TPU VMs and waits until there are some
version_added: 0.2.0
description:
  - Asks for one TPU VM, several, or the slices of a multislice job, and waits until Google has found the
    capacity. The nodes come and go together with the queued resource.
  - A queued resource cannot change. What is there is compared with the options, field by field, as the API
    gives it; a difference is an error, or a replacement with O(recreate). O(ssh_keys), and when the request
    may be served, count when it is made and are not compared.
  - One that failed or was suspended never gets its nodes back, but still takes quota. With
    O(state=present) it is deleted with its nodes and made anew; one that fails while it is waited for is
    deleted, and the module fails with Google's reason.
  - What can change on its nodes (labels, metadata, SSH keys, data disks) is changed by
    M(tpuops.maxtext.tpu_vm).
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.tpu_node
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
    description: Name of the queued resource.
    type: str
    required: true
  zone:
    description: Zone of its nodes.
    type: str
    required: true
  state:
    description: Whether it is there. With O(wait), V(present) is one that has its nodes.
    type: str
    choices: [present, absent]
    default: present
  node_ids:
    description: Names of the nodes, which are alike. One of the queued resource's name by default.
    type: list
    elements: str
    aliases: [node_id]
  node_count:
    description: Number of slices of a multislice job, at least 2, in place of O(node_ids).
    type: int
  node_id_prefix:
    description: What the names of the slices begin with, followed by their numbers from 0. The queued
      resource's name by default.
    type: str
  spot:
    description: Whether the nodes are spot nodes, which are cheaper and may be preempted at any time.
    type: bool
  guaranteed:
    description: Whether the nodes are of the guaranteed tier, which Google does not take back.
    type: bool
  guaranteed_min_duration:
    description: For how long the guarantee is needed at least, in seconds, as V(3600s). The request is served
      only if the nodes can stay that long.
    type: str
  reservation:
    description: Reservation whose capacity the nodes take; a name in the same project and zone, V(-) for any
      there, or a full path.
    type: str
  valid_until_duration:
    description: Seconds from now after which the request fails if it was not served, as V(21600s).
    type: str
  valid_until_time:
    description: Point in time after which the request fails if it was not served, as
      V(2026-12-24T18:00:00Z). Google takes it together with O(valid_after_time), and with no other of these
      options.
    type: str
  valid_after_duration:
    description: Seconds from now before which the request is not served.
    type: str
  valid_after_time:
    description: Point in time before which the request is not served. Google takes it together with
      O(valid_until_time), and with no other of these options.
    type: str
  force:
    description: Whether its nodes may be deleted with it, by O(state=absent) or by O(recreate).
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Wait up to six hours for a spot TPU VM
  tpuops.maxtext.tpu_queued_resource:
    project: my-project
    zone: us-west1-c
    name: tpu-v5e-8
    accelerator_type: v5litepod-8
    runtime_version: v2-alpha-tpuv5-lite
    spot: true
    valid_until_duration: 21600s
    wait_timeout: 21600

- name: Ask for the four slices of a multislice job, from a reservation
  tpuops.maxtext.tpu_queued_resource:
    project: my-project
    zone: us-west1-c
    name: large
    accelerator_type: v5litepod-256
    runtime_version: v2-alpha-tpuv5-lite
    node_count: 4
    node_id_prefix: slice
    reservation: my-reservation
    wait: false

- name: Delete it with its nodes
  tpuops.maxtext.tpu_queued_resource:
    project: my-project
    zone: us-west1-c
    name: large
    state: absent
    force: true
"""

RETURN = r"""
queued_resource:
  description: The queued resource as the API gives it, empty if there is none. In check mode, as it would be.
  returned: success
  type: dict
  sample:
    name: projects/my-project/locations/us-west1-c/queuedResources/tpu-v5e-8
    state: {state: ACTIVE}
nodes:
  description: Its nodes as the API gives them, once it has them.
  returned: success
  type: list
  elements: dict
recreated:
  description: Whether a queued resource was deleted and made anew.
  returned: success
  type: bool
failure:
  description: The cause of a failure, for a rescue block to act on.
  returned: failure
  type: dict
  contains:
    kind:
      description: >-
        One of V(stockout), V(quota), V(preempted), V(api_disabled), V(permission), V(location), V(not_found),
        V(conflict), V(precondition), V(invalid_argument), V(unauthenticated), V(timeout), V(rate_limited),
        V(unavailable), V(transport), V(missing_library) and V(api).
      type: str
    code:
      description: HTTP status, or code of the operation's error.
      type: int
    reason:
      description: Google's word for it.
      type: str
    details:
      description: Details of the error as the API sent them.
      type: list
      elements: dict
    operation:
      description: After a wait that ended too early, as with V(timeout), the operation that goes on, or the
        queued resource that still waits.
      type: str
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils import node, tpu
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, google
from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import Change, Field, given
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    Preempted,
    from_status,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import poll
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import IDENTITY
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu_resource import TpuResource

SPECS = "tpu.nodeSpec"
#: What a queued resource may be without `force` to be deleted, whatever its nodes.
WITHOUT_NODES = tpu.QUEUED_DEAD | {"ACCEPTED", "WAITING_FOR_RESOURCES"}


def same_nodes(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> bool:
    """Whether the specs are for the same nodes; what these are is compared field by field."""
    keys = ("nodeId", "multisliceParams")
    return [[spec.get(key) for key in keys] for spec in have] == [
        [spec.get(key) for key in keys] for spec in want
    ]


class QueuedResource(TpuResource):
    noun = "queued resource"
    result = "queued_resource"
    collection = "queuedResources"
    state_path = "state.state"
    transitional: Mapping[str, str] = {"DELETING": "", "SUSPENDING": "SUSPENDED"}

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        super().__init__(module, client)
        self.ids: list[str] = self.params["node_ids"] or [self.name]
        for name in [*self.ids, self.params["node_id_prefix"] or self.name]:
            check_names(name=name)
        count = self.params["node_count"]
        if count is not None and count < 2:
            remedy = "A multislice job has 2 or more; leave it out for one node."
            raise InvalidArgument(f"node_count is {count}", remedy=remedy)
        specs = range(1 if count else len(self.ids))
        self.fields = (
            Field(SPECS, "node_ids or node_count", default=[], same=same_nodes),
            Field("reservationName", "reservation"),
            Field("guaranteed.minDuration", "guaranteed_min_duration"),
            *(
                replace(field, path=f"{SPECS}.{number}.node.{field.path}", mutable=False)
                for number in specs
                for field in node.FIELDS
            ),
        )

    def body(self, current: dict[str, Any] | None) -> dict[str, Any]:
        options = self.params if current is None else {**self.params, "ssh_keys": None}
        specs = (current or {}).get("tpu", {}).get("nodeSpec", [])
        wanted = node.body({**options, "spot": None}, self.tpus, specs[0].get("node", {}) if specs else None)
        spec = {"parent": self.tpus.parent, "node": wanted}
        multislice = given(nodeCount=options["node_count"], nodeIdPrefix=options["node_id_prefix"])
        guaranteed = given(minDuration=options["guaranteed_min_duration"])
        return given(
            tpu={
                "nodeSpec": [{**spec, "multisliceParams": multislice}]
                if multislice
                else [{**spec, "nodeId": name} for name in self.ids]
            },
            spot={} if options["spot"] else None,
            guaranteed=guaranteed if guaranteed or options["guaranteed"] else None,
            reservationName=self._reservation(),
            queueingPolicy=self._policy() or None,
        )

    def _policy(self) -> dict[str, Any]:
        """When it may be served: Google takes one field, of which an interval holds two times."""
        after, until = self.params["valid_after_time"], self.params["valid_until_time"]
        if after and until:
            return {"validInterval": {"startTime": after, "endTime": until}}
        return given(
            validUntilDuration=self.params["valid_until_duration"],
            validUntilTime=until,
            validAfterDuration=self.params["valid_after_duration"],
            validAfterTime=after,
        )

    def _reservation(self) -> str | None:
        name = self.params["reservation"]
        return f"{self.tpus.parent}/reservations/{name}" if name and "/" not in name else name

    def changes(self, current: dict[str, Any], body: dict[str, Any]) -> list[Change]:
        """A tier is there or not, whatever it holds."""
        tiers = [
            Change(Field(tier, tier), tier in current, self.params[tier])
            for tier in ("spot", "guaranteed")
            if self.params[tier] not in (None, tier in current)
        ]
        return super().changes(current, body) + tiers

    def is_dead(self, current: dict[str, Any]) -> bool:
        return self.state_of(current) in tpu.QUEUED_DEAD

    def check_create(self, body: dict[str, Any]) -> None:
        node.check_offer(body["tpu"]["nodeSpec"][0]["node"], self.tpus, f"queued resource ({self.name})")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        operation = self.tpus.create_queued_resource(self.name, body)
        if self.waits:
            self.made(self.tpus.finished(operation, self.deadline))
        return self.fetch() or {}

    def finish(self, current: dict[str, Any]) -> dict[str, Any]:
        """Wait until it has its nodes."""
        if self.check_mode or not self.waits or self.state_of(current) == "ACTIVE":
            return current
        found = poll(
            lambda: self.fetch() or {},
            lambda queued: not queued or self.state_of(queued) in tpu.QUEUED_DEAD | {"ACTIVE"},
            self.deadline,
            f"The queued resource {self.name} ({self.state_of(current)})",
            self.tpus.queued_resource_name(self.name),
        )
        if not found:
            raise NotFound(
                f"The queued resource {self.name} was deleted while it waited", remedy="Run again."
            )
        if self.is_dead(found):
            self.clean_up()
            raise self._cause(found)
        return found

    def _cause(self, current: dict[str, Any]) -> Exception:
        error = current["state"].get("failedData", {}).get("error")
        return from_status(error) if error else Preempted(f"The queued resource {self.name} was suspended")

    def check_delete(self, current: dict[str, Any]) -> None:
        if self.params["force"] or self.state_of(current) in WITHOUT_NODES:
            return
        left = [name for name in tpu.node_ids(current) if self.tpus.get_node(name)]
        if left:
            raise PreconditionFailed(
                f"The queued resource {self.name} has the nodes {', '.join(left)}",
                remedy="Delete them first, or allow it with force=true.",
            )

    def delete(self, current: dict[str, Any]) -> None:
        force = self.params["force"] or self.is_dead(current)
        operation = self.tpus.delete_queued_resource(self.name, force)
        if self.waits or self.params["state"] != "absent":
            self.tpus.wait(operation, self.deadline)

    def facts(self, current: dict[str, Any] | None) -> dict[str, Any]:
        there = current is not None and self.state_of(current) == "ACTIVE"
        found = [self.tpus.get_node(name) for name in tpu.node_ids(current or {})] if there else []
        return {"nodes": [item for item in found if item], "recreated": self.recreated}


TEXT = {"type": "str"}
FLAG = {"type": "bool"}
OPERATION = google(
    {
        **IDENTITY,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "node_ids": {"type": "list", "elements": "str", "aliases": ["node_id"]},
        "node_count": {"type": "int"},
        "node_id_prefix": TEXT,
        "spot": FLAG,
        "guaranteed": FLAG,
        "guaranteed_min_duration": TEXT,
        "reservation": TEXT,
        "valid_until_duration": TEXT,
        "valid_until_time": TEXT,
        "valid_after_duration": TEXT,
        "valid_after_time": TEXT,
        "force": {"type": "bool", "default": False},
        **node.OPTIONS,
    },
    lambda module, client: QueuedResource(module, client).execute(),
    {
        "mutually_exclusive": [
            *node.EXCLUSIVE,
            ("node_ids", "node_count"),
            ("spot", "guaranteed", "reservation"),
            ("valid_until_duration", "valid_after_duration", "valid_until_time"),
            ("valid_until_duration", "valid_after_duration", "valid_after_time"),
        ],
        "required_by": {"node_id_prefix": ["node_count"]},
    },
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
