# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading: files and their ranges, trees page by page, information."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.localcloud.hub_client import API, REPO, HubClient

DATA = bytes(range(256)) * 4
FILE = f"/{REPO}/resolve/main/model.bin"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> HubClient:
    client = HubClient(tmp_path_factory.mktemp("hub"))
    client.create()
    client.add(
        {
            "config.json": b"{}",
            "a/b/c.txt": b"c",
            "a/d.txt": b"d",
            "日本 語.txt": "はい".encode(),
            "empty": b"",
        }
    )
    client.add_lfs("model.bin", DATA)
    return client


def lfs_pointer(data: bytes) -> str:
    """As git-lfs writes it."""
    oid = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n"


def listed(hub: HubClient, query: str = "", folder: str = "") -> list[str]:
    return [entry["path"] for entry in hub.get(f"{API}/tree/main{folder}?{query}").json()]


def test_a_regular_file_has_git_s_id_as_its_etag(hub: HubClient) -> None:
    response = hub.get(f"/{REPO}/resolve/main/config.json")
    assert response.content == b"{}"
    assert response.headers["ETag"] == f'"{hashlib.sha1(b"blob 2" + bytes(1) + b"{}").hexdigest()}"'
    assert response.headers["X-Repo-Commit"] == hub.get(API).json()["sha"]
    assert "X-Linked-ETag" not in response.headers


def test_an_lfs_file_has_its_sha256(hub: HubClient) -> None:
    response = hub.head(FILE)
    sha256 = hashlib.sha256(DATA).hexdigest()
    assert response.headers["ETag"] == response.headers["X-Linked-ETag"] == f'"{sha256}"'
    assert response.headers["Content-Length"] == response.headers["X-Linked-Size"] == str(len(DATA))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.content == b""


