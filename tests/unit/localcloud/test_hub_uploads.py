# SPDX-License-Identifier: GPL-3.0-or-later
"""Preupload, LFS and commits."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.localcloud.hub_client import API, REPO, HubClient, lfs, regular

MEGABYTE = 1 << 20


@pytest.fixture
def hub(tmp_path: Path) -> HubClient:
    client = HubClient(tmp_path)
    client.create()
    return client


def plan(hub: HubClient, *files: dict[str, Any], **settings: str) -> list[dict[str, Any]]:
    response = hub.post(f"{API}/preupload/main", json={"files": list(files), **settings})
    assert response.status_code == 200, response.text
    return list(response.json()["files"])


def file(path: str, size: int = 10, sample: bytes = b"text") -> dict[str, Any]:
    return {"path": path, "size": size, "sample": base64.b64encode(sample).decode()}


def batch(hub: HubClient, *contents: bytes) -> list[dict[str, Any]]:
    objects = [{"oid": hashlib.sha256(data).hexdigest(), "size": len(data)} for data in contents]
    body = {"operation": "upload", "transfers": ["basic", "multipart"], "objects": objects}
    response = hub.post(f"/{REPO}.git/info/lfs/objects/batch", json=body)
    assert response.status_code == 200, response.text
    return list(response.json()["objects"])


def test_big_binary_and_named_files_go_by_lfs(hub: HubClient) -> None:
    files = plan(
        hub,
        file("config.json"),
        file("model.safetensors"),
        file("deep/down/train.parquet"),
        file("saved_model/1/x"),
        file("big.json", size=10 * MEGABYTE),
        file("raw", sample=b"\0\1"),
    )
    assert [each["uploadMode"] for each in files] == ["regular", *["lfs"] * 5]


def test_the_repository_s_own_attributes_decide(hub: HubClient) -> None:
    hub.add({".gitattributes": b"# by name\n*.json filter=lfs diff=lfs\n*.txt -text\n"})
    files = plan(hub, file("config.json"), file("notes.txt"), file("model.safetensors"))
    assert [each["uploadMode"] for each in files] == ["lfs", "regular", "regular"]


def test_ignored_files_and_what_is_there_already(hub: HubClient) -> None:
    hub.add({"same.txt": b"same"})
    oid = hub.add_lfs("same.bin", b"weights")
    files = plan(hub, file("a.log"), file("same.txt"), file("same.bin"), gitIgnore="*.log\n!b.log")
    assert [each["shouldIgnore"] for each in files] == [True, False, False]
    assert [each["oid"] for each in files] == [None, hashlib.sha1(b"blob 4\0same").hexdigest(), oid]


def test_one_put_then_verify(hub: HubClient) -> None:
    data = b"x" * 1000
    actions = batch(hub, data)[0]["actions"]
    assert hub.put(actions["upload"]["href"], content=data).status_code == 200
    oid = hashlib.sha256(data).hexdigest()
    assert hub.post(actions["verify"]["href"], json={"oid": oid, "size": 1000}).status_code == 200
    assert hub.post(actions["verify"]["href"], json={"oid": oid, "size": 999}).status_code == 422
    assert "actions" not in batch(hub, data)[0]


def test_parts_are_joined_in_their_order(hub: HubClient) -> None:
    data = bytes(range(256)) * 10240  # 2.5 MiB: three parts
    upload = batch(hub, data)[0]["actions"]["upload"]
    size = int(upload["header"].pop("chunk_size"))
    assert sorted(upload["header"]) == ["1", "2", "3"]
    for number in ("3", "1", "2"):  # clients send them side by side
        start = (int(number) - 1) * size
        assert hub.put(upload["header"][number], content=data[start : start + size]).headers["ETag"]
    parts = [{"partNumber": number, "etag": "x"} for number in (1, 2, 3)]
    assert hub.post(upload["href"], json={"oid": "x", "parts": parts}).status_code == 200
    oid = hashlib.sha256(data).hexdigest()
    assert hub.commit(lfs("m.bin", oid, len(data))).status_code == 200
    assert hub.get(f"/{REPO}/resolve/main/m.bin").content == data
    assert list((hub.config.state_dir / "hub" / "incoming").iterdir()) == []


def test_a_missing_part_or_a_wrong_one_makes_no_object(hub: HubClient) -> None:
    data = b"y" * 2 * MEGABYTE
    upload = batch(hub, data)[0]["actions"]["upload"]
    hub.put(upload["header"]["1"], content=data[:MEGABYTE])
    parts = {"parts": [{"partNumber": 1}, {"partNumber": 2}]}
    missing = hub.post(upload["href"], json=parts)
    assert missing.status_code == 400 and "have been uploaded" in missing.json()["error"]
    hub.put(upload["header"]["2"], content=b"z")
    wrong = hub.post(upload["href"], json=parts)
    assert wrong.status_code == 400 and "announced sha256" in wrong.json()["error"]
    assert "actions" in batch(hub, data)[0]


def test_content_that_is_not_what_was_announced_is_dropped(hub: HubClient) -> None:
    oid = hashlib.sha256(b"right").hexdigest()
    assert hub.put(f"/lfs/objects/{oid}", content=b"wrong").status_code == 400
    assert hub.commit(lfs("a.bin", oid, 5)).status_code == 400
    assert list((hub.config.state_dir / "hub" / "incoming").iterdir()) == []
    assert hub.put("/lfs/objects/..%2F..%2Fescape", content=b"x").status_code == 400


def test_a_data_set_s_lfs_route(hub: HubClient) -> None:
    hub.create(type="dataset")
    body = {"operation": "upload", "objects": []}
    assert hub.post(f"/datasets/{REPO}.git/info/lfs/objects/batch", json=body).json()["objects"] == []
    assert hub.post("/datasets/local/none.git/info/lfs/objects/batch", json=body).status_code == 404


def test_a_commit_adds_replaces_and_deletes(hub: HubClient) -> None:
    hub.add({"a.txt": b"1", "d/b.txt": b"2", "d/e/c.txt": b"3", "keep.txt": b"4"})
    response = hub.commit(
        regular("a.txt", b"new"),
        {"key": "deletedFile", "value": {"path": "keep.txt"}},
        {"key": "deletedFolder", "value": {"path": "d/e"}},
        summary="mixed",
    )
    sha = response.json()["commitOid"]
    assert response.json()["commitUrl"] == f"http://testserver/{REPO}/commit/{sha}"
    files = {sibling["rfilename"] for sibling in hub.get(API).json()["siblings"]}
    assert files == {".gitattributes", "a.txt", "d/b.txt"}
    assert hub.get(f"/{REPO}/resolve/main/a.txt").content == b"new"
    assert hub.get(f"{API}/commits/main").json()[0]["title"] == "mixed"


def test_a_commit_that_changes_nothing_is_the_branch_s_own(hub: HubClient) -> None:
    assert hub.add({"a.txt": b"1"}) == hub.add({"a.txt": b"1"})
    assert len(hub.get(f"{API}/commits/main").json()) == 2


def test_a_stale_parent_is_refused_and_a_right_one_may_be_short(hub: HubClient) -> None:
    first = hub.add({"a.txt": b"1"})
    second = hub.add({"a.txt": b"2"}, parentCommit=first[:10])
    stale = hub.commit(regular("a.txt", b"3"), parentCommit=first)
    assert (stale.status_code, hub.get(API).json()["sha"]) == (412, second)
    assert hub.commit(regular("a.txt", b"3"), parentCommit=second[:3]).status_code == 412


def test_a_refused_commit_changes_nothing(hub: HubClient) -> None:
    before = hub.add({"a.txt": b"1"})
    missing = hub.commit(regular("b.txt", b"2"), {"key": "deletedFile", "value": {"path": "none"}})
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert hub.commit(regular("b.txt", b"2"), lfs("c.bin", "0" * 64, 1)).status_code == 400
    assert hub.commit(regular("b.txt", b"2"), {"key": "movedFile", "value": {"path": "a"}}).status_code == 400
    assert hub.get(API).json()["sha"] == before


@pytest.mark.parametrize("path", ["", "/a", "a//b", "../a", "a/./b", ".git/config", "a\\b", "a\nb"])
def test_paths_that_cannot_be(hub: HubClient, path: str) -> None:
    response = hub.commit(regular(path, b"1"))
    assert response.status_code == 400 and "Invalid path" in response.json()["error"]


def test_a_path_is_a_file_or_a_folder(hub: HubClient) -> None:
    hub.add({"a": b"1"})
    response = hub.commit(regular("a/b", b"2"))
    assert response.status_code == 400 and '"a" cannot be' in response.json()["error"]


@pytest.mark.parametrize(
    "body", [b"", b"no JSON", b"[]", b'{"key": "header"}', b'{"key": "file", "value": {"path": "a"}}']
)
def test_commits_that_make_no_sense(hub: HubClient, body: bytes) -> None:
    assert hub.post(f"{API}/commit/main", content=body).status_code == 400


def test_content_that_is_not_base64_and_a_wrong_size(hub: HubClient) -> None:
    line = {"key": "file", "value": {"path": "a", "content": "*", "encoding": "base64"}}
    assert "base64" in hub.commit(line).json()["error"]
    oid = hub.upload(b"12345")
    assert "5 bytes" in hub.commit(lfs("a.bin", oid, 6)).json()["error"]


def test_commits_go_to_branches_only(hub: HubClient) -> None:
    sha = hub.add({"a.txt": b"1"})
    for revision in ("nowhere", sha):
        response = hub.commit(regular("a.txt", b"2"), revision=revision)
        assert (response.status_code, response.headers["X-Error-Code"]) == (404, "RevisionNotFound")
    assert "pull requests" in hub.post(f"{API}/commit/main?create_pr=1", content=b"").json()["error"]


def test_concurrent_commits_all_count(hub: HubClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        shas = list(pool.map(lambda n: hub.add({f"{n}.txt": b"%d" % n}), range(40)))
    files = {sibling["rfilename"] for sibling in hub.get(API).json()["siblings"]}
    history = [commit["id"] for commit in hub.get(f"{API}/commits/main").json()]
    assert files == {".gitattributes", *(f"{n}.txt" for n in range(40))}
    assert sorted(history[:-1]) == sorted(shas)


def test_the_card_is_checked(hub: HubClient) -> None:
    good = {"repoType": "model", "content": "---\nlicense: mit\ndate: 2026-01-02\ntags: [a]\n---\nText"}
    assert hub.post("/api/validate-yaml", json=good).json() == {"errors": [], "warnings": []}
    for text in ("---\na: [\n---\n", "---\n- a\n---\n"):
        response = hub.post("/api/validate-yaml", json={"content": text})
        assert response.status_code == 400 and response.json()["errors"][0]["message"].startswith("YAML")
    hub.add({"README.md": good["content"].encode()})
    info = hub.get(API).json()
    assert info["cardData"] == {"license": "mit", "date": "2026-01-02", "tags": ["a"]}
    assert info["tags"] == ["a"]


def test_a_commit_has_no_big_file_by_plain_git(hub: HubClient) -> None:
    response = hub.commit(regular("big.json", bytes(10 * MEGABYTE)))
    assert response.status_code == 400
    assert "larger than 10 MiB" in response.json()["error"]


@pytest.mark.parametrize("text", ["---\na: [\n---\n", "---\n- a list\n---\n"])
def test_a_commit_has_no_card_that_cannot_be_read(hub: HubClient, text: str) -> None:
    response = hub.commit(regular("README.md", text.encode()))
    assert response.status_code == 400
    assert "README.md" in response.json()["error"]
