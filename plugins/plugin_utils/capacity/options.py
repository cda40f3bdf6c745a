# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that say where a node may come from, whose it is, what it costs and when it ends by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import generation
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import own_end
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import Cost, cost

CANDIDATE = {
    "zone": {"type": "str", "required": True},
    "accelerator_type": {"type": "str", "required": True},
    "runtime_version": {"type": "str"},
    "provisioning": {
        "type": "str",
        "choices": ["on-demand", "spot", "queued", "reserved"],
        "default": "on-demand",
    },
    "spot": {"type": "bool", "default": False},
    "valid_for": {"type": "int"},
    "timeout": {"type": "int"},
}

#: Options of the modules that create a node or report on it; the fragment tpu_capacity documents them.
NODE_OPTIONS: Mapping[str, Any] = {
    "candidates": {"type": "list", "elements": "dict", "required": True, "options": CANDIDATE},
    "disk": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "size_gb": {"type": "int"},
            "type": {"type": "str"},
        },
    },
    "labels": {"type": "dict", "default": {}},
    "owner": {"type": "str"},
    "prices": {"type": "dict", "default": {}},
    "limits": own_end.OPTIONS,
}


def make_candidates(options: Mapping[str, Any], timeout: int = 0) -> list[Candidate]:
    """The candidates. timeout: seconds that one may take which does not say it."""
    if not options["candidates"]:
        raise AnsibleActionFail("candidates: there is none. Name at least one zone and accelerator type.")
    return [_candidate(given, timeout) for given in options["candidates"]]


def _candidate(given: Mapping[str, Any], timeout: int) -> Candidate:
    kind = generation(given["accelerator_type"])
    # Of an unknown type tpu_vm says whether the zone has it at all, and then that a version is missing.
    version = given["runtime_version"] or (kind.runtime_version if kind else None)
    if given["provisioning"] != "queued" and (given["spot"] or given["valid_for"] is not None):
        raise AnsibleActionFail(
            f"candidates: spot and valid_for belong to provisioning=queued, not to "
            f"{given['provisioning']}. A spot node has provisioning=spot."
        )
    return Candidate(
        zone=given["zone"],
        accelerator_type=given["accelerator_type"],
        runtime_version=version,
        provisioning=given["provisioning"],
        spot=given["spot"],
        valid_for=given["valid_for"],
        timeout=given["timeout"] or timeout,
    )


def limits_of(options: Json) -> own_end.Limits:
    return own_end.Limits(**(options["limits"] or {}))


def make_limits(options: Json, candidates: list[Candidate]) -> own_end.Limits:
    """When the node ends by itself. Refuses what a candidate cannot have."""
    limits = limits_of(options)
    if problem := limits.problem(candidates):
        raise AnsibleActionFail(problem)
    return limits


def priced(candidate: Candidate, data_disk: Json | None, prices: Json) -> Json:
    """What an hour of a candidate costs, with the data disk, if there is one."""
    disk = data_disk or {}
    kind = generation(candidate.accelerator_type)
    disk_type = disk.get("type") or (kind.disk_type if kind else "pd-balanced")
    found: Cost = cost(
        prices,
        candidate.zone,
        candidate.accelerator_type,
        candidate.tier,
        disk_type if disk else "",
        disk.get("size_gb") or 0,
    )
    return {
        "label": str(candidate),
        "zone": candidate.zone,
        "accelerator_type": candidate.accelerator_type,
        "cost": str(found),
        "node_hour": found.node,
        "disk_hour": found.disk,
        "total_hour": found.total,
        "currency": found.currency,
    }
