# SPDX-License-Identifier: GPL-3.0-or-later
"""What clients and Google's APIs say to each other, byte for byte, to be looked at later."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Exchange:
    """A request and its answer. status: 0 where the connection was closed in place of an answer."""

    verb: str
    path: str
    query: list[tuple[str, str]]
    request: bytes
    status: int
    answer: bytes

    def __str__(self) -> str:
        return f"{self.verb} {self.path} -> {self.status}"


class Recording:
    """Middleware that hands on every exchange.

    That is done before its client has the whole answer, and so before that can ask anybody about it.
    """

    def __init__(self, application: ASGIApp, keep: Callable[[Exchange], None]) -> None:
        self._application = application
        self._keep = keep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request, answer, status, kept = b"", b"", 0, False
        query = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)

        def keep() -> None:
            nonlocal kept
            if not kept:
                self._keep(Exchange(scope["method"], scope["path"], query, request, status, answer))
            kept = True

        async def heard() -> Message:
            nonlocal request
            message = await receive()
            request += message.get("body", b"")
            return message

        async def said(message: Message) -> None:
            nonlocal answer, status
            status = message.get("status", status)
            answer += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                keep()
            await send(message)

        await self._application(scope, heard, said)
        keep()  # what was answered by nothing


class ExchangeFile:
    """Exchanges in a file that only its owner may read, one JSON object a line.

    What is said about tokens is left out, and what the local cloud's own commands say to it.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "exchanges.jsonl"

    def add(self, exchange: Exchange) -> None:
        if exchange.path == "/token" or exchange.path.startswith("/localcloud/"):
            return
        text = {"request": exchange.request.decode("latin-1"), "answer": exchange.answer.decode("latin-1")}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(exchange), **text}) + "\n")

    def read(self) -> Iterator[Exchange]:
        """All of them, in their order; none where nothing was recorded."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                yield Exchange(
                    record["verb"],
                    record["path"],
                    [(name, value) for name, value in record["query"]],
                    record["request"].encode("latin-1"),
                    record["status"],
                    record["answer"].encode("latin-1"),
                )
