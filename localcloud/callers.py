# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose process has the other end of a TCP connection on this host."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

#: A client may have reached an IPv4 address by a socket of IPv6.
TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_ESTABLISHED = "01"
_MAPPED = "0000000000000000FFFF0000"

Address = tuple[str, int]


def owner(client: Address, server: Address, tables: Iterable[Path] = TABLES) -> int | None:
    """The user (its number) whose process connected `client` to `server`, IPv4 addresses and ports.

    None where this host has no such connection. One that its process has closed has no user any more: the
    kernel then shows root's number, so that only connections that are open at both ends count.
    """
    try:
        ends = {(prefix + _encoded(client), prefix + _encoded(server)) for prefix in ("", _MAPPED)}
    except OSError:  # no IPv4 address
        return None
    for table in tables:
        with suppress(FileNotFoundError):
            for line in table.read_text().splitlines()[1:]:
                fields = line.split()
                if (fields[1], fields[2]) in ends and fields[3] == _ESTABLISHED:
                    return int(fields[7])
    return None


def _encoded(address: Address) -> str:
    """An address as the kernel's tables have it: in the byte order of a little-endian host."""
    return f"{socket.inet_aton(address[0])[::-1].hex().upper()}:{address[1]:04X}"
