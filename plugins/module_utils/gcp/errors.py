# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong between a module and Google, one type a cause, each with its remedy.

Google says the same thing in four dialects: google.rpc.Status in a response body (TPU, Service Usage),
Compute Engine's own `errors[]`, a Status inside a long-running operation, and `errors[]` with upper-case
codes inside a zone operation. Everything ends in one of the types below, so that callers can act on the cause
(a stock-out moves on to another zone, a permission stops) and users read one message.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any


class GcpError(Exception):
    """A refusal or failure that has a cause nobody named more closely.

    kind:    machine-readable cause, stable.
    remedy:  what the user can do about it; ends the message.
    code:    HTTP status, or the canonical (gRPC) code of a failed operation; 0 if there was no answer.
    reason:  Google's word for it (SERVICE_DISABLED, RESOURCE_EXHAUSTED, ...), "" if none.
    details: the `details` of the error as the API sent them.
    operation: name of the operation that goes on, "" if nothing does that is known of.
    """

    kind = "api"
    remedy = ""

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        reason: str = "",
        details: Sequence[Any] = (),
        remedy: str | None = None,
        retry_after: str | None = None,
        operation: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.details = list(details)
        self.retry_after = retry_after
        self.operation = operation
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message.rstrip('.')}. {self.remedy}".strip() if self.remedy else self.message

    @property
    def failure(self) -> dict[str, Any]:
        """What a module returns beside `msg`, for a rescue block to act on."""
        told = {"kind": self.kind, "code": self.code, "reason": self.reason, "details": self.details}
        return {**told, "operation": self.operation} if self.operation else told


class StockOut(GcpError):
    kind = "stockout"
    remedy = "The zone has no such accelerator free. Try again later, as spot, or in another zone."


class QuotaExceeded(GcpError):
    kind = "quota"
    remedy = (
        "Ask for more quota (IAM & Admin, Quotas), delete what still uses it, or take another zone or type."
    )


class Preempted(GcpError):
    kind = "preempted"
    remedy = "Run the same command again, or take on-demand capacity."


class ApiDisabled(GcpError):
    kind = "api_disabled"
    remedy = "Enable the API in this project first (module tpuops.maxtext.gcp_services) and wait a minute."


class PermissionDenied(GcpError):
    kind = "permission"
    remedy = (
        "Check the project's id, and that the account in use has the roles roles/tpu.admin, "
        "roles/compute.instanceAdmin.v1 and roles/iam.serviceAccountUser there."
    )


class LocationError(GcpError):
    kind = "location"
    remedy = (
        "Give a zone that offers TPUs to this project, such as us-west1-c "
        "(gcloud compute tpus locations list --project=PROJECT)."
    )


class NotFound(GcpError):
    kind = "not_found"
    remedy = "Check the names of the project, the zone and the resource."


class Conflict(GcpError):
    kind = "conflict"
    remedy = "Another change is under way, or the name is taken. Run again, or choose another name."


class PreconditionFailed(GcpError):
    kind = "precondition"
    remedy = "Bring the resource into a state that allows this first."


class InvalidArgument(GcpError):
    kind = "invalid_argument"


class Unauthenticated(GcpError):
    kind = "unauthenticated"
    remedy = (
        "Log in again (gcloud auth application-default login), or give a valid service_account_file or "
        "access_token."
    )


class OperationTimeout(GcpError):
    """The wait ended, the operation goes on; running again takes it up."""

    kind = "timeout"
    remedy = (
        "The operation goes on at Google. Run again to wait for it, with a longer wait_timeout if needed."
    )


class MissingLibrary(GcpError):
    kind = "missing_library"

    def __init__(self, library: str) -> None:
        super().__init__(
            f"The Python library {library} is not installed for the interpreter that runs this module.",
            remedy=f"Install it there: {sys.executable} -m pip install {library}",
        )


class Retryable(GcpError):
    """Worth another try without any change."""


class RateLimited(Retryable):
    kind = "rate_limited"
    remedy = "Google asks for fewer requests. Run again in a minute."


class Unavailable(Retryable):
    kind = "unavailable"
    remedy = "The service has a problem of its own. Run again later."


class TransportError(Retryable):
    kind = "transport"
    remedy = "Check the network, the proxy settings and the endpoint options."


#: What is wrong in one zone is wrong in all.
NOT_ZONAL = (ApiDisabled, Unauthenticated, MissingLibrary)

# google.rpc.Code, for the Status inside an operation, which has no name beside its number.
_CANONICAL = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]

# No cause of its own: who cancels an operation, mostly by deleting what it makes, knows why.
_CANCELLED = "Somebody deleted it meanwhile, or cancelled the operation. Run again if it is still wanted."

_BY_HTTP_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
}

