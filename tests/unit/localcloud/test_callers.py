# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose process a connection belongs to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcloud import callers

NOBODY = 65534


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_the_owner_of_a_connection_is_known(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        assert callers.owner(client.getsockname(), listener.getsockname()) == os.geteuid()


def test_a_connection_by_ipv6_is_known_too(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.socket(socket.AF_INET6) as client:
        client.connect(("::ffff:127.0.0.1", port))
        assert callers.owner(("127.0.0.1", client.getsockname()[1]), ("127.0.0.1", port)) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user_is_told_from_root(listener: socket.socket) -> None:
    os.seteuid(NOBODY)
    try:
        client = socket.create_connection(listener.getsockname())
    finally:
        os.seteuid(0)
    with client:
        assert callers.owner(client.getsockname(), listener.getsockname()) == NOBODY


def test_a_connection_that_its_process_has_closed_is_nobodys(listener: socket.socket) -> None:
    """The kernel shows user 0 for it."""
    client = socket.create_connection(listener.getsockname())
    address = client.getsockname()
    client.close()
    assert callers.owner(address, listener.getsockname()) is None


@pytest.mark.parametrize("address", ["10.1.2.3", "not an address", ""])
def test_a_connection_from_elsewhere_is_nobodys(listener: socket.socket, address: str) -> None:
    assert callers.owner((address, 40000), listener.getsockname()) is None


def test_a_table_that_is_not_there_has_no_connections(tmp_path: Path) -> None:
    assert callers.owner(("127.0.0.1", 1), ("127.0.0.1", 2), tables=[tmp_path / "tcp"]) is None
