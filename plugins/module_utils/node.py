# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node of the TPU API is made of: the options, the body that they give, and what is compared.

Shared by the modules tpu_vm, which keeps a node, and tpu_queued_resource, which asks for nodes; the doc
fragment tpuops.maxtext.tpu_node documents the options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.fields import Field, given, texts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import METADATA_KEY, merge
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus, by_size, short_name

_TEXT: Json = {"type": "str"}
_NEEDED: Json = {"type": "str", "required": True}
_FLAG: Json = {"type": "bool"}
_TABLE: Json = {"type": "dict"}
_TEXTS: Json = {"type": "list", "elements": "str"}


def _dicts(**options: Json) -> Json:
    return {"type": "list", "elements": "dict", "options": options}


_INTERFACE: Json = {
    "network": _TEXT,
    "subnetwork": _TEXT,
    "external_ips": _FLAG,
    "can_ip_forward": _FLAG,
    "queue_count": {"type": "int"},
}
OPTIONS: Json = {
    "accelerator_type": _TEXT,
    "accelerator_config": {
        "type": "dict",
        "options": {
            "type": {**_NEEDED, "choices": ["V2", "V3", "V4", "V5LITE_POD", "V5P", "V6E"]},
            "topology": _NEEDED,
        },
    },
    "runtime_version": _TEXT,
    "description": _TEXT,
    "labels": _TABLE,
    "tags": _TEXTS,
    "metadata": _TABLE,
    "startup_script": _TEXT,
    "ssh_keys": {**_dicts(user=_NEEDED, key={**_NEEDED, "no_log": False}), "no_log": False},
    "data_disks": _dicts(
        source=_NEEDED,
        mode={"type": "str", "choices": ["read-write", "read-only"], "default": "read-write"},
    ),
    **_INTERFACE,
    "networks": _dicts(**{**_INTERFACE, "external_ips": {"type": "bool", "default": False}}),
    "cidr_block": _TEXT,
    "service_account": {"type": "dict", "options": {"email": _TEXT, "scopes": _TEXTS}},
    "secure_boot": _FLAG,
    "boot_disk_kms_key": {"type": "str", "no_log": False},
    "recreate": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 1800},
}
EXCLUSIVE = [("accelerator_type", "accelerator_config"), *(("networks", option) for option in _INTERFACE)]


def _same_name(have: str, want: str) -> bool:
    """Google answers a short name with a full path."""
    return have == want if "/" in want else short_name(have) == want


def _same_set(have: list[str], want: list[str]) -> bool:
    return sorted(have) == sorted(want)


def _same_disks(have: list[dict[str, str]], want: list[dict[str, str]]) -> bool:
    """Paths may come back with the project's number, or as an address."""

    def key(disk: dict[str, str]) -> tuple[str, str]:
        return disk["sourceDisk"].rpartition("/zones/")[2], disk.get("mode", "READ_WRITE")

    return sorted(map(key, have)) == sorted(map(key, want))


def _same_interfaces(have: list[Json], want: list[Json]) -> bool:
    """What is false or 0 may be left out of what comes back."""

    def same(is_there: Json, wanted: Json) -> bool:
        return all(
            _same_name(is_there.get(key, ""), value)
            if isinstance(value, str)
            else is_there.get(key, type(value)()) == value
            for key, value in wanted.items()
        )

    return len(have) == len(want) and all(map(same, have, want))


FIELDS = (
    Field("acceleratorType", "accelerator_type"),
    Field("acceleratorConfig.type", "accelerator_config.type"),
    Field("acceleratorConfig.topology", "accelerator_config.topology"),
    Field("runtimeVersion", "runtime_version"),
    Field("description", "description", mutable=True, default=""),
    Field("labels", "labels", mutable=True, default={}),
    Field("tags", "tags", mutable=True, default=[], same=_same_set),
    Field("metadata", "metadata", mutable=True, default={}),
    Field("dataDisks", "data_disks", mutable=True, default=[], same=_same_disks),
    Field("schedulingConfig.spot", "spot", default=False),
    Field("schedulingConfig.preemptible", "preemptible", default=False),
    Field("schedulingConfig.reserved", "reserved", default=False),
    Field("networkConfig.network", "network", default="default", same=_same_name),
    Field("networkConfig.subnetwork", "subnetwork", default="default", same=_same_name),
    Field("networkConfig.enableExternalIps", "external_ips", mutable=True, default=False),
    Field("networkConfig.canIpForward", "can_ip_forward", default=False),
    Field("networkConfig.queueCount", "queue_count", default=0),
    Field("networkConfigs", "networks", default=[], same=_same_interfaces),
    Field("cidrBlock", "cidr_block"),
    Field("serviceAccount.email", "service_account.email"),
    Field("serviceAccount.scope", "service_account.scopes", default=[], same=_same_set),
    Field("shieldedInstanceConfig.enableSecureBoot", "secure_boot", default=False),
    Field("bootDiskConfig.customerEncryptionKey.kmsKeyName", "boot_disk_kms_key"),
)


