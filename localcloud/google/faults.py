# SPDX-License-Identifier: GPL-3.0-or-later
"""What Google's services answer while a fault strikes."""

from __future__ import annotations

import math
import re

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from localcloud import catalog
from localcloud.faults import Fault
from localcloud.google.errors import (
    ApiError,
    compute_not_found,
    disk_quota_exceeded,
    not_found,
    quota_exceeded,
    service_disabled,
    unauthenticated,
    unknown_location,
)


class Dropped(Response):
    """No answer: the server closes the connection (`localcloud.server.Connections`)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "localcloud.drop"})


class DroppedError(Exception):
    """The connection ends without an answer."""


def refusal(
    fault: Fault, *, service: str, method: str, zone: str, project: catalog.Project, resource: str
) -> Exception:
    """What a call that a fault of the place "call" strikes ends with.

    service: of the API, such as tpu.googleapis.com; method: its id; zone: what it names, or "";
    resource: the path that was asked for.
    """
    name = re.sub(r"^(compute/)?v\d+/", "", resource)
    match fault.kind:
        case "error-500":
            return ApiError("INTERNAL", "Internal error encountered.")
        case "error-503" | "unreachable":
            return ApiError("UNAVAILABLE", "The service is currently unavailable.")
        case "rate-limit":
            return _rate_limit(service, project, fault.seconds or 0.0)
        case "permission":
            permission = _permission(method)
            return ApiError(
                "PERMISSION_DENIED",
                f"Permission '{permission}' denied on resource '//{service}/{resource}' "
                "(or it may not exist).",
                details=[
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "IAM_PERMISSION_DENIED",
                        "domain": "iam.googleapis.com",
                        "metadata": {"permission": permission, "resource": resource},
                    }
                ],
            )
        case "service-disabled":
            return service_disabled(service, catalog.SERVICES.get(service, service), project.number)
        case "location":
            return unknown_location(zone)
        case "not-found":
            return compute_not_found(name) if service == "compute.googleapis.com" else not_found(name)
        case "conflict" if method.endswith((".create", ".insert")):
            return ApiError("ALREADY_EXISTS", f"A resource of that name already exists in '{name}'")
        case "conflict":
            return ApiError(
                "ABORTED", f"Unable to queue the operation: another one on '{name}' is in progress."
            )
        case "precondition":
            return ApiError("FAILED_PRECONDITION", f"The state of '{name}' does not allow {method}.")
        case "unauthorized":
            return unauthenticated("had invalid authentication credentials", "ACCESS_TOKEN_EXPIRED")
        case "quota":
            return quota_exceeded(project, f"Quota limit of {method} has been exceeded. Limit: 0.")
        case "disk-quota":
            return disk_quota_exceeded()
        case _:
            return DroppedError(fault.kind)


def _permission(method: str) -> str:
    """The IAM permission of a method: tpu.nodes.create for `tpu.projects.locations.nodes.create`."""
    service, *_, resource, verb = method.split(".")
    return f"{service}.{resource}.{'create' if verb == 'insert' else verb}"


def _rate_limit(service: str, project: catalog.Project, seconds: float) -> ApiError:
    delay = re.sub(r"\.?0+s$", "s", f"{seconds:.3f}s") if seconds else "0s"
    return ApiError(
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service '{service}' "
        f"for consumer 'project_number:{project.number}'.",
        details=[
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "googleapis.com",
                "metadata": {"service": service, "consumer": f"projects/{project.number}"},
            },
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
        ],
        reason="rateLimitExceeded",
        domain="usageLimits",
        headers={"Retry-After": str(math.ceil(seconds))},
    )