def test_names_may_be_in_any_script_and_files_empty(hub: HubClient) -> None:
    assert hub.get(f"/{REPO}/resolve/main/日本 語.txt").text == "はい"
    assert hub.get(f"/{REPO}/resolve/main/empty").content == b""
    missing = hub.get(f"/{REPO}/resolve/main/無い.txt")
    assert missing.headers["X-Error-Code"] == "EntryNotFound"
    assert missing.headers["X-Repo-Commit"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(start=st.integers(0, len(DATA) - 1), length=st.integers(1, 2 * len(DATA)))
def test_ranges(hub: HubClient, start: int, length: int) -> None:
    response = hub.get(FILE, headers={"Range": f"bytes={start}-{start + length - 1}"})
    expected = DATA[start : start + length]
    assert (response.status_code, response.content) == (206, expected)
    end = start + len(expected) - 1
    assert response.headers["Content-Range"] == f"bytes {start}-{end}/{len(DATA)}"
    assert response.headers["Content-Length"] == str(len(expected))
    assert response.headers["ETag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(length=st.integers(1, 2 * len(DATA)), start=st.integers(0, len(DATA) - 1))
def test_open_and_suffix_ranges(hub: HubClient, length: int, start: int) -> None:
    assert hub.get(FILE, headers={"Range": f"bytes=-{length}"}).content == DATA[-length:]
    assert hub.get(FILE, headers={"Range": f"bytes={start}-"}).content == DATA[start:]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(beyond=st.integers(0, 1 << 70))
def test_a_range_past_the_end_cannot_be_satisfied(hub: HubClient, beyond: int) -> None:
    response = hub.get(FILE, headers={"Range": f"bytes={len(DATA) + beyond}-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{len(DATA)}"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_no_range_header_breaks_the_server(hub: HubClient, text: str) -> None:
    response = hub.get(FILE, headers={"Range": f"bytes={text}"})
    assert response.status_code in (200, 206, 400, 416)


def test_an_interrupted_download_goes_on_only_with_the_same_content(hub: HubClient) -> None:
    etag = hub.head(FILE).headers["ETag"]
    same = hub.get(FILE, headers={"Range": "bytes=10-", "If-Range": etag})
    other = hub.get(FILE, headers={"Range": "bytes=10-", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)
    assert (same.content, other.content) == (DATA[10:], DATA)


def test_trees(hub: HubClient) -> None:
    top = [".gitattributes", "a", "config.json", "empty", "model.bin", "日本 語.txt"]
    assert listed(hub) == top
    assert listed(hub, "recursive=True") == sorted([*top, "a/b", "a/b/c.txt", "a/d.txt"])
    assert listed(hub, folder="/a") == listed(hub, folder="/a/") == ["a/b", "a/d.txt"]
    assert listed(hub, "recursive=1", "/a/b") == ["a/b/c.txt"]
    missing = hub.get(f"{API}/tree/main/config.json")
    assert (missing.status_code, missing.headers["X-Error-Code"]) == (404, "EntryNotFound")


def test_entries_tell_files_lfs_files_and_folders_apart(hub: HubClient) -> None:
    entries = {entry["path"]: entry for entry in hub.get(f"{API}/tree/main").json()}
    assert entries["a"]["type"] == "directory"
    assert entries["config.json"].keys() == {"type", "path", "size", "oid"}
    assert entries["model.bin"]["lfs"]["oid"] == hashlib.sha256(DATA).hexdigest()
    assert entries["model.bin"]["lfs"]["pointerSize"] == len(lfs_pointer(DATA))


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 10])
def test_pages_follow_the_link_header(hub: HubClient, limit: int) -> None:
    url, found = f"{API}/tree/main?recursive=true&limit={limit}", []
    while url:
        response = hub.get(url)
        page = [entry["path"] for entry in response.json()]
        assert len(page) <= limit
        found += page
        url = response.links.get("next", {}).get("url", "")
    assert found == listed(hub, "recursive=true")


@pytest.mark.parametrize("limit", ["0", "-1", "x", "1001"])
def test_limits_out_of_range(hub: HubClient, limit: str) -> None:
    assert hub.get(f"{API}/tree/main?limit={limit}").status_code == 400


def test_paths_info_by_json_and_by_form(hub: HubClient) -> None:
    def paths(**body: Any) -> list[str]:
        return [entry["path"] for entry in hub.post(f"{API}/paths-info/main", **body).json()]

    wanted = ["a/b", "none", "model.bin"]
    assert paths(json={"paths": wanted}) == ["a/b", "model.bin"]
    assert paths(data={"paths": wanted, "expand": False}) == ["a/b", "model.bin"]
    assert paths(json={"paths": "model.bin"}) == paths(data={"paths": "model.bin"}) == ["model.bin"]
    assert hub.post(f"{API}/paths-info/main", json={"paths": [1]}).status_code == 400


def test_expanding_names_the_commit_that_last_touched_a_path(tmp_path: Path) -> None:
    hub = HubClient(tmp_path)
    hub.create()
    first = hub.add({"a/x.txt": b"1", "b.txt": b"1"})
    second = hub.add({"a/x.txt": b"2"})
    tree = hub.get(f"{API}/tree/main?expand=true&recursive=true").json()
    last = {entry["path"]: entry["lastCommit"]["id"] for entry in tree}
    assert (last["a"], last["a/x.txt"], last["b.txt"]) == (second, second, first)
    assert last[".gitattributes"] not in (first, second)


def test_information_with_and_without_sizes(hub: HubClient) -> None:
    brief, full = hub.get(API).json(), hub.get(f"{API}/revision/main?blobs=True").json()
    assert all(sibling.keys() == {"rfilename"} for sibling in brief["siblings"])
    sizes = {sibling["rfilename"]: sibling["size"] for sibling in full["siblings"]}
    assert (sizes["model.bin"], sizes["empty"]) == (len(DATA), 0)
    assert brief["sha"] == full["sha"]
    unknown = hub.get(f"{API}/revision/{'0' * 40}")
    assert unknown.headers["X-Error-Code"] == "RevisionNotFound"
