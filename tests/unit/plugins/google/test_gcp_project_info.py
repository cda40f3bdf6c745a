# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from tests.json_types import Json

from .conftest import Api, Run

SEARCH = "GET cloudresourcemanager/v3/projects:search"
ACTIVE = {"query": "state:ACTIVE"}


def project(number: int, name: str, **more: Any) -> Json:
    return {
        "name": f"projects/{number}",
        "projectId": name,
        "displayName": f"The {name}",
        "state": "ACTIVE",
        **more,
    }


PAGES: list[Json] = [
    {"projects": [project(3, "qwiklabs-resources"), project(2, "qwiklabs-gcp-02")], "nextPageToken": "t"},
    {"projects": [project(1, "qwiklabs-gcp-01", labels={"team": "Red"})]},
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "projectId ~ '^qwiklabs-gcp-' AND projectId != 'qwiklabs-resources'",
            ["qwiklabs-gcp-01", "qwiklabs-gcp-02"],
        ),
        ("projectNumber = 3", ["qwiklabs-resources"]),
        ("labels.team:red", ["qwiklabs-gcp-01"]),
        ('name = "The qwiklabs-gcp-02"', ["qwiklabs-gcp-02"]),
        ("lifecycleState:ACTIVE AND NOT (projectId:qwiklabs-gcp-*)", ["qwiklabs-resources"]),
        ("projectId = nothing", []),
    ],
)
def test_find_by_a_filter_of_gcloud(api: Api, run: Run, text: str, found: list[str]) -> None:
    api.on(SEARCH, PAGES[0], query=ACTIVE).on(SEARCH, PAGES[1], query={**ACTIVE, "pageToken": "t"})
    result = run("gcp_project_info", filter=text)
    assert [item["project_id"] for item in result["projects"]] == found
    assert result["changed"] is False


def test_find_by_id(api: Api, run: Run) -> None:
    api.on("GET cloudresourcemanager/v3/projects/my-project", project(415, "my-project"))
    assert run("gcp_project_info")["projects"] == [
        {
            "project_id": "my-project",
            "project_number": "415",
            "name": "The my-project",
            "state": "ACTIVE",
            "labels": {},
        }
    ]


def test_an_id_that_is_not_there(api: Api, run: Run) -> None:
    message = "The caller does not have permission"
    api.error("GET cloudresourcemanager/v3/projects/my-project", 403, "PERMISSION_DENIED", message)
    result = run("gcp_project_info")
    assert (result["failed"], result["failure"]["kind"]) == (True, "permission")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": None}, "Neither filter nor project is set"),
        ({"project": "Not_a_project"}, "project: 'Not_a_project' is not valid"),
        ({"filter": "projectId ~ '['"}, "is no regular expression"),
    ],
)
def test_bad_input(api: Api, run: Run, options: Json, message: str) -> None:
    assert message in run("gcp_project_info", **options)["msg"]
    assert api.calls == []