_BY_STATUS: Mapping[str, type[GcpError]] = {
    "ABORTED": Conflict,
    "ALREADY_EXISTS": Conflict,
    "DEADLINE_EXCEEDED": Unavailable,
    "FAILED_PRECONDITION": PreconditionFailed,
    "INTERNAL": Unavailable,
    "INVALID_ARGUMENT": InvalidArgument,
    "NOT_FOUND": NotFound,
    "OUT_OF_RANGE": InvalidArgument,
    "PERMISSION_DENIED": PermissionDenied,
    "UNAUTHENTICATED": Unauthenticated,
    "UNAVAILABLE": Unavailable,
}

# ErrorInfo.reason, `errors[].reason` of Compute Engine, and the codes of its operations.
_BY_REASON: Mapping[str, type[GcpError]] = {
    "SERVICE_DISABLED": ApiDisabled,
    "accessNotConfigured": ApiDisabled,
    "QUOTA_EXCEEDED": QuotaExceeded,
    "quotaExceeded": QuotaExceeded,
    "RATE_LIMIT_EXCEEDED": RateLimited,
    "rateLimitExceeded": RateLimited,
    "userRateLimitExceeded": RateLimited,
    "STOCKOUT": StockOut,
    "ZONE_RESOURCE_POOL_EXHAUSTED": StockOut,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": StockOut,
    "RESOURCE_ALREADY_EXISTS": Conflict,
    "alreadyExists": Conflict,
    "RESOURCE_NOT_FOUND": NotFound,
    "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": PreconditionFailed,
    "resourceInUseByAnotherResource": PreconditionFailed,
    "resourceNotReady": PreconditionFailed,
    "conditionNotMet": Conflict,
    "PERMISSIONS_ERROR": PermissionDenied,
    "INTERNAL": Unavailable,
    "INTERNAL_ERROR": Unavailable,
}


def from_response(status: int, body: Any, text: str = "", retry_after: str | None = None) -> GcpError:
    """The error of an HTTP answer.

    status: the HTTP status, 400 or above.
    body:   the decoded JSON, or None where the answer was none (a proxy's page); `text` is shown then.
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        error = {"message": f"HTTP {status}: {' '.join(text.split())[:200] or 'no body'}"}
    canonical = str(error.get("status") or _canonical(status))
    reasons = [str(item.get("reason", "")) for item in error.get("errors", []) if isinstance(item, Mapping)]
    message = str(error.get("message", ""))
    return _classify(canonical, status, message, error.get("details", []), reasons, retry_after=retry_after)


def from_status(status: Mapping[str, Any]) -> GcpError:
    """The error of a finished long-running operation: google.rpc.Status {code, message, details}.

    Code 8 there is a lack of capacity or of quota: the rate of calls does not fail what runs already.
    """
    code = int(status.get("code", 2))
    canonical = _CANONICAL[code] if 0 <= code < len(_CANONICAL) else "UNKNOWN"
    return _classify(
        canonical, code, str(status.get("message", "")), status.get("details", []), [], exhausted=StockOut
    )


def from_zone_operation(operation: Mapping[str, Any]) -> GcpError:
    """The error of a finished zone operation: {error: {errors: [{code, message}]}, httpErrorStatusCode}."""
    errors = operation["error"].get("errors") or [{}]
    status = int(operation.get("httpErrorStatusCode", 0))
    message = "; ".join(str(item.get("message") or item.get("code")) for item in errors)
    reasons = [str(item.get("code", "")) for item in errors]
    return _classify(_canonical(status), status, message, errors, reasons)


def _canonical(status: int) -> str:
    """The canonical word for an HTTP status, "" if it has none."""
    return _BY_HTTP_STATUS.get(status, "UNAVAILABLE" if status >= 500 else "")


def _classify(
    canonical: str,
    code: int,
    message: str,
    details: Sequence[Any],
    reasons: Sequence[str],
    *,
    exhausted: type[GcpError] = RateLimited,
    retry_after: str | None = None,
) -> GcpError:
    info = [item for item in details if isinstance(item, Mapping)]
    reasons = [*(str(item["reason"]) for item in info if item.get("reason")), *(r for r in reasons if r)]
    cause = _cause(canonical, message, info, reasons, exhausted)
    return cause(
        message or canonical,
        code=code,
        reason=next(iter(reasons), canonical),
        details=details,
        remedy=_CANCELLED if canonical == "CANCELLED" else None,
        retry_after=retry_after,
    )


def _cause(
    canonical: str,
    message: str,
    details: Sequence[Mapping[str, Any]],
    reasons: Sequence[str],
    exhausted: type[GcpError],
) -> type[GcpError]:
    lowered = message.lower()
    if any(str(item.get("@type", "")).endswith("google.rpc.QuotaFailure") for item in details):
        return QuotaExceeded
    for reason in reasons:
        if reason in _BY_REASON:
            return _BY_REASON[reason]
    if canonical == "PERMISSION_DENIED" and lowered.startswith("location "):
        return LocationError
    if canonical == "INVALID_ARGUMENT" and "preempted" in lowered:
        return Preempted
    if canonical == "RESOURCE_EXHAUSTED":
        if "no more capacity" in lowered or "stockout" in lowered:
            return StockOut
        return QuotaExceeded if "quota limit" in lowered else exhausted
    return _BY_STATUS.get(canonical, GcpError)
