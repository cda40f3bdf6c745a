# SPDX-License-Identifier: GPL-3.0-or-later
"""Accounts, and repositories as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.localcloud.hub_client import API, REPO, HubClient

ANONYMOUS = {"Authorization": ""}


@pytest.fixture
def hub(tmp_path: Path) -> HubClient:
    return HubClient(tmp_path)


def test_tokens_are_made_once_and_only_for_the_owner(hub: HubClient) -> None:
    state_dir = hub.config.state_dir
    before = [(state_dir / name).read_text() for name in ("hf-token", "hf-token-reader")]
    HubClient(state_dir)
    assert [(state_dir / name).read_text() for name in ("hf-token", "hf-token-reader")] == before
    assert len(set(before)) == 2
    assert all(
        (state_dir / name).stat().st_mode & 0o777 == 0o600
        for name in ("hf-token", "hf-token-reader", "hub-key")
    )
    names = ["hf-token", "hf-token-reader", "hub", "hub-key"]
    assert sorted(path.name for path in state_dir.iterdir()) == names


def test_whoami_names_the_account_and_its_role(hub: HubClient) -> None:
    me = hub.get("/api/whoami-v2").json()
    other = hub.get("/api/whoami-v2", headers=hub.reader).json()
    assert (me["name"], me["auth"]["accessToken"]["role"]) == ("local", "write")
    assert (other["name"], other["auth"]["accessToken"]["role"]) == ("reader", "read")


@pytest.mark.parametrize("authorization", ["", "Bearer hf_unknown", "Basic bG9jYWw6", "Bearer"])
def test_a_token_that_nobody_has_is_refused(hub: HubClient, authorization: str) -> None:
    response = hub.get("/api/whoami-v2", headers={"Authorization": authorization})
    assert response.status_code == 401
    assert response.json() == {"error": "Invalid username or password."}
    assert response.headers["X-Request-Id"]


def test_a_new_repository_has_one_commit_with_git_attributes(hub: HubClient) -> None:
    created = hub.create()
    info = hub.get(API).json()
    assert created["url"] == f"http://testserver/{REPO}"
    assert [sibling["rfilename"] for sibling in info["siblings"]] == [".gitattributes"]
    assert len(hub.get(f"{API}/commits/main").json()) == 1
    assert not info["private"]


def test_creating_twice_is_a_conflict_that_names_the_url(hub: HubClient) -> None:
    hub.create()
    response = hub.post("/api/repos/create", json={"name": "model"})
    assert response.status_code == 409
    assert response.json()["url"] == f"http://testserver/{REPO}"


def test_a_model_and_a_data_set_may_share_a_name(hub: HubClient) -> None:
    hub.create()
    assert hub.create(type="dataset")["url"] == f"http://testserver/datasets/{REPO}"
    assert hub.get(f"/api/datasets/{REPO}").status_code == 200


@pytest.mark.parametrize(
    "name", ["", "a--b", "a..b", "-a", "a-", ".a", "a.git", "a.ipynb", "a b", "a/b", "モデル", "x" * 97]
)
def test_names_that_the_hub_does_not_take(hub: HubClient, name: str) -> None:
    response = hub.post("/api/repos/create", json={"name": name})
    assert response.status_code == 400
    assert "Invalid repo name" in response.json()["error"]


@pytest.mark.parametrize("body", ['{"name": 1}', "{}", "[]", "no JSON", '{"name": "a", "type": "space"}'])
def test_bodies_that_make_no_sense_are_bad_requests(hub: HubClient, body: str) -> None:
    response = hub.post("/api/repos/create", content=body)
    assert response.status_code == 400
    assert response.json()["error"]


def test_only_a_writer_creates_and_only_under_its_own_name(hub: HubClient) -> None:
    own = hub.post("/api/repos/create", json={"name": "a"}, headers=hub.reader)
    other = hub.post("/api/repos/create", json={"name": "a", "organization": "Qwen"})
    assert [own.status_code, other.status_code] == [403, 403]
    assert other.headers["X-Error-Message"] == (
        'You don\'t have the rights to create a model under the namespace "Qwen"'
    )


@pytest.mark.parametrize("settings", [{"private": True}, {"visibility": "private"}])
def test_a_private_repository_is_there_for_its_owner_alone(hub: HubClient, settings: dict[str, Any]) -> None:
    hub.create(**settings)
    assert hub.get(API).json()["private"]
    for path in (API, f"{API}/tree/main", f"/{REPO}/resolve/main/.gitattributes", f"{API}/refs"):
        other, nobody = hub.get(path, headers=hub.reader), hub.get(path, headers=ANONYMOUS)
        assert (other.status_code, other.headers["X-Error-Code"]) == (404, "RepoNotFound")
        assert (nobody.status_code, nobody.headers["X-Error-Code"]) == (401, "RepoNotFound")
    assert hub.get("/api/models", headers=hub.reader).json() == []
    assert [model["id"] for model in hub.get("/api/models").json()] == [REPO]


def test_a_reader_sees_and_does_not_change_what_is_public(hub: HubClient) -> None:
    hub.create()
    assert hub.get(API, headers=hub.reader).status_code == 200
    assert hub.get(API, headers=ANONYMOUS).status_code == 200
    for method, path in (
        ("POST", f"{API}/commit/main"),
        ("PUT", f"{API}/settings"),
        ("POST", f"{API}/branch/x"),
    ):
        assert hub.request(method, path, headers=hub.reader).status_code == 403
        assert hub.request(method, path, headers=ANONYMOUS).status_code == 401


def test_visibility_can_change_and_nothing_else(hub: HubClient) -> None:
    hub.create()
    assert hub.put(f"{API}/settings", json={"private": True}).status_code == 200
    assert hub.get(API).json()["private"]
    assert hub.put(f"{API}/settings", json={"visibility": "public"}).status_code == 200
    assert not hub.get(API).json()["private"]
    refused = hub.put(f"{API}/settings", json={"gated": "auto"})
    assert refused.status_code == 400 and "gated" in refused.json()["error"]
    assert hub.put(f"{API}/settings", json={"visibility": "secret"}).status_code == 400


def test_deleting(hub: HubClient) -> None:
    hub.create()
    refused = hub.request(
        "DELETE", "/api/repos/delete", json={"name": "model", "organization": "local"}, headers=hub.reader
    )
    assert refused.status_code == 403
    body = {"name": "model", "organization": "local", "type": "model"}
    assert hub.request("DELETE", "/api/repos/delete", json=body).status_code == 200
    again = hub.request("DELETE", "/api/repos/delete", json=body)
    assert (again.status_code, again.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_branches_and_tags(hub: HubClient) -> None:
    hub.create()
    first = hub.add({"a.txt": b"1"})
    assert hub.post(f"{API}/tag/main", json={"tag": "v1"}).status_code == 200
    assert hub.post(f"{API}/branch/try%2Fthis").status_code == 200
    second = hub.add({"a.txt": b"2"}, revision="try%2Fthis")
    refs = hub.get(f"{API}/refs").json()
    assert {ref["name"]: ref["targetCommit"] for ref in refs["branches"]} == {
        "main": first,
        "try/this": second,
    }
    assert {ref["ref"]: ref["targetCommit"] for ref in refs["tags"]} == {"refs/tags/v1": first}
    assert hub.get(f"/{REPO}/resolve/try%2Fthis/a.txt").content == b"2"
    assert hub.get(f"/{REPO}/resolve/v1/a.txt").content == b"1"
    assert hub.post(f"{API}/branch/old", json={"startingPoint": first}).status_code == 200
    assert hub.post(f"{API}/branch/old").status_code == 409
    assert hub.post(f"{API}/tag/nowhere", json={"tag": "v2"}).headers["X-Error-Code"] == "RevisionNotFound"
    assert hub.delete(f"{API}/branch/old").status_code == 200
    assert hub.delete(f"{API}/branch/old").status_code == 404
    assert hub.delete(f"{API}/branch/main").status_code == 403
    assert hub.delete(f"{API}/tag/v1").status_code == 200
    assert hub.get(f"/{REPO}/resolve/v1/a.txt").headers["X-Error-Code"] == "RevisionNotFound"


@pytest.mark.parametrize("name", ["a..b", ".a", "a.lock", "a//b", "a b", "0" * 40])
def test_branch_names_that_git_does_not_take(hub: HubClient, name: str) -> None:
    hub.create()
    assert hub.post(f"{API}/tag/main", json={"tag": name}).status_code == 400


def test_listing_by_author_search_and_limit(hub: HubClient) -> None:
    for name in ("one", "two", "three"):
        hub.create(f"local/{name}")

    def ids(query: str) -> list[str]:
        return [model["id"] for model in hub.get(f"/api/models?{query}").json()]

    assert ids("author=local") == ["local/one", "local/three", "local/two"]
    assert ids("author=Qwen") == []
    assert ids("search=TH") == ["local/three"]
    assert ids("limit=1") == ["local/one"]


def test_what_is_not_there_has_the_code_that_clients_look_for(hub: HubClient) -> None:
    assert hub.get("/api/models/gpt2").headers["X-Error-Code"] == "RepoNotFound"
    assert hub.get("/api/models/local/none").headers["X-Error-Code"] == "RepoNotFound"
    page = hub.get("/nothing/like/that")
    assert page.status_code == 404 and "X-Error-Code" not in page.headers
    assert hub.post(API).status_code == 405
