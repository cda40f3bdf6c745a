# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from tests.json_types import Json

from .conftest import Api, Run

DISKS = "compute/compute/v1/projects/my-project/aggregated/disks"
PARTIAL = {"returnPartialSuccess": "true"}


def disk(name: str, zone: str) -> Json:
    return {"name": name, "zone": f"https://www.googleapis.com/compute/v1/projects/my-project/zones/{zone}"}


def test_all_zones_in_one_list(api: Api, run: Run) -> None:
    first = {
        "items": {
            "zones/us-west1-c": {"disks": [disk("a", "us-west1-c")]},
            "zones/us-east5-a": {"warning": {}},
        },
        "nextPageToken": "t",
        "unreachables": ["zones/us-east1-d"],
    }
    second = {
        "items": {
            "zones/us-east5-a": {"disks": [disk("b", "us-east5-a")]},
            "regions/us-east5": {"disks": [{"name": "of-two-zones"}]},
        }
    }
    api.on(f"GET {DISKS}", first, query=PARTIAL)
    api.on(f"GET {DISKS}", second, query={**PARTIAL, "pageToken": "t"})
    result = run("gcp_disk_info")
    assert [(found["name"], found["zone"]) for found in result["disks"]] == [
        ("a", "us-west1-c"),
        ("b", "us-east5-a"),
    ]
    assert (result["changed"], result["unreachable_zones"]) == (False, ["us-east1-d"])


def test_by_name(api: Api, run: Run) -> None:
    answer = {"items": {"zones/us-west1-c": {"disks": [disk("a", "us-west1-c")]}}}
    api.on(f"GET {DISKS}", answer, query={**PARTIAL, "filter": 'name = "a"'})
    assert [found["zone"] for found in run("gcp_disk_info", name="a")["disks"]] == ["us-west1-c"]


def test_a_bad_name_is_refused_before_anything_is_asked(api: Api, run: Run) -> None:
    result = run("gcp_disk_info", name="My disk")
    assert (result["failed"], result["failure"]["kind"]) == (True, "invalid_argument")
