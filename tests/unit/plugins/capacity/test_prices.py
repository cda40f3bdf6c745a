# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.accelerators import (
    GENERATIONS,
    chips,
    generation,
)
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prices import cost, origin

TABLE = Path(__file__).parents[4] / "roles" / "tpu_vm" / "defaults" / "main" / "prices.yml"
PRICES: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))["tpu_vm_prices"]


@pytest.mark.parametrize(
    ("accelerator_type", "count", "name"),
    [
        ("v5litepod-8", 8, "v5e"),
        ("v6e-16", 16, "v6e"),
        ("v5p-8", 4, "v5p"),
        ("v4-32", 16, "v4"),
        ("v3-8", 4, "v3"),
    ],
)
def test_chips_of_a_type(accelerator_type: str, count: int, name: str) -> None:
    kind = generation(accelerator_type)
    assert (chips(accelerator_type), kind and kind.name) == (count, name)


def test_a_type_that_is_not_known() -> None:
    assert (chips("v9x-8"), generation("v9x-8")) == (None, None)


def test_an_hour_of_a_node_and_its_disk() -> None:
    found = cost(PRICES, "us-west1-c", "v5litepod-8", "on-demand", "pd-balanced", 256)
    assert found.node == pytest.approx(9.6)
    assert found.disk == pytest.approx(25.6 / 730)
    assert str(found) == "9.635 USD an hour (node 9.600, disk 0.035)"


def test_spot_is_cheaper_everywhere() -> None:
    tiers = [tiers for regions in PRICES["chip_hour"].values() for tiers in regions.values()]
    assert all(tier["spot"] < tier["on-demand"] for tier in tiers if "spot" in tier)


@pytest.mark.parametrize(
    ("zone", "accelerator_type", "tier", "said"),
    [
        (
            "us-west1-c",
            "v9x-8",
            "on-demand",
            "no price known for v9x-8 (on-demand), whose chips are not known here, in us-west1; disk 0.035",
        ),
        (
            "us-central1-a",
            "v3-8",
            "spot",
            "no price known for v3-8 (spot) in us-central1 (give chip_hour.v3.us-central1.spot in "
            "tpu_vm_prices); disk 0.035",
        ),
        (
            "us-west1-c",
            "v5litepod-8",
            "reserved",
            "no price known for v5litepod-8 (reserved) in us-west1 (give chip_hour.v5e.us-west1.reserved in "
            "tpu_vm_prices); disk 0.035",
        ),
        (
            "us-west4-a",
            "v5litepod-8",
            "on-demand",
            "no price known for pd-balanced in us-west4 (give disk_gb_month.pd-balanced.us-west4 in "
            "tpu_vm_prices); node 9.600",
        ),
    ],
)
def test_what_has_no_price_is_never_guessed(zone: str, accelerator_type: str, tier: str, said: str) -> None:
    found = cost(PRICES, zone, accelerator_type, tier, "pd-balanced", 256)
    assert (found.total, str(found)) == (None, said)


def test_the_keys_that_are_named_give_the_price() -> None:
    unknown = cost({}, "us-west4-a", "v5litepod-8", "reserved", "pd-ssd", 730)
    assert unknown.keys == ("chip_hour.v5e.us-west4.reserved", "disk_gb_month.pd-ssd.us-west4")
    given: dict[str, Any] = {"currency": "USD"}
    for key in unknown.keys:
        *parents, last = key.split(".")
        place = given
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = 0.5
    assert cost(given, "us-west4-a", "v5litepod-8", "reserved", "pd-ssd", 730).total == pytest.approx(4.5)


def test_the_table_says_where_it_is_from() -> None:
    assert origin(PRICES).startswith(f"prices of {PRICES['date']} from tpu_vm_prices, ")
    assert PRICES["chip_hour"].keys() == {kind.name for kind in GENERATIONS.values()}


def test_no_table_at_all() -> None:
    assert cost({}, "us-west1-c", "v5litepod-8", "spot").total is None
    assert origin({}).startswith("prices of an unknown date from tpu_vm_prices")
