# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and firewall rules of the machines' network."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcloud.machines import MachineError, firewall
from localcloud.machines.network import Names, connect_commands, free_number, hardware_address, overlapping

SUBNET = IPv4Network("10.99.0.0/24")
NAMES = Names("0123abcd")


@given(st.sets(st.integers(2, 253)))
def test_a_machine_gets_the_lowest_free_address_beyond_the_bridge(taken: set[int]) -> None:
    number = free_number(SUBNET, taken)
    assert number not in taken
    assert SUBNET[1] < SUBNET[number] < SUBNET.broadcast_address
    assert all(lower in taken for lower in range(2, number))


def test_a_full_subnet_is_an_error_that_names_it() -> None:
    with pytest.raises(MachineError, match=r"all addresses of 10.99.0.0/29 are in use"):
        free_number(IPv4Network("10.99.0.0/29"), range(2, 7))


@given(st.integers(0, 2**32 - 1), st.integers(2, 65534))
def test_interface_names_fit_into_the_kernels_15_characters(instance: int, number: int) -> None:
    names = Names(f"{instance:08x}")
    assert len(names.bridge) <= 15
    assert len(names.link(number)) <= 15


def test_hardware_addresses_are_googles() -> None:
    assert hardware_address(IPv4Address("10.128.0.5")) == "42:01:0a:80:00:05"


def test_connecting_a_machine() -> None:
    host, inside = connect_commands(NAMES, 7, SUBNET)
    assert host.splitlines() == [
        "link add v0123ab-7 type veth peer name eth0 address 42:01:0a:63:00:07 netns tpuops-0123abcd-7",
        "link set v0123ab-7 master tpu0123abcd up",
    ]
    assert inside.splitlines() == [
        "link set lo up",
        "address add 10.99.0.7/24 dev eth0",
        "link set eth0 up",
        "route add default via 10.99.0.1",
    ]


@pytest.mark.parametrize(
    ("dst", "dev", "conflict"),
    [
        ("default", "eth0", ""),
        ("10.98.0.0/16", "eth0", ""),
        ("10.99.0.0/24", "tpu0123abcd", ""),
        ("10.99.0.0/16", "eth0", "10.99.0.0/16 on eth0"),
        ("10.99.0.9", "wg0", "10.99.0.9 on wg0"),
    ],
)
def test_a_subnet_in_use_elsewhere_is_noticed(dst: str, dev: str, conflict: str) -> None:
    assert overlapping([{"dst": dst, "dev": dev}], SUBNET, "tpu0123abcd") == conflict


def test_a_route_without_an_interface_counts_too() -> None:
    assert (
        overlapping([{"type": "blackhole", "dst": "10.0.0.0/8"}], SUBNET, "b") == "10.0.0.0/8 on no interface"
    )


def test_the_table_translates_only_this_clouds_traffic() -> None:
    table = firewall.own_table("tpuops_0123abcd", "tpu0123abcd", SUBNET, 18512)
    assert 'iifname "tpu0123abcd" ip daddr 169.254.169.254 tcp dport 80 dnat to 10.99.0.1:18512' in table
    assert 'ip saddr 10.99.0.0/24 oifname != "tpu0123abcd" masquerade' in table


def chain(family: str, table: str, name: str, **hook: str) -> dict[str, dict[str, str]]:
    return {"chain": {"family": family, "table": table, "name": name, **hook}}


RULESET: list[dict[str, Any]] = [
    {"metainfo": {"version": "1.0.6"}},
    {"table": {"family": "ip", "name": "filter", "handle": 1}},
    {"table": {"family": "inet", "name": "other", "handle": 2}},
    chain("ip", "filter", "FORWARD", type="filter", hook="forward", policy="drop"),
    chain("ip", "filter", "DOCKER"),
    chain("inet", "other", "in", type="filter", hook="input", policy="accept"),
    chain("inet", "other", "out", type="filter", hook="output", policy="drop"),
    chain("ip6", "filter", "FORWARD", type="filter", hook="forward", policy="drop"),
    chain("ip", "nat", "PREROUTING", type="nat", hook="prerouting"),
    {
        "rule": {
            "family": "ip",
            "table": "filter",
            "chain": "FORWARD",
            "handle": 9,
            "comment": "tpuops_0123abcd",
        }
    },
    {
        "rule": {
            "family": "ip",
            "table": "filter",
            "chain": "FORWARD",
            "handle": 10,
            "comment": "tpuops_ffffffff",
        }
    },
    {"rule": {"family": "ip", "table": "filter", "chain": "FORWARD", "handle": 11}},
]


def test_machines_are_let_through_the_hosts_filters() -> None:
    assert firewall.openings(RULESET, "tpuops_0123abcd", "tpu0123abcd").splitlines() == [
        "insert rule ip filter FORWARD iifname tpu0123abcd accept comment tpuops_0123abcd",
        "insert rule ip filter FORWARD oifname tpu0123abcd accept comment tpuops_0123abcd",
        "insert rule inet other in iifname tpu0123abcd accept comment tpuops_0123abcd",
    ]


def test_only_this_clouds_rules_are_taken_back() -> None:
    assert firewall.closings(RULESET, "tpuops_0123abcd") == "delete rule ip filter FORWARD handle 9\n"


def test_tables_of_other_families_do_not_count() -> None:
    assert firewall.tables(RULESET) == {"filter"}
