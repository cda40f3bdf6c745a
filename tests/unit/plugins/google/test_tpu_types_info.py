# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from tests.json_types import Json

from .conftest import Api, Run
from .test_tpu_vm import BIG

LOCATIONS = "tpu/v2/projects/my-project/locations"


def offered(api: Api, zone: str, *types: str) -> Api:
    kinds = [{"type": kind, "acceleratorConfigs": [{"type": "V5P", "topology": kind}]} for kind in types]
    api.on(f"GET {LOCATIONS}/{zone}/acceleratorTypes", {"acceleratorTypes": kinds}, query=BIG)
    versions = [{"version": "v2-b"}, {"version": "v2-a"}]
    return api.on(f"GET {LOCATIONS}/{zone}/runtimeVersions", {"runtimeVersions": versions}, query=BIG)


def offer(*types: str) -> Json:
    return {
        "accelerator_types": list(types),
        "accelerator_configs": {kind: [{"type": "V5P", "topology": kind}] for kind in types},
        "runtime_versions": ["v2-a", "v2-b"],
    }


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zones are asked at the same time; here one after the other, so that the calls have an order."""
    from ansible_collections.tpuops.maxtext.plugins.modules import tpu_types_info

    monkeypatch.setattr(tpu_types_info, "AT_ONCE", 1)


def zones(*names: str) -> Json:
    return {"locations": [{"locationId": name} for name in names]}


def test_all_zones_page_by_page(api: Api, run: Run) -> None:
    api.on(f"GET {LOCATIONS}", {**zones("us-west1-c"), "nextPageToken": "t"})
    api.on(f"GET {LOCATIONS}", zones("us-east5-a"), query={"pageToken": "t"})
    offered(offered(api, "us-west1-c", "v5p-16", "v5p-8"), "us-east5-a")
    result = run("tpu_types_info")
    first = {**offer("v5p-16", "v5p-8"), "accelerator_types": ["v5p-8", "v5p-16"]}
    assert result["zones"] == {"us-west1-c": first, "us-east5-a": offer()}
    assert (result["changed"], result["unreachable_zones"], api.writes) == (False, [], [])


@pytest.mark.parametrize("check", [False, True])
def test_zones_by_name(api: Api, run: Run, check: bool) -> None:
    offered(api, "us-west1-c", "v5p-8")
    result = run("tpu_types_info", check=check, zones=["us-west1-c"])
    assert result["zones"] == {"us-west1-c": offer("v5p-8")}


CLOSED: Any = (403, "PERMISSION_DENIED", "Location us-west1-c is not found or access is unauthorized.")


def test_a_zone_that_is_closed_to_the_project_is_left_out_of_all(api: Api, run: Run) -> None:
    api.on(f"GET {LOCATIONS}", zones("us-west1-c", "us-east5-a"))
    api.error(f"GET {LOCATIONS}/us-west1-c/acceleratorTypes", *CLOSED, query=BIG)
    offered(api, "us-east5-a", "v5p-8")
    result = run("tpu_types_info")
    assert (list(result["zones"]), result["unreachable_zones"]) == (["us-east5-a"], ["us-west1-c"])


def test_a_zone_that_is_named_and_closed_is_an_error(api: Api, run: Run) -> None:
    api.error(f"GET {LOCATIONS}/us-west1-c/acceleratorTypes", *CLOSED, query=BIG)
    assert run("tpu_types_info", zone=["us-west1-c"])["failure"]["kind"] == "location"


def test_what_stands_in_the_way_everywhere_is_an_error(api: Api, run: Run) -> None:
    api.on(f"GET {LOCATIONS}", zones("us-west1-c"))
    details = [{"reason": "SERVICE_DISABLED"}]
    url = f"GET {LOCATIONS}/us-west1-c/acceleratorTypes"
    api.error(url, 403, "PERMISSION_DENIED", "off", details=details, query=BIG)
    assert run("tpu_types_info")["failure"]["kind"] == "api_disabled"


def test_bad_zones(api: Api, run: Run) -> None:
    assert "zone: 'here' is not valid" in run("tpu_types_info", zones=["here"])["msg"]
    assert api.calls == []


def test_a_zone_that_is_named_and_fails_leaves_the_others(api: Api, run: Run) -> None:
    api.error(f"GET {LOCATIONS}/us-west1-c/acceleratorTypes", *CLOSED, query=BIG)
    offered(api, "us-east5-a", "v5p-8")
    result = run("tpu_types_info", zones=["us-west1-c", "us-east5-a"])
    assert (list(result["zones"]), result["unreachable_zones"]) == (["us-east5-a"], ["us-west1-c"])
    assert "us-west1-c" in "".join(result["warnings"])
