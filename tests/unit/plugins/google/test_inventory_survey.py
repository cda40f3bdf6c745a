# SPDX-License-Identifier: GPL-3.0-or-later
"""What the inventory asks Google for: how often, of many zones at once, and what if one of them fails."""

from __future__ import annotations

import gc
import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.template import Templar, trust_as_template
from ansible.utils.display import Display

from tests.json_types import Json
from tests.keys import public_key

from .test_inventory import Source, keys, node

NODES = "/v2/projects/my-project/locations/{}/nodes"
QUEUED = "/v2/projects/my-project/locations/{}/queuedResources"
ZONES = ["us-west1-c", "us-west4-a", "us-east5-a"]


class Google(requests.adapters.BaseAdapter):
    """Answers by path, in any order and from any thread.

    answers: path -> (status, body), or the pages of a list; asked: path -> how often; meet: nothing is
    answered before that many are asked at once; sizes: of pages, as they were asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, tuple[int, Any] | list[Json]] = {}
        self.asked: Counter[str] = Counter()
        self.tokens: set[str] = set()
        self.sizes: set[str] = set()
        self.meet: threading.Barrier | None = None

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        path = str(request.path_url).partition("?")[0]
        number = self.asked[path]
        self.asked[path] += 1
        self.tokens.add(str(request.headers["Authorization"]))
        self.sizes.update(parse_qs(urlsplit(str(request.url)).query).get("pageSize", []))
        if self.meet:
            self.meet.wait(30)
        found = self.answers[path]
        status, body = (200, found[number % len(found)]) if isinstance(found, list) else found
        response = requests.Response()
        response.status_code = status
        response.request = request
        response._content = json.dumps(body).encode()
        return response

    def close(self) -> None:
        """Nothing is open."""

    def nodes(self, zone: str, *nodes: Json) -> None:
        self.answers[NODES.format(zone)] = (200, {"nodes": list(nodes)})

    def fail(self, zone: str, status: int, message: str) -> None:
        names = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 503: "UNAVAILABLE"}
        error = {"code": status, "status": names[status], "message": message}
        self.answers[NODES.format(zone)] = (status, {"error": error})


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Google:
    transport = Google()
    monkeypatch.setattr(requests.Session, "get_adapter", lambda _session, url: transport)
    return transport


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    shown: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, message, *_more: shown.append(message))
    yield shown


def stopped(name: str, zone: str = "us-west1-c", **more: Any) -> Json:
    path = f"projects/my-project/locations/{zone}/nodes/{name}"
    return {**node(name, state="STOPPED", **more), "name": path}


def test_listed_zones_are_asked_all_at_once_with_one_token(google: Google, source: Source) -> None:
    google.meet = threading.Barrier(len(ZONES))
    for zone in ZONES:
        google.nodes(zone, stopped(f"in-{zone}", zone))
    source.write(zones=[*ZONES, ZONES[0]])
    assert sorted(source.read().hosts) == sorted(f"in-{zone}" for zone in ZONES)
    assert google.asked == {NODES.format(zone): 1 for zone in ZONES}
    assert google.tokens == {"Bearer the-token"}


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "Location us-west4-a is not found or access is unauthorized."), (503, "Try again.")],
)
def test_a_zone_that_fails_is_told_and_the_others_are_there(
    google: Google, source: Source, warnings: list[str], status: int, message: str
) -> None:
    for zone in ZONES:
        google.nodes(zone, stopped(f"in-{zone}", zone))
    google.fail("us-west4-a", status, message)
    source.write(zones=ZONES)
    assert sorted(source.read().hosts) == ["in-us-east5-a", "in-us-west1-c"]
    assert [text for text in warnings if "us-west4-a" in text and message.rstrip(".") in text]
    warnings.clear()
    source.write(zones=ZONES, unreachable="ignore")
    assert sorted(source.read().hosts) == ["in-us-east5-a", "in-us-west1-c"]
    assert [text for text in warnings if "missing" in text] == []
    source.write(zones=ZONES, unreachable="error")
    with pytest.raises(AnsibleParserError, match=r"missing: us-west4-a \("):
        source.read()


@pytest.mark.parametrize("policy", ["warn", "ignore"])
def test_no_zone_that_answers_is_an_error(google: Google, source: Source, policy: str) -> None:
    for zone in ZONES:
        google.fail(zone, 403, "Not yours")
    source.write(zones=ZONES, unreachable=policy)
    with pytest.raises(AnsibleParserError, match="Not yours"):
        source.read()


def test_a_refused_token_is_an_error_of_all_zones(google: Google, source: Source) -> None:
    google.nodes(ZONES[0])
    google.fail(ZONES[1], 401, "Who are you")
    source.write(zones=ZONES[:2], unreachable="ignore")
    with pytest.raises(AnsibleParserError, match="Who are you"):
        source.read()


# Requests


def fleet(google: Google, pages: int, size: int, **more: Any) -> int:
    """Pages of running nodes; how many there are."""
    path = NODES.format("-")
    google.answers[path] = [
        {
            "nodes": [node(f"n{page}-{number}", **more) for number in range(size)],
            **({"nextPageToken": str(page)} if page < pages - 1 else {}),
        }
        for page in range(pages)
    ]
    for page in range(pages):
        for number in range(size):
            google.answers[f"{NODES.format('us-west1-c')}/n{page}-{number}:getGuestAttributes"] = (
                200,
                keys(public_key(f"{page}{number}")),
            )
    return pages * size


def test_a_request_a_page_and_one_for_each_unknown_key_and_none_when_cached(
    google: Google, source: Source
) -> None:
    nodes = fleet(google, pages=3, size=4)
    cache = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile"}
    source.write(zones=None, **cache, cache_connection=str(source.directory / "cache"))
    assert len(source.read().hosts) == nodes
    assert google.asked.total() == 3 + nodes
    google.asked.clear()
    assert len(source.read().hosts) == nodes
    assert google.asked.total() == 0
    assert len(source.read(cache=False).hosts) == nodes
    assert google.asked.total() == 3 + nodes  # a machine may have published another key
    assert len(source.known_hosts.read_text().splitlines()) == nodes


def test_too_many_unknown_keys_are_not_asked_for(google: Google, source: Source, warnings: list[str]) -> None:
    fleet(google, pages=1, size=4)
    source.write(zones=None, host_keys_limit=3)
    assert len(source.read().hosts) == 4
    assert google.asked == {NODES.format("-"): 1}
    assert any("host keys of 4 TPU VMs" in text and "(3)" in text for text in warnings)
    assert not source.known_hosts.exists()
    source.write(zones=None, host_keys_limit=3, filters={"name": ["n0-1", "n0-2"]})
    source.read()
    assert len(source.known_hosts.read_text().splitlines()) == 2


def test_of_more_nodes_than_the_limit_only_unknown_keys_are_asked_for(
    google: Google, source: Source, warnings: list[str]
) -> None:
    fleet(google, pages=1, size=4)
    for number in range(3):
        source.write(zones=None, filters={"name": f"n0-{number}"})
        source.read()
    google.asked.clear()
    source.write(zones=None, host_keys_limit=3)
    source.read()
    asked = [path for path in google.asked if path.endswith(":getGuestAttributes")]
    assert [path.rpartition("/")[2] for path in asked] == ["n0-3:getGuestAttributes"]
    assert [text for text in warnings if "host key" in text] == []


def test_a_limit_of_zero_neither_asks_nor_warns(google: Google, source: Source, warnings: list[str]) -> None:
    fleet(google, pages=1, size=2)
    source.write(zones=None, host_keys_limit=0)
    source.read()
    assert google.asked == {NODES.format("-"): 1}
    assert [text for text in warnings if "host keys" in text] == []


# Queued resources


def queued(name: str, state: str, *specs: Json) -> Json:
    path = f"projects/my-project/locations/us-west1-c/queuedResources/{name}"
    return {"name": path, "state": {"state": state}, "tpu": {"nodeSpec": list(specs)}}


SPEC = {"acceleratorType": "v5litepod-16", "runtimeVersion": "v2-alpha-tpuv5-lite", "labels": {"team": "red"}}


@pytest.fixture
def waiting(google: Google) -> None:
    parent = "projects/123/locations/us-west1-c"
    google.answers[QUEUED.format("us-west1-c")] = (
        200,
        {
            "queuedResources": [
                queued("one", "WAITING_FOR_RESOURCES", {"parent": parent, "nodeId": "tpu", "node": SPEC}),
                queued(
                    "many",
                    "PROVISIONING",
                    {"multisliceParams": {"nodeCount": 2, "nodeIdPrefix": "part"}, "node": SPEC},
                ),
                queued("there", "ACTIVE", {"nodeId": "there", "node": SPEC}),
                queued("dead", "FAILED", {"nodeId": "dead", "node": SPEC}),
            ]
        },
    )
    google.nodes(
        "us-west1-c", stopped("part-0", queuedResource="projects/p/locations/z/queuedResources/many")
    )


def test_nodes_to_be_are_shown_on_request(google: Google, source: Source, waiting: None) -> None:
    source.write(queued_resources=True)
    data = source.read()
    assert sorted(data.hosts) == ["part-0", "part-1", "tpu"]
    assert [host.name for host in data.groups["tpu_vm"].get_hosts()] == ["part-0"]
    assert {group.name for group in data.get_host("tpu").get_groups()} == {
        *("all", "tpu_vm_waiting", "state_waiting_for_resources", "zone_us_west1_c"),
        *("type_v5litepod_16", "slice_one", "label_team_red"),
    }
    variables = data.get_host("tpu").get_vars()
    known = {"tpu_state": "WAITING_FOR_RESOURCES", "tpu_slice": "one", "tpu_worker_count": 0}
    assert {name: variables[name] for name in known} == known
    assert "ansible_host" not in variables
    assert sorted(host.name for host in data.groups["slice_many"].get_hosts()) == ["part-0", "part-1"]
    assert data.get_host("part-0").get_vars()["tpu_slice"] == "many"


def test_nodes_to_be_are_filtered_as_nodes_are(google: Google, source: Source, waiting: None) -> None:
    source.write(queued_resources=True, filters={"state": "WAITING_FOR_RESOURCES"})
    assert list(source.read().hosts) == ["tpu"]


def test_nodes_to_be_are_not_asked_for_without_request(google: Google, source: Source, waiting: None) -> None:
    source.write()
    assert list(source.read().hosts) == ["part-0"]
    assert google.asked == {NODES.format("us-west1-c"): 1}


# What is done for each host


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that went to the template engine, each as often as it did."""
    seen: list[str] = []
    real = Templar.evaluate_expression

    def evaluate(templar: Templar, expression: str, **options: Any) -> Any:
        seen.append(expression)
        return real(templar, expression, **options)

    monkeypatch.setattr(Templar, "evaluate_expression", evaluate)
    return seen


