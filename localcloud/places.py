# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a new cloud finds room on this machine, so that several come up side by side without being told how.

One that was killed hard keeps its bridge until its own `down`: it must not keep others from coming up. A
place is taken only by coming up there, so a cloud that chooses one holds `alone` until then.
"""

from __future__ import annotations

import fcntl
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from localcloud.config import DEFAULT_PORT, DEFAULT_SUBNET, CloudConfig
from localcloud.machines import MachineError, network

PORT_STEP = 10
_PLACES = 100
_LOCK = Path("/run/tpuops/places.lock")


@contextmanager
def alone(progress: Callable[[str], None]) -> Iterator[None]:
    """While the block runs no other new cloud of this host looks for a place; waits for one that does."""
    _LOCK.parent.mkdir(mode=0o700, exist_ok=True)
    with _LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another local cloud that is coming up")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def free_port() -> int:
    """The first of the default ports on which, and on the two after which, nobody listens."""
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _PLACES * PORT_STEP, PORT_STEP):
        if all(map(_is_free, CloudConfig(port=port).ports)):
            return port
    raise MachineError(f"no port from {DEFAULT_PORT} on is free: choose one with --port")


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_subnet(bridge: str) -> IPv4Network:
    """The first subnet, from the default one on, to which the host has no other route than over `bridge`."""
    first = IPv4Network(DEFAULT_SUBNET)
    if shutil.which("ip") is None:
        return first  # `up` asks for iproute2 next; without it there is no other cloud
    known = network.routes()
    for place in range(_PLACES):
        subnet = IPv4Network((int(first.network_address) + place * first.num_addresses, first.prefixlen))
        if not network.overlapping(known, subnet, bridge):
            return subnet
    raise MachineError(f"no subnet from {first} on is free: choose one with --subnet")
