# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import errors

from tests.json_types import Json

QUOTA = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": "s"}]}
DISABLED = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED"}
RATE = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}


def rpc(status: str, message: str = "m", *details: Json) -> Json:
    return {"error": {"status": status, "message": message, "details": list(details)}}


def compute(reason: str, message: str = "m") -> Json:
    return {
        "error": {"message": message, "errors": [{"reason": reason, "message": message, "domain": "global"}]}
    }


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, rpc("INVALID_ARGUMENT"), "invalid_argument"),
        (400, rpc("FAILED_PRECONDITION"), "precondition"),
        (401, rpc("UNAUTHENTICATED"), "unauthenticated"),
        (403, rpc("PERMISSION_DENIED", "Permission 'tpu.nodes.get' denied"), "permission"),
        (403, rpc("PERMISSION_DENIED", "Location xx is not found or access is unauthorized."), "location"),
        (403, rpc("PERMISSION_DENIED", "TPU API has not been used", DISABLED), "api_disabled"),
        (403, compute("accessNotConfigured"), "api_disabled"),
        (403, compute("quotaExceeded"), "quota"),
        (403, compute("rateLimitExceeded"), "rate_limited"),
        (404, rpc("NOT_FOUND"), "not_found"),
        (404, compute("notFound"), "not_found"),
        (409, rpc("ALREADY_EXISTS"), "conflict"),
        (409, rpc("ABORTED"), "conflict"),
        (409, compute("alreadyExists"), "conflict"),
        (400, compute("resourceInUseByAnotherResource"), "precondition"),
        (412, compute("conditionNotMet"), "conflict"),
        (429, rpc("RESOURCE_EXHAUSTED", "Quota limit 'TPUV5' has been exceeded. Limit: 0"), "quota"),
        (429, rpc("RESOURCE_EXHAUSTED", "m", QUOTA), "quota"),
        (429, rpc("RESOURCE_EXHAUSTED", "There is no more capacity in the zone"), "stockout"),
        (429, rpc("RESOURCE_EXHAUSTED", "Quota exceeded for requests per minute", RATE), "rate_limited"),
        (429, rpc("RESOURCE_EXHAUSTED"), "rate_limited"),
        (500, rpc("INTERNAL"), "unavailable"),
        (503, rpc("UNAVAILABLE"), "unavailable"),
        (502, None, "unavailable"),
        (418, {"error": "teapot"}, "api"),
    ],
)
def test_the_kind_of_an_http_error(status: int, body: Any, kind: str) -> None:
    error = errors.from_response(status, body, "<html>")
    assert (error.kind, error.code) == (kind, status)


def test_a_cancelled_operation_says_what_to_do() -> None:
    error = errors.from_status({"code": 1, "message": "The creation of n was cancelled."})
    assert (error.kind, error.reason) == ("api", "CANCELLED")
    assert str(error) == (
        "The creation of n was cancelled. Somebody deleted it meanwhile, or cancelled the operation: "
        "run again if it is still wanted."
    )


@pytest.mark.parametrize(
    ("code", "message", "details", "kind"),
    [
        (8, 'There is no more capacity in the zone "us-west1-c"', [], "stockout"),
        (8, "exhausted", [], "stockout"),
        (8, "Quota limit", [QUOTA], "quota"),
        (3, "The node was preempted during creation.", [], "preempted"),
        (3, "bad field", [], "invalid_argument"),
        (10, "aborted", [], "conflict"),
        (13, "internal", [], "unavailable"),
        (1, "cancelled", [], "api"),
        (99, "odd", [], "api"),
    ],
)
def test_the_kind_of_a_failed_operation(code: int, message: str, details: list[Json], kind: str) -> None:
    error = errors.from_status({"code": code, "message": message, "details": details})
    assert error.failure == {"kind": kind, "code": code, "reason": error.reason, "details": details}
    assert str(error).startswith(message.rstrip("."))


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("QUOTA_EXCEEDED", 403, "quota"),
        ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, "stockout"),
        ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", 400, "precondition"),
        ("RESOURCE_NOT_FOUND", 404, "not_found"),
        ("SOMETHING_NEW", 409, "conflict"),
        ("SOMETHING_NEW", 500, "unavailable"),
        ("INTERNAL_ERROR", 0, "unavailable"),
        ("SOMETHING_NEW", 0, "api"),
    ],
)
def test_the_kind_of_a_failed_zone_operation(code: str, status: int, kind: str) -> None:
    operation = {"error": {"errors": [{"code": code, "message": "m"}]}, "httpErrorStatusCode": status}
    error = errors.from_zone_operation(operation)
    assert (error.kind, error.reason, error.message) == (kind, code, "m")


def test_a_proxys_page_is_shown_in_short() -> None:
    error = errors.from_response(502, None, "<html>\n  Bad   gateway" + "x" * 1000)
    assert "HTTP 502: <html> Bad gateway" in str(error)
    assert len(str(error)) < 400


def test_every_kind_is_its_own_and_the_common_ones_say_what_to_do() -> None:
    kinds = [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, errors.GcpError) and "kind" in vars(item)
    ]
    assert len({kind.kind for kind in kinds}) == len(kinds)
    without = {kind.kind for kind in kinds if not kind.remedy}
    assert without == {"api", "invalid_argument", "missing_library"}  # these say it case by case
