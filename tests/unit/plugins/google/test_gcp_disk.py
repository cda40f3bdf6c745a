# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import ANY

import pytest
import requests

from tests.json_types import Json

from .conftest import Api, Run, assert_foretold

DISKS = "compute/compute/v1/projects/my-project/zones/us-west1-c/disks"
DISK = f"{DISKS}/data"
OPERATIONS = "compute/compute/v1/projects/my-project/zones/us-west1-c/operations"
LOOK = f"GET {OPERATIONS}/op-1"
WAIT = f"POST {OPERATIONS}/op-1/wait"
ONCE = {"requestId": ANY}
UNDER_WAY = {"filter": 'status != "DONE"'}
TYPE = "projects/my-project/zones/us-west1-c/diskTypes/pd-balanced"
OPTIONS: Json = {"name": "data", "zone": "us-west1-c", "size_gb": 10}
BODY = {"name": "data", "sizeGb": "10", "type": TYPE}


def operation(status: str = "RUNNING", **more: Any) -> Json:
    return {"name": "op-1", "status": status, **more}


def disk(**more: Any) -> Json:
    """As Compute Engine answers: full addresses, text for numbers."""
    address = f"https://www.googleapis.com/compute/v1/{TYPE}"
    return {
        "name": "data",
        "sizeGb": "10",
        "type": address,
        "status": "READY",
        "labelFingerprint": "abc=",
        **more,
    }


def changing(api: Api, status: str, operations: Sequence[Json] = ()) -> Api:
    """The disk as an earlier run left it, and what is under way in its zone."""
    return api.on(f"GET {DISK}", disk(status=status)).on(
        f"GET {OPERATIONS}", {"items": [*operations]}, query=UNDER_WAY
    )


def test_create(api: Api, run: Run) -> None:
    body = {**BODY, "labels": {"team": "a", "n": "1"}}
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    api.on(f"POST {DISKS}", operation(), query=ONCE, body=body)
    api.on(WAIT, operation(), body={}).on(WAIT, operation("DONE"), body={})
    api.on(f"GET {DISK}", disk(labels=body["labels"]))
    result = run("gcp_disk", **OPTIONS, labels={"team": "a", "n": 1})
    assert result["changed"] is True
    assert result["disk"] == disk(labels=body["labels"])
    assert result["diff"] == {"before": {}, "after": result["disk"]}


def test_no_change(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk(labels={"of": "others"}))
    result = run("gcp_disk", **OPTIONS, type="pd-balanced")
    assert (result["changed"], result["disk"]["labels"]) == (False, {"of": "others"})


def test_grow(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk())
    api.on(f"POST {DISK}/resize", operation("DONE"), query=ONCE, body={"sizeGb": "20"})
    api.on(f"GET {DISK}", disk(sizeGb="20"))
    result = run("gcp_disk", **{**OPTIONS, "size_gb": 20})
    assert result["changed"] is True
    assert [result["diff"][side]["sizeGb"] for side in ("before", "after")] == ["10", "20"]


@pytest.mark.parametrize(
    ("option", "field"),
    [("provisioned_iops", "provisionedIops"), ("provisioned_throughput", "provisionedThroughput")],
)
def test_what_hyperdisk_is_given_changes_in_place(api: Api, run: Run, option: str, field: str) -> None:
    kind = TYPE.replace("pd-balanced", "hyperdisk-balanced")
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    body = {**BODY, "type": kind, field: "3000"}
    api.on(f"POST {DISKS}", operation("DONE"), query=ONCE, body=body)
    api.on(f"GET {DISK}", disk(type=kind, **{field: "3000"}))
    assert run("gcp_disk", **OPTIONS, type="hyperdisk-balanced", **{option: 3000})["changed"] is True

    api.on(f"GET {DISK}", disk(type=kind, **{field: "3000"}))
    assert run("gcp_disk", **OPTIONS, type="hyperdisk-balanced", **{option: 3000})["changed"] is False

    api.on(f"GET {DISK}", disk(type=kind, **{field: "3000"}))
    query = {**ONCE, "updateMask": field}
    api.on(f"PATCH {DISK}", operation("DONE"), query=query, body={field: "4000"})
    api.on(f"GET {DISK}", disk(type=kind, **{field: "4000"}))
    assert run("gcp_disk", **OPTIONS, type="hyperdisk-balanced", **{option: 4000})["changed"] is True