def test_names_and_dots_need_no_template_engine(google: Google, source: Source, evaluated: list[str]) -> None:
    fleet(google, pages=1, size=4, labels={"team": "red", "items": "7"})
    source.write(
        zones=None,
        host_keys_limit=0,
        compose={"kind": "tpu_accelerator_type", "where": "tpu_zone ~ '/' ~ tpu_node"},
        keyed_groups=[
            {"prefix": "runtime", "key": "tpu_runtime_version"},
            {"prefix": "team", "key": "tpu_labels.team"},
            {"prefix": "kind", "key": "kind"},
        ],
    )
    data = source.read()
    assert evaluated == ["tpu_zone ~ '/' ~ tpu_node"] * 4
    assert {"runtime_v2_alpha_tpuv5_lite", "team_red", "kind_v5litepod_8"} <= set(data.groups)
    variables = data.get_host("n0-1").get_vars()
    assert (variables["kind"], variables["where"]) == ("v5litepod-8", "us-west1-c/n0-1")


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("tpu_labels.nothing", set()),
        ("nothing", set()),
        ("true", set()),
        ("tpu_labels['items']", {"team_7"}),
        ("tpu_zone.upper()", {"team_US_WEST1_C"}),
    ],
)
def test_other_expressions_are_the_template_engines(
    google: Google, source: Source, evaluated: list[str], key: str, groups: set[str]
) -> None:
    google.nodes("us-west1-c", stopped("tpu", labels={"team": "red", "items": "7"}))
    source.write(keyed_groups=[{"prefix": "team", "key": key}])
    if key == "true":
        with pytest.raises(AnsibleParserError, match="Invalid group name format"):
            source.read()
    else:
        assert {name for name in source.read().groups if name.startswith("team_")} == groups
    assert evaluated == [key]


