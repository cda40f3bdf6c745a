# SPDX-License-Identifier: GPL-3.0-or-later
"""A new cloud finds room beside whatever else has ports and subnets."""

from __future__ import annotations

import shutil
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from localcloud import places
from localcloud.config import DEFAULT_PORT, CloudConfig
from localcloud.machines import network
from tests.unit.localcloud.test_cli import invoke, seen

__all__ = ["seen"]


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The host's routes."""
    known = [{"dst": "default", "dev": "eth0"}, {"dst": "192.168.0.0/24", "dev": "eth0"}]
    monkeypatch.setattr(network, "routes", lambda: known)
    monkeypatch.setattr(shutil, "which", lambda name: f"/sbin/{name}")
    return known


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that are taken."""
    taken: set[int] = set()
    monkeypatch.setattr(places, "_is_free", lambda port: port not in taken)
    return taken


def test_a_bridge_that_was_left_behind_keeps_no_other_cloud_from_coming_up(
    routes: list[dict[str, str]], free: set[int], seen: list[CloudConfig], tmp_path: Path
) -> None:
    routes.append({"dst": "10.128.0.0/24", "dev": "tpu01234567"})
    free.add(DEFAULT_PORT + 2)
    invoke("--state-dir", str(tmp_path), "up")
    assert [(config.port, str(config.subnet)) for config in seen] == [(DEFAULT_PORT + 10, "10.128.1.0/24")]


def test_a_cloud_comes_up_again_where_its_own_bridge_is(
    routes: list[dict[str, str]], free: set[int], seen: list[CloudConfig], tmp_path: Path
) -> None:
    routes.append({"dst": "10.128.0.0/24", "dev": CloudConfig(tmp_path).bridge})
    invoke("--state-dir", str(tmp_path), "up")
    assert [str(config.subnet) for config in seen] == ["10.128.0.0/24"]


def test_no_room_is_an_error_that_names_the_option(
    routes: list[dict[str, str]], free: set[int], seen: list[CloudConfig], tmp_path: Path
) -> None:
    routes.append({"dst": "10.0.0.0/8", "dev": "tun0"})
    result = invoke("--state-dir", str(tmp_path), "up", status=1)
    assert "no subnet from 10.128.0.0/24 on is free: choose one with --subnet" in result.output
    assert seen == []


def test_without_iproute2_the_subnet_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert places.free_subnet("tpu01234567") == IPv4Network("10.128.0.0/24")


def test_a_port_on_which_somebody_listens_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert not places._is_free(listener.getsockname()[1])
