# SPDX-License-Identifier: GPL-3.0-or-later
"""A new cloud finds room beside whatever else has ports and subnets."""

from __future__ import annotations

import shutil
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path

import click
import pytest

from localcloud import cli, lifecycle, places
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
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Ports that are taken."""
    ports: set[int] = set()
    monkeypatch.setattr(places, "_is_free", lambda port: port not in ports)
    return ports


def test_a_bridge_that_was_left_behind_keeps_no_other_cloud_from_coming_up(
    routes: list[dict[str, str]], taken: set[int], seen: list[CloudConfig], tmp_path: Path
) -> None:
    routes.append({"dst": "10.128.0.0/24", "dev": "tpu01234567"})
    taken.add(DEFAULT_PORT + 2)
    invoke("--state-dir", str(tmp_path), "up")
    assert [(config.port, str(config.subnet)) for config in seen] == [(DEFAULT_PORT + 10, "10.128.1.0/24")]


def test_a_cloud_comes_up_again_where_its_own_bridge_is(
    routes: list[dict[str, str]], taken: set[int], seen: list[CloudConfig], tmp_path: Path
) -> None:
    routes.append({"dst": "10.128.0.0/24", "dev": CloudConfig(tmp_path).bridge})
    invoke("--state-dir", str(tmp_path), "up")
    assert [str(config.subnet) for config in seen] == ["10.128.0.0/24"]


def test_two_clouds_that_come_up_at_once_take_a_place_each(
    routes: list[dict[str, str]],
    taken: set[int],
    seen: list[CloudConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first_is_coming_up, second_waits = threading.Event(), threading.Event()

    def up(config: CloudConfig, progress: object) -> None:
        first_is_coming_up.set()
        assert second_waits.wait(30)
        routes.append({"dst": str(config.subnet), "dev": config.bridge})
        taken.update(config.ports)
        seen.append(config)

    def echo(message: str) -> None:
        if message.startswith("waiting for another local cloud"):
            second_waits.set()

    monkeypatch.setattr(lifecycle, "up", up)
    monkeypatch.setattr(click, "echo", echo)
    with ThreadPoolExecutor(2) as threads:
        for name in ("a", "b"):
            arguments = ["--state-dir", str(tmp_path / name), "up"]
            threads.submit(cli.main, arguments, standalone_mode=False)
            assert first_is_coming_up.wait(30)
    assert [(config.port, str(config.subnet)) for config in seen] == [
        (DEFAULT_PORT, "10.128.0.0/24"),
        (DEFAULT_PORT + 10, "10.128.1.0/24"),
    ]


def test_no_room_is_an_error_that_names_the_option(
    routes: list[dict[str, str]], taken: set[int], seen: list[CloudConfig], tmp_path: Path
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