def test_a_label_named_like_a_method_is_what_the_template_engine_says(
    google: Google, source: Source, evaluated: list[str]
) -> None:
    google.nodes("us-west1-c", stopped("tpu", labels={"items": "7"}))
    source.write(keyed_groups=[{"key": "tpu_labels.items"}])
    source.read()
    assert evaluated == ["tpu_labels.items"]


def test_extra_variables_may_overrule_a_name(google: Google, source: Source, evaluated: list[str]) -> None:
    google.nodes("us-west1-c", stopped("tpu"))
    source.write(use_extra_vars=True, keyed_groups=[{"prefix": "zone", "key": "tpu_zone"}])
    assert "zone_us_west1_c" in source.read().groups
    assert evaluated == ["tpu_zone"]


def test_a_template_of_another_inventory_is_still_a_template(
    google: Google, source: Source, evaluated: list[str]
) -> None:
    google.nodes("us-west1-c", stopped("tpu"))
    source.write(keyed_groups=[{"prefix": "tier", "key": "tier"}, {"prefix": "row", "key": "row"}])
    template = trust_as_template("{{ tpu_node ~ '-x' }}")
    data = source.read(earlier={"tpu": {"tier": template, "row": [template]}})
    assert {name for name in data.groups if name.startswith(("tier", "row"))} == {"tier_tpu_x", "row_tpu_x"}
    assert evaluated == ["tier", "row"]


