# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command reaches the server that runs: `POST /localcloud/COMMAND`, arguments and answer as JSON.

Only the host gets that far, never a machine, and only who may read the cloud's access token.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Any

import requests
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud.config import CloudConfig
from localcloud.credentials import CredentialFiles

Command = Callable[[dict[str, Any]], Any]
LOOPBACK = "127.0.0.1"


class AdminError(Exception):
    """A command could not be done; the message says why."""


def routes(config: CloudConfig, commands: Mapping[str, Command]) -> list[Route]:
    """The routes of commands: name -> what is done with the arguments; a ValueError is shown to the user."""

    def endpoint(command: Command) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if not _allowed(config, request):
                return JSONResponse({"error": "only the host's root may do this"}, 403)
            try:
                result = await run_in_threadpool(command, await request.json())
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
            return JSONResponse({"result": result})

        return answer

    return [
        Route(f"/localcloud/{name}", endpoint(command), methods=["POST"])
        for name, command in commands.items()
    ]


def _allowed(config: CloudConfig, request: Request) -> bool:
    given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
    return request.scope["server"][0] == LOOPBACK and hmac.compare_digest(given, _token(config))


def _token(config: CloudConfig) -> str:
    return CredentialFiles(config).access_token.read_text(encoding="utf-8").strip()


def status(config: CloudConfig) -> dict[str, Any] | None:
    """What the server of this very cloud says; None when another, or nobody, answers on the port."""
    try:
        answer: dict[str, Any] = requests.get(
            f"http://{LOOPBACK}:{config.port}/localcloud/status", timeout=30
        ).json()
    except (requests.RequestException, ValueError):
        return None
    return answer if answer.get("instance") == config.instance_id else None


def call(config: CloudConfig, command: str, **arguments: object) -> Any:
    """Let the running server do a command; what it answers. AdminError when it cannot."""
    if status(config) is None:
        raise AdminError(f"no server of {config.state_dir} runs: run `localcloud up` first")
    response = requests.post(
        f"http://{LOOPBACK}:{config.port}/localcloud/{command}",
        json=arguments,
        headers={"Authorization": f"Bearer {_token(config)}"},
        timeout=60,
    )
    answer = response.json()
    if not response.ok:
        raise AdminError(str(answer["error"]))
    return answer["result"]
