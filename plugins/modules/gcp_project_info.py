#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gcp_project_info
short_description: Find projects of Google Cloud
version_added: 0.1.0
description:
  - Finds the projects that the credentials can see, by a filter as C(gcloud projects list) takes it, or one
    project by its id.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.gcp
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
  - tpuops.maxtext.attributes.actiongroup_gcp
options:
  project:
    description:
      - Id of the project to find. It is an error if it is not there.
      - Without effect where O(filter) is given, so that defaults for all modules can stay.
      - The environment variable E(GCP_PROJECT) is used if it is not set.
    type: str
  filter:
    description:
      - A filter in gcloud's language. Comparisons are C(=), C(!=), C(~) and C(!~) (regular expressions) and
        C(:); they are joined by C(AND), C(OR), C(NOT) and brackets.
      - Keys are V(projectId), V(projectNumber), V(name), V(lifecycleState) and V(labels.KEY).
    type: str
"""

EXAMPLES = r"""
- name: Find the project of a lab
  tpuops.maxtext.gcp_project_info:
    filter: projectId ~ '^qwiklabs-gcp-' AND projectId != 'qwiklabs-resources'
  register: found

- name: Show its id and number
  ansible.builtin.debug:
    msg: "{{ found.projects[0].project_id }} is number {{ found.projects[0].project_number }}"
"""

RETURN = r"""
projects:
  description: The active projects found, in the order of their ids.
  returned: success
  type: list
  elements: dict
  contains:
    project_id:
      description: Id.
      type: str
      sample: qwiklabs-gcp-01-3c69409e1eb8
    project_number:
      description: Number, which Google uses in place of the id in many names.
      type: str
      sample: "415104041262"
    name:
      description: Display name.
      type: str
    state:
      description: State in its life, V(ACTIVE) here.
      type: str
    labels:
      description: Labels.
      type: dict
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import check_names, google
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import compile_filter
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module

API = "resourcemanager"


def find(module: AnsibleModule, client: Client) -> dict[str, Any]:
    if module.params["filter"]:
        return {"projects": search(client, module.params["filter"])}
    project = module.params["project"]
    if not project:
        raise InvalidArgument("Neither filter nor project is set", remedy="Say which projects to find.")
    check_names(project=project)
    return {"projects": [described(client.get(API, f"v3/projects/{project}"))]}


def search(client: Client, text: str) -> list[dict[str, Any]]:
    """The server's own query language knows no regular expressions, so the filter is applied here."""
    wanted = compile_filter(text)
    visible = client.items(API, "v3/projects:search", "projects", {"query": "state:ACTIVE"})
    found = [described(project) for project in visible if wanted(as_gcloud(project))]
    return sorted(found, key=lambda project: str(project["project_id"]))


def as_gcloud(project: dict[str, Any]) -> dict[str, Any]:
    """The project under the keys of version 1 of the API, which gcloud's filters name."""
    return {
        **project,
        "projectNumber": number_of(project),
        "name": project.get("displayName", ""),
        "lifecycleState": project.get("state", ""),
    }


def number_of(project: dict[str, Any]) -> str:
    return str(project["name"]).rpartition("/")[2]


def described(project: dict[str, Any]) -> dict[str, Any]:
    return {
        "project_id": project["projectId"],
        "project_number": number_of(project),
        "name": project.get("displayName", ""),
        "state": project.get("state", ""),
        "labels": project.get("labels", {}),
    }


OPERATION = google({"filter": {"type": "str"}}, find)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
