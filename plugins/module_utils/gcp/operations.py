# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what Google does in the background, always with a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import GcpError, OperationTimeout, Retryable, from_status, from_zone_operation

if TYPE_CHECKING:
    from .client import Client

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
ZONE_WAIT_TIMEOUT = 150.0  # Compute Engine holds a :wait for up to 120 s


class Deadline:
    """A point in time, some seconds from now, and the pauses until then."""

    def __init__(self, seconds: float) -> None:
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Begin anew from now, for all who hold it."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def pause(self, pause: float) -> float:
        """Sleep about `pause` seconds, never beyond the deadline; returns the next pause (longer, up to 10
        s).

        A quarter of jitter keeps controllers that started together from polling together.
        """
        time.sleep(min(self.left, pause * random.uniform(0.75, 1.25)))
        return min(LONGEST_PAUSE, pause * 1.5)


def poll(
    fetch: Callable[[], dict[str, Any]],
    done: Callable[[dict[str, Any]], bool],
    deadline: Deadline,
    what: str,
    operation: str = "",
) -> dict[str, Any]:
    """What `fetch` returns once `done` says so.

    what:      names the wait in the error of a missed deadline.
    operation: the operation's name, for the same error, and for that of a service which does not answer.
    """
    late = OperationTimeout(f"{what} has not finished within {deadline.seconds:g} s", operation=operation)
    pause = FIRST_PAUSE
    while True:
        try:
            state = fetch()
        except Retryable as error:
            if not deadline.left:
                raise late from error
            error.operation = operation
            raise
        if done(state):
            return state
        if not deadline.left:
            raise late
        pause = deadline.pause(pause)


def finished_long_running(
    client: Client, api: str, version: str, operation: Mapping[str, Any], deadline: Deadline
) -> dict[str, Any]:
    """An operation of the TPU API ("tpu", "v2") or of Service Usage ("serviceusage", "v1") when it is done.

    It holds `error` or `response`; what is raised is only about the wait.
    """
    name = str(operation.get("name", ""))
    if operation.get("done"):
        return dict(operation)
    return poll(
        lambda: client.get(api, f"{version}/{name}"),
        lambda answer: bool(answer.get("done")),
        deadline,
        f"The operation {name}",
        name,
    )


def finished_zone_operation(
    client: Client, project: str, zone: str, operation: Mapping[str, Any], deadline: Deadline
) -> dict[str, Any]:
    """An operation of Compute Engine when it is done, well or not.

    A call of `wait` answers when it is done, or after two minutes; the last two are spent with looking.
    """
    name = str(operation["name"])
    path = f"projects/{project}/zones/{zone}/operations/{name}"
    if operation.get("status") == "DONE":
        return dict(operation)

    def fetch() -> dict[str, Any]:
        if deadline.left < ZONE_WAIT_TIMEOUT:
            return client.get("compute", path)
        return client.post("compute", f"{path}/wait", timeout=ZONE_WAIT_TIMEOUT)

    return poll(
        fetch,
        lambda answer: answer.get("status") == "DONE",
        deadline,
        f"The operation {name}",
        name,
    )


def error_of(operation: Mapping[str, Any]) -> GcpError | None:
    """The error of a finished operation of any API, typed; None if it went well."""
    if "error" not in operation:
        return None
    return from_status(operation["error"]) if "code" in operation["error"] else from_zone_operation(operation)


def response_of(operation: Mapping[str, Any]) -> dict[str, Any]:
    """The response of a finished operation; raises its error, typed."""
    error = error_of(operation)
    if error is not None:
        raise error
    response: dict[str, Any] = operation.get("response", {})
    return response
