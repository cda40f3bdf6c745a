# SPDX-License-Identifier: GPL-3.0-or-later
"""One process that serves all of a cloud: Google's APIs, the Hub and the metadata server, a port each."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from localcloud import admin, description, hub, machine_faults
from localcloud.cloud import Cloud
from localcloud.config import CloudConfig
from localcloud.exchanges import ExchangeFile, Recording
from localcloud.google import (
    capacity,
    compute,
    metadata,
    oauth,
    oslogin,
    queued,
    resourcemanager,
    serviceusage,
    tpu,
)
from localcloud.google.errors import ApiError
from localcloud.google.nodes import NodeWork
from localcloud.json_types import Json
from localcloud.machines import Machines
from localcloud.state import Store
from localcloud.tiny import seed_hub

log = logging.getLogger("localcloud")

APIS = (tpu.api, compute.api, serviceusage.api, resourcemanager.v1, resourcemanager.v3, oslogin.api)
STATUS_PATH = "/localcloud/status"
DROP = "localcloud.drop"


class Requests:
    """Middleware: one log line a request, with the bytes that came in and went out.

    Queries are left out, for they can hold tokens.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = received = sent = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def observe(message: Message) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        await self._app(scope, count, observe)
        if scope["path"] != STATUS_PATH:
            milliseconds = (time.perf_counter() - start) * 1000
            request = f"{scope['method']} {scope['path']}"
            log.info("%s %s %.0f ms, %s in, %s out", request, status, milliseconds, received, sent)


class Connections:
    """Middleware: the message DROP, in place of an answer or in the midst of one, closes the connection."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.server: uvicorn.Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == DROP:
                self._abort(scope["client"])
            else:
                await send(message)

        await self._app(scope, receive, watch)

    def _abort(self, client: tuple[str, int]) -> None:
        assert self.server is not None
        for connection in list(self.server.server_state.connections):
            if isinstance(connection, H11Protocol) and connection.client == client:
                connection.transport.abort()


class Ports:
    """The application that belongs to the port on which a request came in."""

    def __init__(self, applications: Mapping[int, ASGIApp]) -> None:
        self._applications = applications

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._applications[scope["server"][1]](scope, receive, send)


def commands(cloud: Cloud, work: NodeWork) -> dict[str, admin.Command]:
    """What `localcloud.admin.call` can ask of this server."""

    def arm(arguments: Json) -> Any:
        return asdict(cloud.faults.arm(**arguments))

    def clear(arguments: Json) -> Any:
        return [asdict(fault) for fault in cloud.faults.clear(**arguments)]

    def expire(arguments: Json) -> Any:
        cloud.expire_tokens()
        time.sleep(1)  # so that what an account signs from now on is of a later second

    return {
        "fault-arm": arm,
        "fault-clear": clear,
        "machine": lambda arguments: machine_faults.strike(cloud, **arguments),
        "limit": lambda arguments: capacity.set_limit(cloud.store, **arguments),
        "preempt": lambda arguments: work.preempt(**arguments),
        "health": lambda arguments: work.diagnose(**arguments),
        "maintenance": lambda arguments: work.maintain(**arguments),
        "maintenance-begin": lambda arguments: work.begin_maintenance(**arguments),
        "maintenance-end": lambda arguments: work.end_maintenance(**arguments),
        "token-expire": expire,
    }


def google_application(cloud: Cloud, work: NodeWork) -> Starlette:
    """Google's APIs, the token endpoint, and the status by which `up` knows this server."""

    async def status(request: Request) -> Response:
        unsettled = await run_in_threadpool(work.unsettled)
        return JSONResponse(
            {"instance": cloud.config.instance_id, "pid": os.getpid(), "unsettled": unsettled}
        )

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        refusal = ApiError(
            "NOT_FOUND" if error.status_code == 404 else "UNIMPLEMENTED",
            f"The local cloud does not offer {request.method} {request.url.path}.",
        )
        return JSONResponse(refusal.body(), refusal.http_status)

    routes = [route for api in APIS for route in api.routes(cloud)]
    return Starlette(
        routes=[
            *routes,
            *oauth.routes(cloud),
            Route(STATUS_PATH, status),
            *admin.routes(cloud.config, commands(cloud, work)),
        ],
        exception_handlers={HTTPException: refuse},
    )


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. OSError that names the address when it is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Its connections inherit it: else the body of an answer waits 40 ms for its head to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {address}:{port}: {error.strerror}; choose another --port") from None
    listener.listen(1024)
    return listener


class Supervisor(threading.Thread):
    """Keeps the machines of nodes running, and queued resources moving."""

    def __init__(self, pace: float, *tasks: Callable[[], None]) -> None:
        super().__init__(name="supervisor", daemon=True)
        self._pace = pace
        self._tasks = tasks
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._pace):
            try:
                for task in self._tasks:
                    task()
            except Exception:
                log.exception("the supervisor failed; the next attempt follows")
                self._ended.wait(5 * self._pace)

    def end(self) -> None:
        self._ended.set()


class Server:
    """All that serves one cloud.

    machines: what its nodes run on, prepared. watch: wraps Google's APIs, for tests. pace: seconds
    between two looks at what should be repaired or moves in a queue.
    """

    def __init__(
        self,
        config: CloudConfig,
        machines: Machines,
        hub_store: hub.HubStore,
        watch: Callable[[ASGIApp], ASGIApp] = lambda application: application,
        pace: float = 1.0,
    ) -> None:
        self.cloud = Cloud(config, Store(config.state_dir / "state.db"), machines)
        compute.register(self.cloud)
        serviceusage.register(self.cloud)
        work = tpu.register(self.cloud)
        queue = queued.register(self.cloud)
        applications: dict[int, ASGIApp] = {
            config.port: watch(google_application(self.cloud, work)),
            config.hub_port: hub.create_app(config, hub_store, faults=self.cloud.faults),
            config.metadata_port: metadata.application(self.cloud),
        }
        # Never on 0.0.0.0: nobody but this host and its machines has any business here.
        addresses = ("127.0.0.1", str(config.address))
        description.write(config, machines)
        self._sockets = [listen(address, port) for port in applications for address in addresses]
        self._supervisor = Supervisor(pace, work.repair, queue.tick)
        self._connections = Connections(Requests(Ports(applications)))
        settings = uvicorn.Config(
            self._connections,
            http=H11Protocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        self._connections.server = self.uvicorn = uvicorn.Server(settings)

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until `uvicorn.should_exit`. The machines stay."""
        self.cloud.operations.resume()
        self._supervisor.start()
        places = (f"{address}:{port}" for address, port in (s.getsockname() for s in self._sockets))
        log.info("serving on %s", ", ".join(places))
        self.uvicorn.run(sockets=self._sockets)
        self._supervisor.end()
        self.cloud.operations.close()


def serve(config: CloudConfig, record: bool = False) -> None:
    """Serve in this process, on machines that are made ready first.

    record: whether exchanges with Google's APIs are kept, in a file of the state directory.
    """
    file = ExchangeFile(config.state_dir)

    def watch(application: ASGIApp) -> ASGIApp:
        return Recording(application, file.add) if record else application

    machines = Machines(config)
    machines.prepare(log.info)
    hub_store = hub.HubStore(config.state_dir / "hub")
    seed_hub(hub_store, config, log.info)
    Server(config, machines, hub_store, watch).run()