def test_labels_are_replaced_as_a_whole(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk(labels={"old": "1"}))
    body = {"labels": {"new": "2"}, "labelFingerprint": "abc="}
    api.on(f"POST {DISK}/setLabels", operation("DONE"), query=ONCE, body=body)
    api.on(f"GET {DISK}", disk(labels={"new": "2"}))
    assert run("gcp_disk", **OPTIONS, labels={"new": "2"})["changed"] is True


def test_somebody_elses_labels_in_between_are_taken_into_account(api: Api, run: Run) -> None:
    options = {**OPTIONS, "labels": {"new": "2"}}
    api.on(f"GET {DISK}", disk())
    refused = {"error": {"message": "stale", "errors": [{"reason": "conditionNotMet"}]}}
    body = {"labels": {"new": "2"}, "labelFingerprint": "abc="}
    api.on(f"POST {DISK}/setLabels", refused, status=412, query=ONCE, body=body)
    api.on(f"GET {DISK}", disk(labelFingerprint="def="))
    body = {**body, "labelFingerprint": "def="}
    api.on(f"POST {DISK}/setLabels", operation("DONE"), query=ONCE, body=body)
    api.on(f"GET {DISK}", disk(labels={"new": "2"}))
    assert run("gcp_disk", **options)["changed"] is True


def test_delete(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk())
    api.on(f"DELETE {DISK}", operation("DONE"), query=ONCE)
    result = run("gcp_disk", name="data", zone="us-west1-c", state="absent")
    assert (result["changed"], result["disk"], result["diff"]["after"]) == (True, {}, {})


def test_delete_what_is_not_there(api: Api, run: Run) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    assert run("gcp_disk", name="data", zone="us-west1-c", state="absent")["changed"] is False


def test_delete_what_vanishes_meanwhile(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk()).error(f"DELETE {DISK}", 404, "NOT_FOUND", query=ONCE)
    assert run("gcp_disk", name="data", zone="us-west1-c", state="absent")["changed"] is True


