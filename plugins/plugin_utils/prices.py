# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an hour of a node and its disk costs, by a table of prices that the user gives.

The table (the variable tpu_vm_prices has it) says where it comes from and of which day it is:

    currency:      of all prices.
    date, source:  of the table.
    chip_hour:     generation -> region -> on-demand, spot or reserved -> price of a chip for an hour.
    disk_gb_month: disk type -> region -> price of a GB for a month.

What the table does not have is not known; nothing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import chips, generation

HOURS_A_MONTH = 730  # as Google counts


@dataclass(frozen=True)
class Cost:
    """Prices for an hour, None where the table has none.

    node: of all chips; disk: of the disk, 0 without one; missing: what has no price; keys: those of the table
    by which the user gives it.
    """

    node: float | None
    disk: float | None
    missing: tuple[str, ...]
    keys: tuple[str, ...]
    currency: str

    @property
    def total(self) -> float | None:
        return None if self.node is None or self.disk is None else self.node + self.disk

    def __str__(self) -> str:
        known = [
            f"{what} {price:.3f}"
            for what, price in (("node", self.node), ("disk", self.disk))
            if price is not None
        ]
        if self.total is None:
            give = f" (give {' and '.join(self.keys)} in tpu_vm_prices)" if self.keys else ""
            return "; ".join([f"no price known for {' and '.join(self.missing)}{give}", *known[:1]])
        return f"{self.total:.3f} {self.currency} an hour ({', '.join(known)})"


def cost(
    prices: Mapping[str, Any],
    zone: str,
    accelerator_type: str,
    tier: str,
    disk_type: str = "",
    disk_gb: int = 0,
) -> Cost:
    """What an hour costs. tier: on-demand, spot or another of the table; disk_type: "" for no disk."""
    region = zone.rpartition("-")[0]
    node = node_hour(prices, zone, accelerator_type, tier)
    disk = disk_hour(prices, zone, disk_type, disk_gb) if disk_type else 0.0
    kind, missing, keys = generation(accelerator_type), [], []
    if node is None:
        unknown = "" if kind else ", whose chips are not known here,"
        missing.append(f"{accelerator_type} ({tier}){unknown} in {region}")
    if node is None and kind:
        keys.append(f"chip_hour.{kind.name}.{region}.{tier}")
    if disk is None:
        missing.append(f"{disk_type} in {region}")
        keys.append(f"disk_gb_month.{disk_type}.{region}")
    return Cost(node, disk, tuple(missing), tuple(keys), str(prices.get("currency", "")))


def node_hour(prices: Mapping[str, Any], zone: str, accelerator_type: str, tier: str) -> float | None:
    """What all chips of a node cost for an hour."""
    kind, count = generation(accelerator_type), chips(accelerator_type)
    region = zone.rpartition("-")[0]
    chip = _price(prices, "chip_hour", kind.name if kind else accelerator_type, region, tier)
    return None if chip is None or count is None else chip * count


def disk_hour(prices: Mapping[str, Any], zone: str, disk_type: str, disk_gb: int) -> float | None:
    gigabyte = _price(prices, "disk_gb_month", disk_type, zone.rpartition("-")[0])
    return None if gigabyte is None else gigabyte * disk_gb / HOURS_A_MONTH


def _price(prices: Mapping[str, Any], *keys: str) -> float | None:
    value: Any = prices
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else float(value)


def origin(prices: Mapping[str, Any]) -> str:
    """What a reader of the prices must know; the table itself says where they come from."""
    return (
        f"prices of {prices.get('date', 'an unknown date')} from tpu_vm_prices, without taxes and discounts; "
        "check them"
    )
