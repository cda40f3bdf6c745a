# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud Resource Manager: v3 as the modules call it, v1 as `gcloud projects list` and `describe` do."""

from __future__ import annotations

from localcloud import catalog
from localcloud.filters import FilterError, compile_filter
from localcloud.google.api import Api, Call, page
from localcloud.google.errors import invalid_field
from localcloud.json_types import Json

v1 = Api("cloudresourcemanager.v1")
v3 = Api("cloudresourcemanager.v3")

CREATED = "2026-01-01T00:00:00.000Z"
ORGANIZATION = "100000000001"


def _v1_project(project: catalog.Project) -> Json:
    return {
        "projectId": project.project_id,
        "projectNumber": project.number,
        "name": project.name,
        "lifecycleState": "ACTIVE",
        "createTime": CREATED,
        "parent": {"type": "organization", "id": ORGANIZATION},
    }


def _v3_project(project: catalog.Project) -> Json:
    return {
        "name": f"projects/{project.number}",
        "projectId": project.project_id,
        "displayName": project.name,
        "state": "ACTIVE",
        "createTime": CREATED,
        "updateTime": CREATED,
        "etag": f'W/"{project.number}"',
        "parent": f"organizations/{ORGANIZATION}",
    }


def _matching(call: Call, expression: str, aliases: dict[str, str]) -> list[catalog.Project]:
    """The projects that an expression selects. aliases: names that filters may use -> fields of v1."""
    try:
        predicate = compile_filter(expression)
    except FilterError as error:
        raise invalid_field("filter", str(error)) from None
    found = []
    for project in catalog.PROJECTS:
        fields = _v1_project(project)
        if predicate({**fields, **{alias: fields[name] for alias, name in aliases.items()}}):
            found.append(project)
    return sorted(found, key=lambda project: project.project_id)


@v1.method("cloudresourcemanager.projects.list")
def list_v1(call: Call) -> Json:
    found = _matching(call, call.query.get("filter", ""), {"id": "projectId"})
    return page(call, [(project.project_id, _v1_project(project)) for project in found], "projects")


@v1.method("cloudresourcemanager.projects.get")
def get_v1(call: Call) -> Json:
    return _v1_project(call.project)


@v3.method("cloudresourcemanager.projects.search")
def search(call: Call) -> Json:
    aliases = {"id": "projectId", "displayName": "name", "state": "lifecycleState"}
    found = _matching(call, call.query.get("query", ""), aliases)
    return page(call, [(project.project_id, _v3_project(project)) for project in found], "projects")


@v3.method("cloudresourcemanager.projects.get")
def get_v3(call: Call) -> Json:
    return _v3_project(call.project)