def test_pythons_collector_is_on_again(google: Google, source: Source) -> None:
    google.nodes("us-west1-c", stopped("tpu"))
    source.write(compose={"bad": "nothing.at.all"}, strict=True)
    with pytest.raises(AnsibleError, match="Could not set bad"):
        source.read()
    assert gc.isenabled()


@pytest.mark.parametrize(("nodes", "zones", "requests"), [(1000, ["-"], 1), (1001, ["-"], 2), (2, ZONES, 3)])
def test_requests_follow_from_the_size_of_a_page_and_the_zones(
    google: Google, source: Source, nodes: int, zones: list[str], requests: int
) -> None:
    """As few as Google allows: a page has 1,000 nodes at most."""
    for zone in zones:
        place = "us-west1-c" if zone == "-" else zone
        found = [stopped(f"{place}-{number}", place) for number in range(nodes)]
        pages = [found[first : first + 1000] for first in range(0, nodes, 1000)]
        google.answers[NODES.format(zone)] = [
            {"nodes": page, **({"nextPageToken": "more"} if page is not pages[-1] else {})} for page in pages
        ]
    source.write(zones=None if zones == ["-"] else zones)
    assert len(source.read().hosts) == nodes * len(zones)
    assert google.asked.total() == requests
    assert google.sizes == {"1000"}


def test_host_keys_that_google_refuses_of_one_node_leave_the_others(
    google: Google, source: Source, warnings: list[str]
) -> None:
    google.nodes("us-west1-c", node("mine"), node("theirs", id="43"))
    refused = {"code": 403, "status": "PERMISSION_DENIED", "message": "not for you"}
    path = NODES.format("us-west1-c")
    google.answers[f"{path}/theirs:getGuestAttributes"] = (403, {"error": refused})
    google.answers[f"{path}/mine:getGuestAttributes"] = (200, keys("AAAA"))
    source.write()
    assert sorted(source.read().hosts) == ["mine", "theirs"]
    assert "theirs" in "".join(warnings)
