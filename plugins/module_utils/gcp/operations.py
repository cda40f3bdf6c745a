# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for what Google does in the background, always with a deadline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    OperationTimeout,
    Retryable,
    from_status,
    from_zone_operation,
)

FIRST_PAUSE = 0.5
ZONE_WAIT_TIMEOUT = 150.0  # Compute Engine holds a :wait for up to 120 s


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
