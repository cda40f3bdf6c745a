# SPDX-License-Identifier: GPL-3.0-or-later
"""nftables input for one cloud: its own table, and a way through the host's other filters.

Works on the ruleset as `nft -json list ruleset` gives it (the list under "nftables"). The rules that a cloud
adds to the tables of others carry the name of its own table as comment, by which they are found again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network
from typing import Any

METADATA_ADDRESS = "169.254.169.254"

Ruleset = Sequence[dict[str, Any]]


def tables(ruleset: Ruleset) -> set[str]:
    """Names of the IPv4 tables."""
    return {entry["table"]["name"] for entry in ruleset if entry.get("table", {}).get("family") == "ip"}


def own_table(table: str, bridge: str, subnet: IPv4Network, metadata_port: int) -> str:
    """The cloud's table, in place of an older one: the way out, and the metadata server's address."""
    return f"""\
add table ip {table}
delete table ip {table}
table ip {table} {{
    chain prerouting {{
        type nat hook prerouting priority dstnat
        iifname "{bridge}" ip daddr {METADATA_ADDRESS} tcp dport 80 dnat to {subnet[1]}:{metadata_port}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        ip saddr {subnet} oifname != "{bridge}" masquerade
    }}
}}
"""


def openings(ruleset: Ruleset, table: str, bridge: str) -> str:
    """Rules that let the machines through every filter that the host has (Docker's, ufw's, its own).

    Such filters drop what they do not know: what the machines send to the internet, and to the servers on the
    bridge.
    """
    interfaces = {"forward": ("iifname", "oifname"), "input": ("iifname",)}
    return "".join(
        f"insert rule {c['family']} {c['table']} {c['name']} {match} {bridge} accept comment {table}\n"
        for c in _filters(ruleset)
        for match in interfaces.get(c["hook"], ())
    )


def closings(ruleset: Ruleset, table: str) -> str:
    """Removal of the rules that `openings` added."""
    rules = [entry["rule"] for entry in ruleset if entry.get("rule", {}).get("comment") == table]
    return "".join(
        f"delete rule {r['family']} {r['table']} {r['chain']} handle {r['handle']}\n" for r in rules
    )


def _filters(ruleset: Ruleset) -> Iterator[dict[str, Any]]:
    for entry in ruleset:
        chain = entry.get("chain", {})
        if chain.get("type") == "filter" and chain["family"] in ("ip", "inet"):
            yield chain
