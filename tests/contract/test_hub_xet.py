# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploads and downloads by Xet, with the clients that users have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hub_support import RELEASES, HubServer, python_client, run, serving

SIZE = 24 << 20


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with serving(tmp_path_factory.mktemp("hub"), seeded=False) as server:
        yield server


class User:
    """Someone with a release of `hf` and a home of its own, so with nothing in any cache."""

    def __init__(self, hub: HubServer, release: str, home: Path, *, xet: bool) -> None:
        home.mkdir()
        self._hf = python_client(f"huggingface_hub=={release}") / "hf"
        self._home = home
        self._environment = hub.environment(home, xet=xet)

    def upload(self, repo: str, file: Path) -> None:
        run([self._hf, "upload", repo, file, file.name], self._environment, self._home)

    def download(self, repo: str, name: str) -> bytes:
        run(
            [self._hf, "download", repo, name, "--local-dir", self._home / "back"],
            self._environment,
            self._home,
        )
        return (self._home / "back" / name).read_bytes()


def went_by_xet(hub: HubServer, data: bytes) -> bool:
    return hub.store.xet.hash_of(hashlib.sha256(data).hexdigest()) is not None


def stored(hub: HubServer) -> int:
    """Bytes of all xorbs."""
    return sum(path.stat().st_size for path in hub.store.xet.xorb_path("x").parent.iterdir())


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_what_goes_up_one_way_comes_down_both_ways(
    hub: HubServer, release: str, xet: bool, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    data = os.urandom(SIZE // 2) + bytes(range(256)) * (SIZE // 512)  # packed and not
    file.write_bytes(data)
    repo = f"local/ways-{release}-{xet}"
    User(hub, release, tmp_path / "uploader", xet=xet).upload(repo, file)
    assert went_by_xet(hub, data) is xet
    for other in (False, True):
        user = User(hub, release, tmp_path / f"downloader-{other}", xet=other)
        assert user.download(repo, file.name) == data


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_there_is_not_sent_again(hub: HubServer, release: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    first = os.urandom(SIZE)
    file.write_bytes(first)
    repo = f"local/again-{release}"
    User(hub, release, tmp_path / "first", xet=True).upload(repo, file)
    before = stored(hub)
    changed = first[: SIZE // 2] + os.urandom(1000) + first[SIZE // 2 :]
    file.write_bytes(changed)
    other = User(hub, release, tmp_path / "second", xet=True)
    other.upload(repo, file)
    assert went_by_xet(hub, changed)
    assert stored(hub) - before < SIZE // 8
    assert other.download(repo, file.name) == changed
