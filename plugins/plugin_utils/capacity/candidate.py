# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A candidate: one place, accelerator type and kind of capacity to try."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json


@dataclass(frozen=True)
class Candidate:
    """A place to try.

    runtime_version: None where none is known for the accelerator type.
    provisioning: on-demand, spot, queued (a queued resource) or reserved.
    spot:         for a queued one, whether it asks for spot capacity.
    valid_for:    for a queued one, seconds after which Google drops the request.
    timeout:      seconds that it may take until the node is there.
    """

    zone: str
    accelerator_type: str
    runtime_version: str | None
    provisioning: str = "on-demand"
    spot: bool = False
    valid_for: int | None = None
    timeout: int = 1800

    def __str__(self) -> str:
        how = "queued spot" if self.queued and self.spot else self.provisioning
        return f"{self.zone} {self.accelerator_type} {how}"

    @property
    def queued(self) -> bool:
        return self.provisioning == "queued"

    @property
    def tier(self) -> str:
        """What it is paid as."""
        if self.queued:
            return "spot" if self.spot else "on-demand"
        return self.provisioning

    @property
    def node_options(self) -> Json:
        """The arguments of tpu_vm. The queued resource of a queued node has those for its capacity."""
        tiers = {"on-demand": {"spot": False}, "spot": {"spot": True}, "reserved": {"reserved": True}}
        return {
            "zone": self.zone,
            "accelerator_type": self.accelerator_type,
            **({"runtime_version": self.runtime_version} if self.runtime_version else {}),
            **tiers.get(self.provisioning, {}),
        }

    @property
    def queue_options(self) -> Json:
        valid = {} if self.valid_for is None else {"valid_until_duration": f"{self.valid_for}s"}
        return {**self.node_options, "spot": self.spot, **valid}

    def made(self, found: Mapping[str, Any]) -> bool:
        """Whether a node or queued resource of its zone is what it asks for."""
        if "tpu" in found:
            types = {spec.get("node", {}).get("acceleratorType") for spec in found["tpu"].get("nodeSpec", [])}
            return self.queued and self.spot == ("spot" in found) and types == {self.accelerator_type}
        scheduling = found.get("schedulingConfig", {})
        how = next((tier for tier in ("spot", "reserved") if scheduling.get(tier)), "on-demand")
        same = self.queued if found.get("queuedResource") else self.provisioning == how
        return same and found.get("acceleratorType") == self.accelerator_type

    def described(self) -> Json:
        """It as the task's result has it."""
        shown: Json = {
            key: getattr(self, key) for key in ("zone", "accelerator_type", "runtime_version", "provisioning")
        }
        return {**shown, "spot": self.spot} if self.queued else shown
