# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of OpenAI's chat completions interface that takes an answer as it comes."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

TIMEOUT = 600.0  # seconds without a word of the server


class ServerError(Exception):
    """What the server refused or how it failed; the text is the whole error message."""


class Connection(http.client.HTTPConnection):
    """HTTP over a socket that somebody else opens."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        super().__init__("127.0.0.1", timeout=TIMEOUT)
        self._connect = connect
        self.opened: socket.socket | None = None  # also where http.client has given it to the response

    def connect(self) -> None:
        self.sock = self.opened = self._connect()
        self.sock.settimeout(TIMEOUT)


class Client:
    """connect: opens a connection to the server; key: of the server; settings: more fields of a request."""

    def __init__(self, connect: Callable[[], socket.socket], key: str, **settings: Any) -> None:
        self._open = connect
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._settings = {name: value for name, value in settings.items() if value is not None}

    def model(self) -> str:
        """The name of the model that is served."""
        with contextlib.closing(Connection(self._open)) as connection:
            answer = parsed(self._send(connection, "GET", "/v1/models", None).read())
        names = [str(each["id"]) for each in answer.get("data") or [] if isinstance(each, dict)]
        if not names:
            raise ServerError("model: the server serves none.")
        return names[0]

    def answer(self, model: str, messages: Sequence[Json]) -> Answer:
        connection = Connection(self._open)
        body = {"model": model, "messages": list(messages), "stream": True, **self._settings}
        try:
            return Answer(connection, self._send(connection, "POST", "/v1/chat/completions", body))
        except BaseException:
            connection.close()
            raise

    def _send(
        self, connection: Connection, method: str, path: str, body: Json | None
    ) -> http.client.HTTPResponse:
        try:
            connection.request(method, path, json.dumps(body) if body else None, self._headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(
                f"server: it does not answer ({error or type(error).__name__}). It may still start."
            ) from error
        if response.status != 200:
            raise ServerError(refusal(response.status, response.read(4000)))
        return response


class Answer:
    """The pieces of an answer, read by a thread. woken: can be read when there is a piece."""

    def __init__(self, connection: Connection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._pieces: queue.SimpleQueue[str | ServerError | None] = queue.SimpleQueue()
        self.woken, self._wake = os.pipe()
        self.finish_reason = ""
        self._thread = threading.Thread(target=self._read, args=(response,), daemon=True)
        self._thread.start()

    def next(self) -> str | None:
        """The next piece, which is waited for; None at the end. Raises ServerError."""
        os.read(self.woken, 1)
        piece = self._pieces.get()
        if isinstance(piece, ServerError):
            raise piece
        return piece

    def pieces(self) -> Iterator[str]:
        while (piece := self.next()) is not None:
            yield piece

    def close(self) -> None:
        """The server stops to generate when its client is gone."""
        sock = self._connection.opened
        if sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()
        for descriptor in (self.woken, self._wake):
            os.close(descriptor)

    def _read(self, response: http.client.HTTPResponse) -> None:
        try:
            for piece in events(response):
                choices = piece.get("choices") or [{}]
                self.finish_reason = str(choices[0].get("finish_reason") or self.finish_reason)
                if text := (choices[0].get("delta") or {}).get("content"):
                    self._put(str(text))
            self._put(None)
        except ServerError as error:
            self._put(error)
        except (OSError, ValueError, AttributeError, http.client.HTTPException) as error:
            self._put(ServerError(f"server: the answer broke off ({error or type(error).__name__})."))

    def _put(self, piece: str | ServerError | None) -> None:
        self._pieces.put(piece)
        os.write(self._wake, b".")


def events(response: http.client.HTTPResponse) -> Iterator[Json]:
    """The JSON of each event of the stream, up to its end. Raises ServerError where it has none."""
    while line := response.readline():
        text = line.decode("utf-8", "replace").strip()
        if not text.startswith("data:"):
            continue
        data = text.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = parsed(data.encode())
        if "error" in event:
            raise ServerError(f"server: {said(event)}")
        yield event
    raise ServerError("server: the answer broke off.")


def parsed(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ServerError("server: it did not answer in JSON. Is it vLLM?") from error
    if not isinstance(value, dict):
        raise ServerError("server: it did not answer with an object. Is it vLLM?")
    return value


def refusal(status: int, data: bytes) -> str:
    if status in (401, 403):
        return f"api key: the server refused it (HTTP status {status})."
    try:
        text = said(json.loads(data))
    except ValueError:
        text = data.decode("utf-8", "replace").strip()
    return f"server: HTTP status {status}: {text}"


def said(answer: Any) -> str:
    """The message of an error as vLLM and OpenAI write it."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    return str(error.get("message", error) if isinstance(error, dict) else error)
