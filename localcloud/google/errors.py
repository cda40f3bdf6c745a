# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as Google's services answer them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from localcloud.catalog import Project
from localcloud.discovery import Violation
from localcloud.json_types import Json

#: google.rpc.Code: name -> (number, HTTP status).
CODES = {
    "CANCELLED": (1, 499),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "UNAUTHENTICATED": (16, 401),
}

#: Reasons in `error.errors[]`, the older format that Compute Engine's clients read.
REASONS = {
    "INVALID_ARGUMENT": "invalid",
    "NOT_FOUND": "notFound",
    "ALREADY_EXISTS": "alreadyExists",
    "PERMISSION_DENIED": "forbidden",
    "UNAUTHENTICATED": "authError",
    "FAILED_PRECONDITION": "failedPrecondition",
    "ABORTED": "aborted",
}


class ApiError(Exception):
    """An answer other than success.

    status: name of a google.rpc.Code; message: what the user reads; details: `google.rpc` messages as JSON;
    reason and domain: of the older format, derived from the status where not given.
    """

    def __init__(
        self,
        status: str,
        message: str,
        *,
        details: Sequence[Json] = (),
        reason: str = "",
        domain: str = "global",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = list(details)
        self.reason = reason or REASONS.get(status, "backendError")
        self.domain = domain
        self.headers = headers or {}

    @property
    def http_status(self) -> int:
        return CODES[self.status][1]

    def body(self) -> Json:
        """The answer's body. One form for all services: it carries what clients of each of them look for."""
        error: dict[str, Any] = {
            "code": self.http_status,
            "message": self.message,
            "errors": [{"message": self.message, "domain": self.domain, "reason": self.reason}],
            "status": self.status,
        }
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def rpc(self) -> Json:
        """The error as google.rpc.Status, as a long-running operation carries it."""
        status: Json = {"code": CODES[self.status][0], "message": self.message}
        if self.details:
            status["details"] = self.details
        return status


def invalid(violations: Sequence[Violation]) -> ApiError:
    """400 for a request that does not fit its schema."""
    details = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [
            {"field": violation.field, "description": violation.description}
            if violation.field
            else {"description": violation.description}
            for violation in violations
        ],
    }
    message = "\n".join(violation.description for violation in violations)
    return ApiError("INVALID_ARGUMENT", message, details=[details])


def invalid_field(field: str, description: str) -> ApiError:
    """400 for one field whose value makes no sense."""
    return invalid([Violation(field, description)])


def not_found(name: str) -> ApiError:
    return ApiError("NOT_FOUND", f"Resource '{name}' was not found")


def compute_not_found(path: str) -> ApiError:
    """The same in the words of Compute Engine."""
    return ApiError("NOT_FOUND", f"The resource '{path}' was not found")


def quota_exceeded(project: Project, description: str) -> ApiError:
    """429 for a resource of which a project may have no more."""
    failure = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"subject": f"project:{project.project_id}", "description": description}],
    }
    return ApiError(
        "RESOURCE_EXHAUSTED", description, details=[failure], reason="quotaExceeded", domain="usageLimits"
    )


def unknown_location(zone: str) -> ApiError:
    """403 for a zone that is none, or where a project has no TPUs."""
    return ApiError(
        "PERMISSION_DENIED", f"Location {zone} is not found or access is unauthorized.", reason="forbidden"
    )


def disk_quota_exceeded() -> ApiError:
    """403, as Compute Engine refuses a disk of which a project may have no more."""
    return ApiError(
        "PERMISSION_DENIED",
        "Quota 'SSD_TOTAL_GB' exceeded. Limit: 0.0.",
        reason="quotaExceeded",
        domain="usageLimits",
    )


def pool_exhausted(zone: str) -> ApiError:
    """The error of a zone operation for which there is no room. zone: its path."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "ZONE_RESOURCE_POOL_EXHAUSTED",
        "domain": "compute.googleapis.com",
    }
    return ApiError(
        "UNAVAILABLE",
        f"The zone '{zone}' does not have enough resources available to fulfill the request. Try a different "
        "zone, or try again later.",
        details=[info],
    )


def stocked_out(zone: str) -> ApiError:
    """The error of an operation for which a zone has no machines left."""
    return ApiError(
        "RESOURCE_EXHAUSTED",
        f'There is no more capacity in the zone "{zone}"; you can try in another zone where Cloud TPU Nodes '
        "are offered (see https://cloud.google.com/tpu/docs/regions).",
    )


class PreemptedError(ApiError):
    """The error of the creation of a node that was preempted meanwhile."""

    def __init__(self) -> None:
        super().__init__(
            "INVALID_ARGUMENT",
            "Cloud TPU received a bad request. update is not supported while in state PREEMPTED",
        )


def unauthenticated(problem: str, reason: str) -> ApiError:
    """401. problem: what is wrong with the credentials; reason: of google.rpc.ErrorInfo."""
    info = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }
    return ApiError(
        "UNAUTHENTICATED",
        f"Request {problem}. Expected OAuth 2 access token, login cookie or other valid authentication "
        "credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
        details=[info],
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
    )


def service_disabled(service: str, title: str, project_number: str) -> ApiError:
    """403 for an API that the project has not enabled."""
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project_number}"
    message = (
        f"{title} has not been used in project {project_number} before or it is disabled. Enable it by "
        f"visiting {url} then retry. If you enabled this API recently, wait a few minutes for the action to "
        "propagate to our systems and retry."
    )
    details: list[Json] = [
        {
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [{"description": "Google developers console API activation", "url": url}],
        },
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": {
                "service": service,
                "serviceTitle": title,
                "consumer": f"projects/{project_number}",
                "containerInfo": project_number,
                "activationUrl": url,
            },
        },
    ]
    return ApiError(
        "PERMISSION_DENIED", message, details=details, reason="accessNotConfigured", domain="usageLimits"
    )