@pytest.mark.parametrize("check", [False, True])
def test_an_attached_disk_is_not_deleted(api: Api, run: Run, check: bool) -> None:
    api.on(f"GET {DISK}", disk(users=["https://x/instances/tpu-v5e-8"]))
    result = run("gcp_disk", check=check, name="data", zone="us-west1-c", state="absent")
    assert (result["failed"], result["failure"]["kind"]) == (True, "precondition")
    assert "attached to tpu-v5e-8. Detach it" in result["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_a_disk_does_not_shrink(api: Api, run: Run, check: bool) -> None:
    api.on(f"GET {DISK}", disk())
    result = run("gcp_disk", check=check, **{**OPTIONS, "size_gb": 5})
    assert "size_gb: the disk data has 10 GB and cannot shrink to 5" in result["msg"]


def test_the_type_cannot_change(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk())
    result = run("gcp_disk", **OPTIONS, type="pd-ssd")
    assert (result["failure"]["kind"], result["failure"]["reason"]) == ("invalid_argument", "immutable")
    assert "cannot change in: type" in result["msg"]
    assert "recreate" not in result["msg"]


@pytest.mark.parametrize(
    ("present", "options", "changed"),
    [
        (None, OPTIONS, True),
        (disk(), OPTIONS, False),
        (disk(), {**OPTIONS, "size_gb": 20}, True),
        (disk(), {**OPTIONS, "labels": {"a": "b"}}, True),
        (disk(), {"name": "data", "zone": "us-west1-c", "state": "absent"}, True),
        (None, {"name": "data", "zone": "us-west1-c", "state": "absent"}, False),
    ],
)
def test_check_mode_predicts_and_writes_nothing(
    api: Api, run: Run, present: Json | None, options: Json, changed: bool
) -> None:
    if present:
        api.on(f"GET {DISK}", present)
    else:
        api.error(f"GET {DISK}", 404, "NOT_FOUND")
    result = run("gcp_disk", check=True, **options)
    assert (result["changed"], api.writes) == (changed, [])
    if options.get("size_gb") == 20:
        assert result["disk"] == disk(sizeGb="20")


@pytest.mark.parametrize(
    ("found", "options", "call", "query", "body", "after"),
    [
        (
            None,
            {"labels": {"n": 1}},
            f"POST {DISKS}",
            {},
            {**BODY, "labels": {"n": "1"}},
            {"labels": {"n": "1"}},
        ),
        (disk(), {"size_gb": 20}, f"POST {DISK}/resize", {}, {"sizeGb": "20"}, {"sizeGb": "20"}),
        (
            disk(labels={"old": "1"}),
            {"labels": {"a": "b"}},
            f"POST {DISK}/setLabels",
            {},
            {"labels": {"a": "b"}, "labelFingerprint": "abc="},
            {"labels": {"a": "b"}, "labelFingerprint": "abc="},
        ),
        (
            disk(provisionedIops="3000"),
            {"provisioned_iops": 4000},
            f"PATCH {DISK}",
            {"updateMask": "provisionedIops"},
            {"provisionedIops": "4000"},
            {"provisionedIops": "4000"},
        ),
        (disk(), {"state": "absent"}, f"DELETE {DISK}", {}, None, None),
    ],
)
def test_check_mode_foretells_what_is_done(
    api: Api,
    run: Run,
    found: Json | None,
    options: Json,
    call: str,
    query: Json,
    body: Json | None,
    after: Json | None,
) -> None:
    def before() -> None:
        _ = api.on(f"GET {DISK}", found) if found else api.error(f"GET {DISK}", 404, "NOT_FOUND")

    before()
    predicted = run("gcp_disk", check=True, **{**OPTIONS, **options})
    assert api.writes == []
    before()
    api.on(call, operation("DONE"), query={**ONCE, **query}, body=body)
    if after:
        api.on(f"GET {DISK}", disk(**after))
    assert_foretold(predicted, run("gcp_disk", **{**OPTIONS, **options}), "disk")


@pytest.mark.parametrize(
    ("status", "options"),
    [("CREATING", OPTIONS), ("RESTORING", OPTIONS), ("DELETING", {**OPTIONS, "state": "absent"})],
)
def test_check_mode_foretells_how_what_is_under_way_ends(
    api: Api, run: Run, status: str, options: Json
) -> None:
    api.on(f"GET {DISK}", disk(status=status))
    predicted = run("gcp_disk", check=True, **options)
    changing(api, status)
    _ = api.error(f"GET {DISK}", 404, "NOT_FOUND") if status == "DELETING" else api.on(f"GET {DISK}", disk())
    assert_foretold(predicted, run("gcp_disk", **options), "disk")


def test_check_mode_takes_an_api_that_is_not_enabled_for_a_project_without_disks(api: Api, run: Run) -> None:
    details = [{"reason": "SERVICE_DISABLED", "domain": "googleapis.com"}]
    api.error(f"GET {DISK}", 403, "PERMISSION_DENIED", "Compute Engine API is off.", details=details)
    result = run("gcp_disk", check=True, **OPTIONS)
    assert result["changed"] is True
    api.error(f"GET {DISK}", 403, "PERMISSION_DENIED", "Compute Engine API is off.", details=details)
    result = run("gcp_disk", **OPTIONS)
    assert (result["failure"]["kind"], result["failure"]["reason"]) == ("api_disabled", "SERVICE_DISABLED")
    assert "tpuops.maxtext.gcp_services" in result["msg"]


def test_a_lost_answer_to_a_create_ends_in_one_disk(api: Api, run: Run) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    api.on(f"POST {DISKS}", requests.ConnectionError("cut"), query=ONCE, body=BODY)
    api.error(f"POST {DISKS}", 409, "ALREADY_EXISTS", query=ONCE, body=BODY)
    api.on(f"GET {DISK}", disk())
    result = run("gcp_disk", **OPTIONS)
    assert (result["changed"], result["disk"]) == (True, disk())
    first, second = (request.url for request in api.sent if request.method == "POST")
    assert first == second  # the same requestId: Google knows the second for a repetition


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "QUOTA_EXCEEDED", "message": "Quota 'SSD_TOTAL_GB' exceeded."}, "quota"),
        ({"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "no room"}, "stockout"),
    ],
)
def test_an_operation_that_fails(api: Api, run: Run, error: Json, kind: str) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    api.on(f"POST {DISKS}", operation(), query=ONCE, body=BODY)
    api.on(WAIT, operation("DONE", error={"errors": [error]}, httpErrorStatusCode=403), body={})
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    result = run("gcp_disk", **OPTIONS)
    assert (result["failed"], result["failure"]["kind"]) == (True, kind)
    assert error["message"].rstrip(".") in result["msg"]


