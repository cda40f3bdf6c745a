#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpu_vm
short_description: Keep a TPU VM
version_added: 0.1.0
description:
  - Creates, updates, starts, stops and deletes a node of the TPU API, which is one TPU VM or a slice of
    several.
  - What is there is compared with the options, field by field, as the API gives it. Options left out are not
    compared.
  - A node that was preempted or terminated is deleted and created again. A node whose creation fails is
    deleted.
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
    description: Name of the node.
    type: str
    required: true
  zone:
    description: Zone of the node.
    type: str
    required: true
  state:
    description:
      - V(present) is a node that is there, stopped or not; V(started) one that runs; V(stopped) one that is
        there and stopped.
      - Slices of several workers cannot be started and stopped.
      - V(stopped) and V(absent) ask Google and no machine, so not whether a job runs there. The entry point
        C(running) of the role P(tpuops.maxtext.tpu_vm#role) does that before them, as
        C(playbooks/stop_node.yml) and C(playbooks/teardown.yml) use it.
    type: str
    choices: [present, absent, started, stopped]
    default: present
  spot:
    description: Whether it is a spot node, cheaper, and preempted at any time. It cannot change.
    type: bool
  preemptible:
    description: Whether it is preemptible, the older form of O(spot), which ends after 24 hours. It cannot
      change.
    type: bool
  reserved:
    description: Whether it takes capacity of a reservation. It cannot change.
    type: bool
"""

EXAMPLES = r"""
- name: Keep a TPU VM with eight v5e chips
  tpuops.maxtext.tpu_vm:
    project: my-project
    zone: us-west1-c
    name: tpu-v5e-8
    accelerator_type: v5litepod-8
    runtime_version: v2-alpha-tpuv5-lite
    data_disks:
      - source: tpu-data-disk
    ssh_keys:
      - user: tpu
        key: "{{ lookup('ansible.builtin.file', '~/.ssh/google_compute_engine.pub') }}"
  register: tpu

- name: Stop it over the weekend
  tpuops.maxtext.tpu_vm:
    project: my-project
    zone: us-west1-c
    name: tpu-v5e-8
    state: stopped
"""

RETURN = r"""
node:
  description: The node as the API gives it, empty if there is none. In check mode, as it would be.
  returned: success
  type: dict
  sample:
    name: projects/my-project/locations/us-west1-c/nodes/tpu-v5e-8
    acceleratorType: v5litepod-8
    state: READY
workers:
  description: The machines of the node. In check mode, those that are there already.
  returned: success
  type: list
  elements: dict
  contains:
    worker_id:
      description: Number of the worker in the slice, from 0.
      type: int
    name:
      description: Name of the worker in the inventory.
      type: str
      sample: tpu-v5e-8
    address:
      description: External address, internal if there is none.
      type: str
    internal_address:
      description: Internal address.
      type: str
    host_key:
      description: Public host key of its SSH server; empty while the worker has not published it, and where
        Google does not let it be read, of which a warning tells.
      type: str
      sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB
    host_key_alias:
      description: Name of the host key in the known_hosts file of the inventory.
      type: str
recreated:
  description: Whether a node was deleted and created again.
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
      description: After a wait that ended too early, as with V(timeout), the operation that goes on.
      type: str
"""

from collections.abc import Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import node, tpu
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import google
from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import Change, predicted
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    Conflict,
    GcpError,
    NotFound,
    OperationTimeout,
    PreconditionFailed,
    Preempted,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import poll
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import IDENTITY
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu_resource import TpuResource

HOST_KEYS_TIMEOUT = 60


class Node(TpuResource):
    noun = "TPU VM"
    result = "node"
    collection = "nodes"
    fields = node.FIELDS
    transitional = tpu.TRANSITIONAL

    def body(self, current: dict[str, Any] | None) -> dict[str, Any]:
        return node.body(self.params, self.tpus, current)

    def is_dead(self, current: dict[str, Any]) -> bool:
        return current.get("state") in tpu.DEAD and self.params["state"] != "stopped"

    def check_create(self, body: dict[str, Any]) -> None:
        if self.params["state"] == "stopped":
            raise NotFound(
                f"There is no TPU VM {self.name} to stop", remedy="Create it with state=started first."
            )
        node.check_offer(body, self.tpus, f"TPU VM ({self.name})")

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        operation = self.tpus.create_node(self.name, body)
        if not self.waits:
            return self.fetch() or {}
        self.made(self.tpus.finished(operation, self.deadline))
        made = self.read()
        if made is None or self.is_dead(made):
            self.clean_up()
            raise Preempted(f"The TPU VM {self.name} was preempted during its creation")
        return made

    def update(
        self, current: dict[str, Any], changes: Sequence[Change], body: dict[str, Any]
    ) -> dict[str, Any]:
        mask = [node.snake_case(change.field.path) for change in changes]
        self._wait(self.tpus.patch_node(self.name, predicted({}, changes), mask))
        return self.fetch() or {}

    def check_replace(self, current: dict[str, Any]) -> None:
        if "queuedResource" in current:
            queued = tpu.short_name(current["queuedResource"])
            raise PreconditionFailed(
                f"The TPU VM {self.name} ({current.get('state')}) belongs to the queued resource {queued}",
                remedy="Create that again with tpuops.maxtext.tpu_queued_resource, or delete it first.",
            )

    def delete(self, current: dict[str, Any]) -> None:
        operation = self.tpus.delete_node(self.name)
        if self.waits or self.params["state"] != "absent":
            self.tpus.wait(operation, self.deadline)

    def finish(self, current: dict[str, Any]) -> dict[str, Any]:
        state, wanted = current.get("state", "READY"), self.params["state"]
        # Without a wait it may still be on its way to a state.
        end = self.transitional.get(state, state)
        if wanted == "started" and state == "STOPPED":
            return self._power(current, "READY")
        if wanted == "stopped" and state == "READY":
            return self._power(current, "STOPPED")
        wrong = {"started": end != "READY", "stopped": end in ("READY", "UNKNOWN")}
        if wrong.get(wanted):
            raise PreconditionFailed(
                f"The TPU VM {self.name} is {state} and cannot be {wanted} now",
                remedy="Run again when that is over, or wait for it with wait=true."
                if state in self.transitional
                else "Wait until Google has mended it, or delete it and create it again.",
            )
        return current

    def _power(self, current: dict[str, Any], state: str) -> dict[str, Any]:
        if len(tpu.workers(current)) > 1:
            raise PreconditionFailed(
                f"The TPU VM {self.name} has several workers; Google starts and stops single machines only",
                remedy="Delete the slice and create it again when it is needed.",
            )
        self.changed = True
        if self.check_mode:
            return {**current, "state": state}
        switch = self.tpus.start_node if state == "READY" else self.tpus.stop_node
        try:
            self._wait(switch(self.name))
        except (Conflict, PreconditionFailed):
            # Under way already: by another controller, or by our own request whose answer was lost.
            found = self.read()
            if not found or found.get("state") != state:
                raise
            return found
        return self.fetch() or {}

    def _wait(self, operation: dict[str, Any]) -> None:
        if self.waits:
            self.tpus.wait(operation, self.deadline)

    def facts(self, current: dict[str, Any] | None) -> dict[str, Any]:
        found = tpu.workers(current) if current and "networkEndpoints" in current else []
        predicted_only = self.check_mode and self.changed
        if current and found and current.get("state") == "READY" and not predicted_only:
            found = tpu.workers(current, self._host_keys(len(found)))
        return {"workers": found, "recreated": self.recreated}

    def _host_keys(self, count: int) -> list[str]:
        """Workers publish their keys when SSH has started, some seconds after the node is ready."""
        keys: list[str] = []

        def fetch() -> dict[str, Any]:
            keys[:] = self.tpus.host_keys(self.name)
            return {"published": sum(map(bool, keys))}

        try:
            if not self.changed or self.check_mode or not self.waits:
                fetch()
            else:
                enough = Deadline(HOST_KEYS_TIMEOUT)
                poll(fetch, lambda seen: bool(seen["published"] >= count), enough, "The host keys")
        except OperationTimeout:
            missing = count - sum(map(bool, keys))
            self.module.warn(f"{missing} of {count} workers of {self.name} have not published a host key.")
        except GcpError as error:
            # The node is there, costs money, and what is to be known of it is known.
            self.module.warn(f"The host keys of {self.name} could not be read: {error}")
        return keys


OPERATION = google(
    {
        **IDENTITY,
        "state": {
            "type": "str",
            "choices": ["present", "absent", "started", "stopped"],
            "default": "present",
        },
        **{option: {"type": "bool"} for option in ("spot", "preemptible", "reserved")},
        **node.OPTIONS,
    },
    lambda module, client: Node(module, client).execute(),
    {"mutually_exclusive": node.EXCLUSIVE},
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
