# SPDX-License-Identifier: GPL-3.0-or-later
"""Projects, and the APIs that they have enabled."""

from __future__ import annotations

import pytest

from localcloud import catalog
from localcloud.filters import FilterError, compile_filter
from tests.unit.localcloud.google_client import LOCATION, PROJECT, ZONE_PATH, Google

SERVICES = f"/v1/projects/{PROJECT.project_id}/services"
ALL = ["local-tpu-project", "qwiklabs-gcp-01-localcloud", "qwiklabs-resources"]


# ---- Resource Manager


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("", ALL),
        ("lifecycleState:ACTIVE", ALL),
        ("lifecycleState:ACTIVE AND (NOT (id=qwiklabs-resources))", ALL[:2]),
        ("id:qwiklabs-*", ALL[1:]),
        ("name:local*", ALL[:1]),
        (f"projectNumber={PROJECT.number}", ALL[:1]),
        ("lifecycleState:DELETE_REQUESTED", []),
    ],
)
def test_v1_lists_projects(google: Google, expression: str, expected: list[str]) -> None:
    projects = google.call("GET", "/v1/projects", filter=expression).get("projects", [])
    assert [project["projectId"] for project in projects] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", ALL), ("projectId:qwik*", ALL[1:]), ("state:ACTIVE displayName:qwik*", ALL[1:]), ("id:none", [])],
)
def test_v3_searches_projects(google: Google, query: str, expected: list[str]) -> None:
    projects = google.call("GET", "/v3/projects:search", query=query).get("projects", [])
    assert [project["projectId"] for project in projects] == expected


def test_a_project_is_found_by_id_and_number(google: Google) -> None:
    for key in (PROJECT.project_id, PROJECT.number):
        assert google.call("GET", f"/v1/projects/{key}")["projectNumber"] == PROJECT.number
        assert google.call("GET", f"/v3/projects/{key}")["name"] == f"projects/{PROJECT.number}"
    for version in ("v1", "v3"):
        assert google.error("GET", f"/{version}/projects/none", status=403)["status"] == "PERMISSION_DENIED"


def test_numbers_are_stable_and_look_like_googles() -> None:
    assert [len(project.number) for project in catalog.PROJECTS] == [12, 12, 12]
    assert PROJECT.number == "106557622232"


def test_projects_come_in_pages(google: Google) -> None:
    first = google.call("GET", "/v1/projects", pageSize=2)
    rest = google.call("GET", "/v1/projects", pageSize=2, pageToken=first["nextPageToken"])
    assert [project["projectId"] for project in first["projects"] + rest["projects"]] == ALL


# ---- filters


RESOURCE = {"name": "disk-1", "sizeGb": "10", "labels": {"team": "a b"}}


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("name=disk-1", True),
        ("name=DISK-*", True),
        ("name!=disk-1", False),
        ("-name:disk-2", True),
        ('labels.team="a b"', True),
        ("labels.team:*", True),
        ("labels.none:*", False),
        ("name.part:x", False),
        ("name:x OR sizeGb:10", True),
        ("name:x OR sizeGb:10 AND name:y", False),
        ("(name:x OR sizeGb:10) AND NOT name:y", True),
        ("name:disk-1 sizeGb:11", False),
    ],
)
def test_filters(expression: str, expected: bool) -> None:
    assert compile_filter(expression)(RESOURCE) is expected


@pytest.mark.parametrize("expression", ["name", "(name:a", "name:a)", "AND", "NOT", "= a", "name:a OR"])
def test_what_is_no_filter(expression: str) -> None:
    with pytest.raises(FilterError, match="Invalid filter"):
        compile_filter(expression)


def test_a_filter_that_does_not_parse_is_refused(google: Google) -> None:
    assert "Invalid filter" in google.error("GET", "/v1/projects", filter="(")["message"]
    assert "Invalid filter" in google.error("GET", "/v3/projects:search", query="(")["message"]
    assert "Invalid filter" in google.error("GET", SERVICES, filter="(")["message"]


# ---- Service Usage


def test_services_are_enabled_and_disabled(google: Google) -> None:
    path = f"{SERVICES}/tpu.googleapis.com"
    assert google.call("GET", path)["state"] == "DISABLED"
    operation = google.call("POST", f"{path}:enable", {})
    assert operation["done"] is True
    assert operation["response"]["service"]["state"] == "ENABLED"
    assert google.call("GET", f"/v1/{operation['name']}") == operation
    assert google.call("GET", path)["name"] == f"projects/{PROJECT.number}/services/tpu.googleapis.com"
    enabled = google.call("GET", SERVICES, filter="state:ENABLED")["services"]
    assert [service["config"]["name"] for service in enabled] == ["tpu.googleapis.com"]
    google.call("POST", f"{path}:disable", {"checkIfServiceHasUsage": "CHECK"})
    assert google.call("GET", path)["state"] == "DISABLED"
    google.error("GET", "/v1/operations/none", status=404)


def test_services_are_enabled_together_or_not_at_all(google: Google) -> None:
    names = ["compute.googleapis.com", "tpu.googleapis.com"]
    error = google.error("POST", f"{SERVICES}:batchEnable", {"serviceIds": [*names, "none.example.com"]}, 403)
    assert "none.example.com" in error["message"]
    assert "services" not in google.call("GET", SERVICES, filter="state:ENABLED")
    operation = google.call("POST", f"{SERVICES}:batchEnable", {"serviceIds": names})
    assert [service["state"] for service in operation["response"]["services"]] == ["ENABLED", "ENABLED"]
    states = google.call(
        "GET", f"{SERVICES}:batchGet", names=[f"projects/x/services/{name}" for name in names]
    )
    assert [service["state"] for service in states["services"]] == ["ENABLED", "ENABLED"]


@pytest.mark.parametrize("count", [0, 21])
def test_batches_have_limits(google: Google, count: int) -> None:
    body = {"serviceIds": ["tpu.googleapis.com"] * count}
    assert "1 to 20 services" in google.error("POST", f"{SERVICES}:batchEnable", body)["message"]


def test_a_batch_read_has_a_limit(google: Google) -> None:
    assert "at most 30" in google.error("GET", f"{SERVICES}:batchGet", names=["x"] * 31)["message"]


@pytest.mark.parametrize(
    ("path", "service"),
    [
        (f"/v2/{LOCATION}/nodes", "tpu.googleapis.com"),
        (f"/compute/v1/{ZONE_PATH}/disks", "compute.googleapis.com"),
    ],
)
def test_an_api_must_be_enabled(google: Google, path: str, service: str) -> None:
    error = google.error("GET", path, status=403)
    assert error["status"] == "PERMISSION_DENIED"
    assert error["errors"][0]["reason"] == "accessNotConfigured"
    assert f"apis/api/{service}/overview?project={PROJECT.number}" in error["message"]
    info = next(detail for detail in error["details"] if detail["@type"].endswith("ErrorInfo"))
    assert (info["reason"], info["domain"]) == ("SERVICE_DISABLED", "googleapis.com")
    assert info["metadata"]["service"] == service
    google.enable(service)
    google.call("GET", path)


def test_each_project_enables_for_itself(google: Google) -> None:
    google.enable()
    assert google.call("GET", f"/v2/{LOCATION}/nodes") == {}
    other = "/v2/projects/qwiklabs-gcp-01-localcloud/locations/us-west1-c/nodes"
    assert google.error("GET", other, status=403)["errors"][0]["reason"] == "accessNotConfigured"
