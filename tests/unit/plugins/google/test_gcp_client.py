# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
import requests
import yaml
from ansible_collections.tpuops.maxtext.plugins.doc_fragments.gcp import ModuleDocFragment
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import ENDPOINT_OPTIONS
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.auth import AuthSettings
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import ENDPOINTS, RETRIES, Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    QuotaExceeded,
    RateLimited,
    TransportError,
    Unauthenticated,
    Unavailable,
)

from .conftest import Api

GET = "GET tpu/v2/x"


@pytest.fixture
def client(api: Api) -> Client:
    return Client(AuthSettings(kind="accesstoken", access_token="the-token"))


def test_a_call_carries_the_token_and_goes_to_the_endpoint_of_its_api(api: Api) -> None:
    settings = AuthSettings(kind="accesstoken", access_token="the-token")
    client = Client(settings, {"compute": "http://other.test:8080/compute/v1/", "tpu": None})
    api.on("GET tpu/v2/x", {"a": 1}, query={"q": "1"})
    api.on("POST other/compute/v1/y", {"b": 2}, body={"c": 3})
    assert client.get("tpu", "v2/x", {"q": 1}) == {"a": 1}
    assert client.post("compute", "y", {"c": 3}) == {"b": 2}
    assert [request.headers["Authorization"] for request in api.sent] == ["Bearer the-token"] * 2


def test_all_pages_are_read_and_none_before_it_is_needed(api: Api, client: Client) -> None:
    api.on(GET, {"items": [{"n": 1}, {"n": 2}], "nextPageToken": "t"}, query={"pageSize": "2"})
    found = client.items("tpu", "v2/x", "items", {"pageSize": 2})
    assert [next(found), next(found)] == [{"n": 1}, {"n": 2}]
    api.on(GET, {"nextPageToken": "u"}, query={"pageSize": "2", "pageToken": "t"})
    api.on(GET, {"items": [{"n": 3}]}, query={"pageSize": "2", "pageToken": "u"})
    assert list(found) == [{"n": 3}]


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_what_passes_by_itself_is_tried_again(
    api: Api, client: Client, method: str, pauses: list[float]
) -> None:
    call = f"{method} tpu/v2/x"
    api.on(call, requests.ConnectionError("cut off"))
    api.error(call, 503, "UNAVAILABLE")
    api.error(call, 429, "RESOURCE_EXHAUSTED", headers={"Retry-After": "7"})
    api.on(call, {"ok": True})
    assert client.request(method, "tpu", "v2/x") == {"ok": True}
    assert len(pauses) == 3
    assert pauses[2] >= 7


def test_pauses_grow_and_differ(api: Api, client: Client, pauses: list[float]) -> None:
    for _call in range(2):
        for _attempt in range(RETRIES + 1):
            api.error(GET, 503, "UNAVAILABLE", "busy")
        with pytest.raises(Unavailable, match="busy"):
            client.get("tpu", "v2/x")
    first, second = pauses[:RETRIES], pauses[RETRIES:]
    assert first[1] < first[2] < first[3]
    assert first != second


@pytest.mark.parametrize("header", ["soon", "", "-1", "Mon, 01 Jan 99999 00:00:00 GMT"])
def test_a_retry_after_that_makes_no_sense_asks_for_no_pause(
    api: Api, client: Client, header: str, pauses: list[float]
) -> None:
    api.error(GET, 429, "RESOURCE_EXHAUSTED", headers={"Retry-After": header}).on(GET, {"ok": True})
    assert client.get("tpu", "v2/x") == {"ok": True}
    assert pauses == [0.0]


def test_a_retry_after_of_hours_is_cut_short(api: Api, client: Client, pauses: list[float]) -> None:
    api.error(GET, 429, "RESOURCE_EXHAUSTED", headers={"Retry-After": "7200"}).on(GET, {"ok": True})
    assert client.get("tpu", "v2/x") == {"ok": True}
    assert 120 <= pauses[0] <= 150


def test_a_deadline_ends_the_pauses(api: Api, client: Client, pauses: list[float]) -> None:
    for _attempt in range(3):
        api.error(GET, 503, "UNAVAILABLE", "busy", headers={"Retry-After": "20"})
    with pytest.raises(Unavailable, match="busy"):
        client.within(Deadline(30)).get("tpu", "v2/x")
    assert sum(pauses) == pytest.approx(30)
    for _attempt in range(RETRIES + 1):
        api.error(GET, 503, "UNAVAILABLE", "busy", headers={"Retry-After": "20"})
    with pytest.raises(Unavailable):
        client.get("tpu", "v2/x")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(requests.ReadTimeout("slow"), TransportError), (requests.ConnectionError(), TransportError)],
)
def test_a_lost_answer_is_an_error_of_the_transport_in_the_end(
    api: Api, client: Client, answer: Exception, kind: type[GcpError]
) -> None:
    for _attempt in range(RETRIES + 1):
        api.on(GET, answer)
    with pytest.raises(kind):
        client.get("tpu", "v2/x")


def test_too_many_requests_in_the_end(api: Api, client: Client) -> None:
    for _attempt in range(RETRIES + 1):
        api.error(GET, 429, "RESOURCE_EXHAUSTED")
    with pytest.raises(RateLimited):
        client.get("tpu", "v2/x")


def test_a_quota_is_not_worth_another_try(api: Api, client: Client, pauses: list[float]) -> None:
    api.error(GET, 429, "RESOURCE_EXHAUSTED", "Quota limit 'TPUs' has been exceeded.")
    with pytest.raises(QuotaExceeded):
        client.get("tpu", "v2/x")
    assert pauses == []


def test_a_refused_static_token_gives_the_apis_message(api: Api, client: Client) -> None:
    api.error(GET, 401, "UNAUTHENTICATED", "Request had invalid credentials")
    with pytest.raises(Unauthenticated, match="Request had invalid credentials"):
        client.get("tpu", "v2/x")


@pytest.mark.parametrize("answer", ["<html>hello</html>", [1, 2]])
def test_an_answer_that_is_no_json_object_names_the_endpoint_as_the_cause(
    api: Api, client: Client, answer: Any
) -> None:
    api.on(GET, answer)
    with pytest.raises(GcpError, match=r"is not a JSON object. Check that the endpoint option"):
        client.get("tpu", "v2/x")


def test_every_api_has_an_endpoint_option_that_is_documented_and_that_gcloud_shares() -> None:
    options = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    sources = yaml.safe_load(ModuleDocFragment.INVENTORY)["options"]
    assert {api for api, _env in ENDPOINT_OPTIONS.values()} == set(ENDPOINTS)
    for option, (api, env) in ENDPOINT_OPTIONS.items():
        assert (option, f"E({env})" in str(options[option])) == (f"{api}_endpoint", True)
        assert ENDPOINTS[api] in str(options[option])
        assert sources[option]["env"] == [{"name": env}]
