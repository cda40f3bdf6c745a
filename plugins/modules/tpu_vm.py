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
    type: str
    choices: [present, absent, started, stopped]
    default: present
  accelerator_type:
    description:
      - Accelerator type, as V(v5litepod-8). It is checked against what the zone offers before a node is
        created.
      - A new node needs it or O(accelerator_config). It cannot change.
    type: str
  accelerator_config:
    description: Generation and topology, in place of O(accelerator_type). It cannot change.
    type: dict
    suboptions:
      type:
        description: Generation.
        type: str
        required: true
        choices: [V2, V3, V4, V5LITE_POD, V5P, V6E]
      topology:
        description: Chips in each dimension, as V(2x4) or V(2x2x2).
        type: str
        required: true
  runtime_version:
    description: Runtime version, the image of the workers, as V(v2-alpha-tpuv5-lite). A new node needs it. It
      cannot change.
    type: str
  description:
    description: Free text.
    type: str
  labels:
    description: All labels of the node.
    type: dict
  tags:
    description: All network tags of the node.
    type: list
    elements: str
  metadata:
    description:
      - Metadata that the workers can read. Values that are not text are sent as JSON.
      - Keys that are not named keep their values.
    type: dict
  startup_script:
    description: Script that the workers run at each start, the metadata C(startup-script).
    type: str
  ssh_keys:
    description:
      - Who may log in, added to the metadata C(ssh-keys). The lines of others stay.
      - Given when the node is created, they work as soon as it is ready.
    type: list
    elements: dict
    suboptions:
      user:
        description: User on the workers, made if need be, with sudo.
        type: str
        required: true
      key:
        description: Public key, a line of a C(.pub) file.
        type: str
        required: true
  data_disks:
    description: All disks that are attached beside the boot disk, in the order in which the workers number
      them.
    type: list
    elements: dict
    suboptions:
      source:
        description: Name of a disk in the same project and zone, or its full path.
        type: str
        required: true
      mode:
        description: How it is attached. A slice of several workers takes V(read-only) alone.
        type: str
        choices: [read-write, read-only]
        default: read-write
  spot:
    description: Whether it is a spot node, cheaper and taken back at any time. It cannot change.
    type: bool
  preemptible:
    description: Whether it is preemptible, the older form of O(spot), which ends after 24 hours. It cannot
      change.
    type: bool
  reserved:
    description: Whether it takes capacity of a reservation. It cannot change.
    type: bool
  network:
    description: Network of the workers, V(default) by default. It cannot change.
    type: str
  subnetwork:
    description: Subnetwork of the workers. It cannot change.
    type: str
  external_ips:
    description: Whether the workers have external addresses, V(true) for a new node by default.
    type: bool
  networks:
    description: Several network interfaces for each worker, in place of O(network). They cannot change.
    type: list
    elements: dict
    suboptions:
      network:
        description: Network of the interface.
        type: str
      subnetwork:
        description: Subnetwork of the interface.
        type: str
      external_ips:
        description: Whether the interface has an external address.
        type: bool
        default: false
  service_account:
    description: Service account that programs on the workers act as. It cannot change.
    type: dict
    suboptions:
      email:
        description: Its address; the default account of Compute Engine if left out.
        type: str
      scopes:
        description: Scopes of its tokens; all of them if left out.
        type: list
        elements: str
  secure_boot:
    description: Whether the workers boot signed software only. It cannot change.
    type: bool
  boot_disk_kms_key:
    description: Key of Cloud KMS that encrypts the boot disk. It cannot change.
    type: str
  recreate:
    description: Whether a node that differs in what cannot change is deleted, with its boot disk, and created
      again.
    type: bool
    default: false
  wait:
    description: Whether to wait until Google has done what was asked. Without it, workers may be missing in
      the result.
    type: bool
    default: true
  wait_timeout:
    description:
      - Seconds to wait. What is not done by then is left to go on; its name is returned as
        C(failure.operation), and running again waits for it further.
    type: int
    default: 1800
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
      description: Public host key of its SSH server; empty while the worker has not published it.
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
      description: With V(timeout), the operation that goes on.
      type: str
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    InvalidArgument,
    NotFound,
    OperationTimeout,
    PreconditionFailed,
    Preempted,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.operations import Deadline, poll, response_of
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import merge
from ansible_collections.tpuops.maxtext.plugins.module_utils.resource import (
    Change,
    Field,
    Resource,
    predicted,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import (
    DEAD,
    TRANSITIONAL,
    Tpus,
    short_name,
    workers,
)

CLEAN_UP_TIMEOUT = 300
HOST_KEYS_TIMEOUT = 60


def same_name(have: str, want: str) -> bool:
    """Google answers a short name with a full path."""
    return have == want if "/" in want else short_name(have) == want


def same_set(have: list[str], want: list[str]) -> bool:
    return sorted(have) == sorted(want)


def same_disks(have: list[dict[str, str]], want: list[dict[str, str]]) -> bool:
    """Paths may come back with the project's number, or as an address."""

    def key(disk: dict[str, str]) -> tuple[str, str]:
        return disk["sourceDisk"].rpartition("/zones/")[2], disk.get("mode", "READ_WRITE")

    return sorted(map(key, have)) == sorted(map(key, want))


def same_interfaces(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> bool:
    def same(is_there: dict[str, Any], wanted: dict[str, Any]) -> bool:
        return all(same_name(str(is_there.get(key, "")), str(value)) for key, value in wanted.items())

    return len(have) == len(want) and all(map(same, have, want))


class Node(Resource):
    noun = "TPU VM"
    result = "node"
    fields = (
        Field("acceleratorType", "accelerator_type"),
        Field("acceleratorConfig.type", "accelerator_config.type"),
        Field("acceleratorConfig.topology", "accelerator_config.topology"),
        Field("runtimeVersion", "runtime_version"),
        Field("description", "description", mutable=True, default=""),
        Field("labels", "labels", mutable=True, default={}),
        Field("tags", "tags", mutable=True, default=[], same=same_set),
        Field("metadata", "metadata", mutable=True, default={}),
        Field("dataDisks", "data_disks", mutable=True, default=[], same=same_disks),
        Field("schedulingConfig.spot", "spot", default=False),
        Field("schedulingConfig.preemptible", "preemptible", default=False),
        Field("schedulingConfig.reserved", "reserved", default=False),
        Field("networkConfig.network", "network", default="default", same=same_name),
        Field("networkConfig.subnetwork", "subnetwork", default="default", same=same_name),
        Field("networkConfig.enableExternalIps", "external_ips", mutable=True, default=False),
        Field("networkConfigs", "networks", default=[], same=same_interfaces),
        Field("serviceAccount.email", "service_account.email"),
        Field("serviceAccount.scope", "service_account.scopes", default=[], same=same_set),
        Field("shieldedInstanceConfig.enableSecureBoot", "secure_boot", default=False),
        Field("bootDiskConfig.customerEncryptionKey.kmsKeyName", "boot_disk_kms_key"),
    )

    def __init__(self, module: AnsibleModule, client: Client) -> None:
        super().__init__(module, client)
        self.name, self.zone, self.project = (self.params[key] for key in ("name", "zone", "project"))
        check_names(name=self.name, zone=self.zone, project=self.project)
        self.tpus = Tpus(client, self.project, self.zone)
        self.deadline = Deadline(self.params["wait_timeout"])

    def read(self) -> dict[str, Any] | None:
        node = self.tpus.get_node(self.name)
        if node is None or node.get("state") not in TRANSITIONAL:
            return node
        going = node["state"] == "DELETING"
        if self.check_mode:
            return None if going else node
        return self.tpus.settle(node, self.deadline) if going or self.params["wait"] else node

    def body(self, current: dict[str, Any] | None) -> dict[str, Any]:
        options = self.params
        external = True if current is None and options["networks"] is None else None
        account = options["service_account"] or {}
        return given(
            acceleratorType=options["accelerator_type"],
            acceleratorConfig=options["accelerator_config"],
            runtimeVersion=options["runtime_version"],
            description=options["description"],
            labels=texts(options["labels"]),
            tags=options["tags"],
            metadata=self._metadata((current or {}).get("metadata", {})),
            dataDisks=self._data_disks(),
            schedulingConfig=given(**{key: options[key] for key in ("spot", "preemptible", "reserved")})
            or None,
            networkConfig=interface(options, external) or None,
            networkConfigs=options["networks"] and [interface(item, None) for item in options["networks"]],
            serviceAccount=given(email=account.get("email"), scope=account.get("scopes")) or None,
            shieldedInstanceConfig=given(enableSecureBoot=options["secure_boot"]) or None,
            bootDiskConfig=options["boot_disk_kms_key"]
            and {"customerEncryptionKey": {"kmsKeyName": options["boot_disk_kms_key"]}},
        )

    def _metadata(self, present: dict[str, str]) -> dict[str, str] | None:
        wanted = texts(self.params["metadata"]) or {}
        if self.params["startup_script"] is not None:
            wanted["startup-script"] = self.params["startup_script"]
        if self.params["ssh_keys"]:
            lines = wanted.get("ssh-keys", present.get("ssh-keys", ""))
            wanted["ssh-keys"] = merge(lines, self.params["ssh_keys"])
        return {**present, **wanted} if wanted else None

    def _data_disks(self) -> list[dict[str, str]] | None:
        if self.params["data_disks"] is None:
            return None
        here = f"projects/{self.project}/zones/{self.zone}/disks/"
        modes = {"read-write": "READ_WRITE", "read-only": "READ_ONLY"}
        return [
            {
                "sourceDisk": disk["source"] if "/" in disk["source"] else here + disk["source"],
                "mode": modes[disk["mode"]],
            }
            for disk in self.params["data_disks"]
        ]

    def is_dead(self, current: dict[str, Any]) -> bool:
        return current.get("state") in DEAD and self.params["state"] != "stopped"

    def check_create(self, body: dict[str, Any]) -> None:
        if self.params["state"] == "stopped":
            raise NotFound(
                f"There is no TPU VM {self.name} to stop", remedy="Create it with state=started first."
            )
        for option, field in (("accelerator_type", "acceleratorType"), ("runtime_version", "runtimeVersion")):
            if field not in body and not (field == "acceleratorType" and "acceleratorConfig" in body):
                raise InvalidArgument(f"{option} is not set", remedy=f"A new TPU VM ({self.name}) needs it.")
        offers = self.tpus.accelerator_types()
        if "acceleratorConfig" in body:
            config = body["acceleratorConfig"]
            if not any(config in offer.get("acceleratorConfigs", []) for offer in offers):
                raise self._not_offered(
                    "accelerator_config", f"{config['type']} {config['topology']}", offers
                )
        elif not any(offer.get("type") == body["acceleratorType"] for offer in offers):
            raise self._not_offered("accelerator_type", body["acceleratorType"], offers)

    def _not_offered(self, option: str, value: str, offers: list[dict[str, Any]]) -> InvalidArgument:
        types = sorted((str(offer.get("type")) for offer in offers), key=lambda name: (len(name), name))
        listed = ", ".join(types) or "no TPU at all"
        return InvalidArgument(
            f"{option}: the zone {self.zone} does not offer {value}", remedy=f"It offers: {listed}."
        )

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        operation = self.tpus.create_node(self.name, body)
        if self.params["wait"]:
            finished = self.tpus.finished(operation, self.deadline)
            if "error" in finished:
                self._clean_up()
                response_of(finished)
        node = self.tpus.get_node(self.name) or {}
        if self.params["wait"] and (not node or node["state"] in DEAD):
            raise Preempted(f"The TPU VM {self.name} was taken back as soon as it was there")
        return node

    def _clean_up(self) -> None:
        """A failed creation can leave a node behind, which would take quota and be in the way of the next
        try."""
        try:
            if self.tpus.get_node(self.name):
                self.tpus.wait(self.tpus.delete_node(self.name), Deadline(CLEAN_UP_TIMEOUT))
        except GcpError as error:
            if not isinstance(error, NotFound):
                self.module.warn(f"The TPU VM {self.name} is left over from the failed creation: {error}")

    def update(
        self, current: dict[str, Any], changes: Sequence[Change], body: dict[str, Any]
    ) -> dict[str, Any]:
        mask = [snake_case(change.field.path) for change in changes]
        self._wait(self.tpus.patch_node(self.name, predicted({}, changes), mask))
        return self.tpus.get_node(self.name) or {}

    def delete(self, current: dict[str, Any]) -> None:
        operation = self.tpus.delete_node(self.name)
        if self.params["wait"] or self.params["state"] != "absent":
            self.tpus.wait(operation, self.deadline)

    def finish(self, current: dict[str, Any]) -> dict[str, Any]:
        state, wanted = current.get("state", "READY"), self.params["state"]
        if wanted == "started" and state == "STOPPED":
            return self._power(current, "READY")
        if wanted == "stopped" and state == "READY":
            return self._power(current, "STOPPED")
        return current

    def _power(self, current: dict[str, Any], state: str) -> dict[str, Any]:
        if len(workers(current)) > 1:
            raise PreconditionFailed(
                f"The TPU VM {self.name} has several workers; Google starts and stops single machines only",
                remedy="Delete the slice and create it again when it is needed.",
            )
        self.changed = True
        if self.check_mode:
            return {**current, "state": state}
        self._wait(self.tpus.start_node(self.name) if state == "READY" else self.tpus.stop_node(self.name))
        return self.tpus.get_node(self.name) or {}

    def _wait(self, operation: dict[str, Any]) -> None:
        if self.params["wait"]:
            self.tpus.wait(operation, self.deadline)

    def facts(self, current: dict[str, Any] | None) -> dict[str, Any]:
        found = workers(current) if current and "networkEndpoints" in current else []
        predicted_only = self.check_mode and self.changed
        if current and found and current.get("state") == "READY" and not predicted_only:
            found = workers(current, self._host_keys(len(found)))
        return {"workers": found, "recreated": self.recreated}

    def _host_keys(self, count: int) -> list[str]:
        """Workers publish their keys when SSH has started, some seconds after the node is ready."""
        if not self.changed or self.check_mode or not self.params["wait"]:
            return self.tpus.host_keys(self.name)
        keys: list[str] = []

        def fetch() -> dict[str, Any]:
            keys[:] = self.tpus.host_keys(self.name)
            return {"published": sum(map(bool, keys))}

        try:
            poll(
                fetch,
                lambda seen: bool(seen["published"] >= count),
                Deadline(HOST_KEYS_TIMEOUT),
                "The host keys",
            )
        except OperationTimeout:
            self.module.warn(
                f"{keys.count('')} of {count} workers of {self.name} have not published a host key."
            )
        return keys


def given(**fields: Any) -> dict[str, Any]:
    """The fields that are set."""
    return {name: value for name, value in fields.items() if value is not None}


def interface(options: Mapping[str, Any], external: bool | None) -> dict[str, Any]:
    """A NetworkConfig; `external` stands in for an option that is not set."""
    wanted = options["external_ips"] if options["external_ips"] is not None else external
    return given(network=options["network"], subnetwork=options["subnetwork"], enableExternalIps=wanted)


def texts(options: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Labels and metadata have text values: true and 8 become "true" and "8"."""
    if options is None:
        return None
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in options.items()}


def snake_case(path: str) -> str:
    """The path as update masks have it: networkConfig.network is network_config.network."""
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), path)


def options() -> dict[str, Any]:
    text, flag, table, texts_list = (
        {"type": "str"},
        {"type": "bool"},
        {"type": "dict"},
        {"type": "list", "elements": "str"},
    )
    needed = {"type": "str", "required": True}
    generations = ["V2", "V3", "V4", "V5LITE_POD", "V5P", "V6E"]
    return {
        "name": needed,
        "zone": needed,
        "state": {
            "type": "str",
            "choices": ["present", "absent", "started", "stopped"],
            "default": "present",
        },
        "accelerator_type": text,
        "accelerator_config": {
            "type": "dict",
            "options": {"type": {**needed, "choices": generations}, "topology": needed},
        },
        "runtime_version": text,
        "description": text,
        "labels": table,
        "tags": texts_list,
        "metadata": table,
        "startup_script": text,
        "ssh_keys": {
            "type": "list",
            "elements": "dict",
            "no_log": False,
            "options": {"user": needed, "key": {**needed, "no_log": False}},
        },
        "data_disks": {
            "type": "list",
            "elements": "dict",
            "options": {
                "source": needed,
                "mode": {"type": "str", "choices": ["read-write", "read-only"], "default": "read-write"},
            },
        },
        "spot": flag,
        "preemptible": flag,
        "reserved": flag,
        "network": text,
        "subnetwork": text,
        "external_ips": flag,
        "networks": {
            "type": "list",
            "elements": "dict",
            "options": {
                "network": text,
                "subnetwork": text,
                "external_ips": {"type": "bool", "default": False},
            },
        },
        "service_account": {"type": "dict", "options": {"email": text, "scopes": texts_list}},
        "secure_boot": flag,
        "boot_disk_kms_key": {"type": "str", "no_log": False},
        "recreate": {"type": "bool", "default": False},
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 1800},
    }


def main() -> None:
    exclusive = [("accelerator_type", "accelerator_config")]
    exclusive += [("networks", option) for option in ("network", "subnetwork", "external_ips")]
    run_module(options(), lambda module, client: Node(module, client).execute(), mutually_exclusive=exclusive)


if __name__ == "__main__":
    main()