def test_an_operation_that_does_not_end(api: Api, run: Run, pauses: list[float]) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    api.on(f"POST {DISKS}", operation(), query=ONCE, body=BODY)
    for _poll in range(100):
        api.on(LOOK, operation())
    result = run("gcp_disk", **OPTIONS, wait_timeout=20)
    api.script.clear()
    assert result["failure"]["kind"] == "timeout"
    assert result["failure"]["operation"] == "op-1"
    assert sum(pauses) == pytest.approx(20)


def test_a_disk_that_is_being_created_is_taken_up(api: Api, run: Run) -> None:
    changing(api, "CREATING").on(f"GET {DISK}", disk(status="CREATING"))
    api.on(f"GET {DISK}", disk())
    result = run("gcp_disk", **OPTIONS)
    assert (result["changed"], result["disk"]["status"]) == (False, "READY")


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [(200, disk(status="CREATING"), "timeout"), (503, {}, "unavailable")],
)
def test_the_name_of_an_operation_that_an_earlier_run_left(
    api: Api, run: Run, status: int, answer: Json, kind: str
) -> None:
    links = {"op-2": "https://x/zones/us-west1-c/disks/other-data", "op-1": f"https://x/{DISK}"}
    changing(api, "CREATING", [operation(name=name, targetLink=link) for name, link in links.items()])
    for _poll in range(100):
        api.on(f"GET {DISK}", answer, status=status)
    result = run("gcp_disk", **OPTIONS)
    api.script.clear()
    assert (result["failure"]["kind"], result["failure"]["operation"]) == (kind, "op-1")


def test_a_disk_that_is_being_deleted_is_waited_for_and_made_again(api: Api, run: Run) -> None:
    changing(api, "DELETING").error(f"GET {DISK}", 404, "NOT_FOUND")
    api.on(f"POST {DISKS}", operation("DONE"), query=ONCE, body=BODY).on(f"GET {DISK}", disk())
    assert run("gcp_disk", **OPTIONS)["changed"] is True


def test_a_disk_that_never_came_to_be_is_made_again(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk(status="FAILED"))
    api.on(f"DELETE {DISK}", operation("DONE"), query=ONCE)
    api.on(f"POST {DISKS}", operation("DONE"), query=ONCE, body=BODY).on(f"GET {DISK}", disk())
    assert run("gcp_disk", **OPTIONS)["changed"] is True


@pytest.mark.parametrize("status", ["FAILED", "READY"])
def test_a_failed_creation_leaves_nothing_behind_but_deletes_no_disk_that_holds_data(
    api: Api, run: Run, status: str
) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    failed = operation("DONE", error={"errors": [{"code": "INTERNAL_ERROR", "message": "no"}]})
    api.on(f"POST {DISKS}", failed, query=ONCE, body=BODY)
    api.on(f"GET {DISK}", disk(status=status))
    if status == "FAILED":
        api.on(f"DELETE {DISK}", operation("DONE"), query=ONCE)
    assert run("gcp_disk", **OPTIONS)["failed"] is True


def test_a_deletion_whose_answer_was_lost(api: Api, run: Run) -> None:
    api.on(f"GET {DISK}", disk())
    api.error(f"DELETE {DISK}", 409, "ABORTED", query=ONCE)
    changing(api, "DELETING").error(f"GET {DISK}", 404, "NOT_FOUND")
    assert run("gcp_disk", name="data", zone="us-west1-c", state="absent")["changed"] is True


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Data"}, "name: 'Data' is not valid"),
        ({"name": "data-"}, "name: 'data-' is not valid"),
        ({"zone": "us-west1"}, "zone: 'us-west1' is not valid"),
        ({"project": "p"}, "project: 'p' is not valid"),
        ({"project": ""}, "project: is not set"),
    ],
)
def test_bad_names_are_refused_before_anything_is_sent(
    api: Api, run: Run, options: Json, message: str
) -> None:
    result = run("gcp_disk", **{**OPTIONS, **options})
    assert message in result["msg"]
    assert api.calls == []


def test_a_new_disk_needs_a_size(api: Api, run: Run) -> None:
    api.error(f"GET {DISK}", 404, "NOT_FOUND")
    assert "size_gb is not set" in run("gcp_disk", name="data", zone="us-west1-c")["msg"]
