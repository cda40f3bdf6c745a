# SPDX-License-Identifier: GPL-3.0-or-later
"""The Xet storage: who gets in, and what it refuses. That clients can use it is seen in tests/contract."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest

from localcloud.hub.names import RepoId
from localcloud.hub.xet import Grant, XetTokens
from localcloud.hub.xet.shards import BOOKEND, TAG, WITH_SHA256
from localcloud.hub.xet.tokens import TOKEN_SECONDS
from tests.unit.localcloud.hub_client import API, REPO, HubClient, lfs

XORB, FILE = "1" * 64, "2" * 64
GRANT = Grant("write", RepoId("model", "local", "model"))


@pytest.fixture
def hub(tmp_path: Path) -> HubClient:
    client = HubClient(tmp_path)
    client.create(private=True)
    return client


class Storage:
    """The Xet storage as a client with a token sees it."""

    def __init__(self, hub: HubClient, scope: str, revision: str = "main") -> None:
        answer = hub.get(f"{API}/xet-{scope}-token/{revision}").json()
        self._hub = hub
        self.address = answer["casUrl"]
        self.headers = {"Authorization": f"Bearer {answer['accessToken']}"}

    def post(self, path: str, data: bytes) -> int:
        response = self._hub.post(f"{self.address}/v1/{path}", content=data, headers=self.headers)
        return response.status_code

    def reconstruction(self, **headers: str) -> tuple[int, dict[str, object]]:
        path = f"{self.address}/v1/reconstructions/{FILE}"
        response = self._hub.get(path, headers=self.headers | headers)
        return response.status_code, response.json()


def xorb(*chunks: bytes) -> bytes:
    return b"".join(
        b"\0" + len(chunk).to_bytes(3, "little") + b"\0" + len(chunk).to_bytes(3, "little") + chunk
        for chunk in chunks
    )


def number_bytes(text: str) -> bytes:
    return struct.pack("<4Q", *(int(text[start : start + 16], 16) for start in range(0, 64, 16)))


def shard(data: bytes, chunks: int, sha256: str = "") -> bytes:
    """A shard of one file that is all of the xorb."""
    sha256 = sha256 or hashlib.sha256(data).hexdigest()
    rows = [
        number_bytes(FILE) + struct.pack("<IIQ", WITH_SHA256, 1, 0),
        number_bytes(XORB) + struct.pack("<4I", 0, len(data), 0, chunks),
        number_bytes(sha256) + bytes(16),
        BOOKEND + bytes(16),
        BOOKEND + bytes(16),
    ]
    return TAG + struct.pack("<QQ", 2, 0) + b"".join(rows)


def upload(hub: HubClient) -> str:
    """A file of two chunks; the commit that has it."""
    storage = Storage(hub, "write")
    assert storage.post(f"xorbs/default/{XORB}", xorb(b"first", b"second")) == 200
    assert storage.post("shards", shard(b"firstsecond", 2)) == 200
    sha256 = hashlib.sha256(b"firstsecond").hexdigest()
    response = hub.commit(lfs("model.bin", sha256, 11))
    return str(response.json()["commitOid"])


def test_a_file_that_came_by_xet_is_read_by_ranges_of_its_chunks(hub: HubClient) -> None:
    commit = upload(hub)
    head = hub.head(f"/{REPO}/resolve/main/model.bin")
    assert head.headers["X-Xet-Hash"] == FILE
    assert f"xet-read-token/{commit}" in head.headers["Link"]
    assert hub.get(f"/{REPO}/resolve/main/model.bin").content == b"firstsecond"
    storage = Storage(hub, "read")
    status, found = storage.reconstruction(Range="bytes=7-")
    assert (status, found["offset_into_first_range"]) == (200, 7)
    (fetch,) = found["fetch_info"][XORB]  # type: ignore[index]
    first, last = fetch["url_range"]["start"], fetch["url_range"]["end"]
    got = hub.get(fetch["url"], headers={"Range": f"bytes={first}-{last}"})
    assert (got.status_code, got.content) == (206, xorb(b"first", b"second"))
    assert hub.get(fetch["url"].replace("signature=", "signature=0")).status_code == 403
    assert storage.reconstruction(Range="bytes=11-")[0] == 416


def test_a_reader_sees_only_the_files_of_its_commit(hub: HubClient) -> None:
    before = hub.get(API).json()["sha"]
    upload(hub)
    assert Storage(hub, "read").reconstruction()[0] == 200
    assert Storage(hub, "read", before).reconstruction()[0] == 404


def test_only_a_writer_may_write(hub: HubClient) -> None:
    reader = Storage(hub, "read")
    assert reader.post(f"xorbs/default/{XORB}", xorb(b"x")) == 403
    assert reader.post("shards", b"") == 403
    reader.headers = {}
    assert reader.post("shards", b"") == 401
    assert hub.get(f"{API}/xet-write-token/main", headers=hub.reader).status_code == 404, "a private one"


def test_bytes_that_are_not_what_was_said_are_refused(hub: HubClient) -> None:
    storage = Storage(hub, "write")
    assert storage.post(f"xorbs/default/{XORB}", b"") == 400
    assert storage.post(f"xorbs/default/{XORB}", xorb(b"first")[:-1]) == 400
    assert storage.post("shards", shard(b"first", 1)) == 400, "its xorb is not there"
    assert storage.post(f"xorbs/default/{XORB}", xorb(b"first")) == 200
    assert storage.post("shards", shard(b"first", 1, sha256="0" * 64)) == 400
    assert storage.post("shards", shard(b"first", 2)) == 400, "it has one chunk"
    assert storage.post("shards", shard(b"first", 1)[:-100]) == 400
    assert storage.post("shards", b"no shard") == 400
    assert storage.post("shards", shard(b"first", 1)) == 200


def test_a_token_ends_and_only_its_own_storage_takes_it() -> None:
    now = 1000.0
    tokens = XetTokens("key", lambda: now)
    token, expires = tokens.issue(GRANT)
    assert (tokens.check(token), expires) == (GRANT, 1000 + TOKEN_SECONDS)
    assert XetTokens("other", lambda: now).check(token) is None
    assert tokens.check(token + "0") is None and tokens.check("") is None
    query = tokens.sign(XORB)
    assert tokens.signed(XORB, **query) and not tokens.signed(FILE, **query)
    now += TOKEN_SECONDS
    assert tokens.check(token) is None and not tokens.signed(XORB, **query)
