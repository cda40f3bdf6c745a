# SPDX-License-Identifier: GPL-3.0-or-later
"""Local clouds for the tests of real machines; these need root."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import IPv4Network

import pytest

from localcloud import places
from localcloud.config import CloudConfig
from localcloud.machines import Machines

from .support import Cloud, CloudFactory, output


@pytest.fixture(scope="module")
def new_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudFactory]:
    """Makes clouds, each on a subnet that is free; takes them away at the end of the module."""
    with ExitStack() as stack:

        def make(subnet: IPv4Network | None = None) -> Cloud:
            state = tmp_path_factory.mktemp("cloud")
            bridge = CloudConfig(state).bridge
            with places.alone(print):  # other stages of the tests start clouds meanwhile
                config = CloudConfig(state, places.free_port(), subnet or places.free_subnet(bridge))
                machines = Machines(config)
                stack.callback(machines.teardown)
                machines.prepare(lambda _: None)
            key = state / "key"
            output("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
            return Cloud(config, machines, key)

        yield make