def body(options: Json, tpus: Tpus, current: Json | None) -> Json:
    """A Node as the options want it, without what they leave out.

    current: the node that is there, None for a new one. Its metadata stays under what the options name, and
             a new one alone gets an external address unasked.
    """
    external = True if current is None and options["networks"] is None else None
    account = options["service_account"] or {}
    scheduling = {key: options.get(key) for key in ("spot", "preemptible", "reserved")}
    return given(
        acceleratorType=options["accelerator_type"],
        acceleratorConfig=options["accelerator_config"],
        runtimeVersion=options["runtime_version"],
        description=options["description"],
        labels=texts(options["labels"]),
        tags=options["tags"],
        metadata=_metadata(options, (current or {}).get("metadata", {})),
        dataDisks=_data_disks(options["data_disks"], tpus),
        schedulingConfig=given(**scheduling) or None,
        networkConfig=_interface(options, external) or None,
        networkConfigs=options["networks"] and [_interface(item, None) for item in options["networks"]],
        cidrBlock=options["cidr_block"],
        serviceAccount=given(email=account.get("email"), scope=account.get("scopes")) or None,
        shieldedInstanceConfig=given(enableSecureBoot=options["secure_boot"]) or None,
        bootDiskConfig=options["boot_disk_kms_key"]
        and {"customerEncryptionKey": {"kmsKeyName": options["boot_disk_kms_key"]}},
    )


def _metadata(options: Json, present: dict[str, str]) -> dict[str, str] | None:
    wanted = texts(options["metadata"]) or {}
    if options["startup_script"] is not None:
        wanted["startup-script"] = options["startup_script"]
    if options["ssh_keys"]:
        lines = wanted.get(METADATA_KEY, present.get(METADATA_KEY, ""))
        wanted[METADATA_KEY] = merge(lines, options["ssh_keys"])
    return {**present, **wanted} if wanted else None


def _data_disks(disks: Sequence[Mapping[str, str]] | None, tpus: Tpus) -> list[dict[str, str]] | None:
    if disks is None:
        return None
    here = f"projects/{tpus.project}/zones/{tpus.zone}/disks/"
    modes = {"read-write": "READ_WRITE", "read-only": "READ_ONLY"}
    return [
        {
            "sourceDisk": disk["source"] if "/" in disk["source"] else here + disk["source"],
            "mode": modes[disk["mode"]],
        }
        for disk in disks
    ]


def _interface(options: Mapping[str, Any], external: bool | None) -> Json:
    """A NetworkConfig; `external` is used for an option that is not set."""
    return given(
        network=options["network"],
        subnetwork=options["subnetwork"],
        enableExternalIps=options["external_ips"] if options["external_ips"] is not None else external,
        canIpForward=options["can_ip_forward"],
        queueCount=options["queue_count"],
    )


def check_offer(node: Json, tpus: Tpus, noun: str) -> None:
    """Refuse a new node that is not complete, or whose accelerator the zone does not offer.

    noun: what needs it, for the message.
    """
    if not {"acceleratorType", "acceleratorConfig"} & node.keys():
        raise InvalidArgument("accelerator_type is not set", remedy=f"A new {noun} needs it.")
    offers = tpus.accelerator_types()
    if "acceleratorConfig" in node:
        config = node["acceleratorConfig"]
        option, value = "accelerator_config", f"{config['type']} {config['topology']}"
        offered = any(config in offer.get("acceleratorConfigs", []) for offer in offers)
    else:
        option, value = "accelerator_type", node["acceleratorType"]
        offered = any(offer.get("type") == value for offer in offers)
    if not offered:
        types = by_size(str(offer.get("type")) for offer in offers)
        raise InvalidArgument(
            f"{option}: the zone {tpus.zone} does not offer {value}",
            remedy=f"It offers: {', '.join(types) or 'no TPU at all'}.",
        )
    if "runtimeVersion" not in node:
        raise InvalidArgument(
            "runtime_version is not set",
            remedy=f"A new {noun} needs it. tpuops.maxtext.tpu_types_info lists those of {tpus.zone}.",
        )


def snake_case(path: str) -> str:
    """The path as update masks have it: networkConfig.network is network_config.network."""
    return re.sub("([A-Z])", lambda match: "_" + match[1].lower(), path)
