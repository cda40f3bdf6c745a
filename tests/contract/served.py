# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud that serves in this process, and everything that it says and is told.

It is the whole server, over HTTP. Where no machine is needed it has none that runs, so nodes cost no time.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from localcloud import hub, places
from localcloud.config import CloudConfig
from localcloud.exchanges import Exchange, Recording
from localcloud.google import operations
from localcloud.machines import Machines
from localcloud.server import Server
from localcloud.tiny import seed_hub
from tests.exchanges import judge, method_of
from tests.unit.localcloud.google_client import FakeMachines

Description = dict[str, Any]
RESOURCES = ("node", "disk", "queued-resource")
#: Without machines there is no bridge. A client that connects to a worker's address is refused at once, and
#: never reaches another cloud's machine.
LOOPBACK = IPv4Network("127.128.0.0/24")


class OpenRequests:
    """Middleware: `paths` has an item for each request that is not answered yet."""

    def __init__(self, application: ASGIApp, paths: list[str]) -> None:
        self._application = application
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._paths.append(scope["path"])
        try:
            await self._application(scope, receive, send)
        finally:
            self._paths.remove(scope["path"])


@dataclass
class Served:
    """A cloud that serves.

    exchanges: all that clients and Google's APIs have said to each other; open_requests: the paths of the
    requests that are not answered yet.
    """

    description: Description
    server: Server
    exchanges: list[Exchange] = field(default_factory=list)
    open_requests: list[str] = field(default_factory=list)

    def fault(
        self, kind: str, where: dict[str, str], count: int | None = None, seconds: float | None = None
    ) -> None:
        """Arm a fault, as the command of that name does."""
        self.server.cloud.faults.arm(kind, where, count, seconds)

    def clear(self) -> None:
        self.server.cloud.faults.clear()

    def records(self) -> list[str]:
        """The names of all nodes, disks and queued resources."""
        return [name for kind in RESOURCES for name, _ in self.server.cloud.store.items(kind)]

    def settle(self) -> None:
        """Wait until no request and no operation is under way. A client may have left before its answer."""
        deadline = time.monotonic() + 30
        while under_way := [*self.open_requests, *self.operations()]:
            assert time.monotonic() < deadline, under_way
            time.sleep(0.01)

    def operations(self) -> list[str]:
        """The names of the operations that are under way."""
        items = self.server.cloud.store.items(operations.KIND)
        return [name for name, record in items if not record["done"]]

    def since(self, mark: int) -> list[Exchange]:
        """The exchanges with methods of Google's APIs after the first `mark`."""
        return [exchange for exchange in self.exchanges[mark:] if method_of(exchange)]


def prepared(config: CloudConfig) -> Machines:
    machines = Machines(config)
    machines.prepare(print)
    return machines


@contextmanager
def serving(state_dir: Path, *, machines: bool = False) -> Iterator[Served]:
    """A cloud while the block runs; at its end every exchange is held against Google's own definitions.

    machines: whether nodes are machines, which `localcloud down` must take away at last. Without them nodes
    are records with addresses, and no more.
    """
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    exchanges: list[Exchange] = []
    open_requests: list[str] = []
    hub_store = hub.HubStore(state_dir / "hub")
    seed_hub(hub_store, CloudConfig(state_dir), print)
    with places.alone(print):
        subnet = places.free_subnet(CloudConfig(state_dir).bridge) if machines else LOOPBACK
        config = CloudConfig(state_dir, places.free_port(), subnet)
        server = Server(
            config,
            prepared(config) if machines else cast(Machines, FakeMachines(network="127.128.0.")),
            hub_store,
            watch=lambda application: OpenRequests(Recording(application, exchanges.append), open_requests),
            pace=1.0 if machines else 0.05,
        )
    thread = threading.Thread(target=server.run, name="local cloud", daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.uvicorn.started:
        assert thread.is_alive(), "the server ended as it started"
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    description: Description = json.loads((state_dir / "localcloud.json").read_text(encoding="utf-8"))
    try:
        yield Served(description, server, exchanges, open_requests)
    finally:
        server.cloud.faults.clear()
        server.uvicorn.should_exit = True
        thread.join(30)
    judge(exchanges)
