# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clients that users have make of the hub's faults."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hub_support import RELEASES, HubServer, python_client, run, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with serving(tmp_path_factory.mktemp("hub"), seeded=False) as found:
        yield found


@pytest.fixture
def hub(server: HubServer) -> Iterator[HubServer]:
    yield server
    server.faults.clear()


@pytest.fixture
def export(tmp_path: Path) -> Path:
    directory = tmp_path / "export"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(os.urandom(3 << 20))
    return directory


def check_download(hub: HubServer, release: str, repo: str, export: Path, home: Path) -> None:
    hf = python_client(f"huggingface_hub=={release}") / "hf"
    run([hf, "download", repo, "--local-dir", home / "back"], hub.environment(home), home)
    for file in export.iterdir():
        assert (home / "back" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("kind", "route", "xet"),
    [
        ("hub-error-503", "lfs.put", False),
        ("hub-error-500", "lfs.put", False),
        ("hub-error-503", "xet.put_xorb", True),
        ("hub-rate-limit", "xet.put_shard", True),
        ("hub-drop-upload", "xet.put_xorb", True),
        ("hub-drop", "xet.put_shard", True),
    ],
)
def test_clients_outlast_a_fault_that_strikes_once(
    hub: HubServer, release: str, kind: str, route: str, xet: bool, export: Path, tmp_path: Path
) -> None:
    hub.faults.arm(kind, {"route": route}, count=1)
    hf = python_client(f"huggingface_hub=={release}") / "hf"
    repo = f"local/{kind}-{route}-{release}".replace("_", "-")
    run([hf, "upload", repo, export], hub.environment(tmp_path, xet=xet), tmp_path)
    assert hub.faults.armed() == [], "the fault never struck"
    check_download(hub, release, repo, export, tmp_path)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", ["hub-drop-upload", "hub-drop"])
def test_an_upload_by_lfs_that_breaks_off_can_be_done_again(
    hub: HubServer, release: str, kind: str, export: Path, tmp_path: Path
) -> None:
    hub.faults.arm(kind, {"route": "lfs.put"}, count=1)
    hf = python_client(f"huggingface_hub=={release}") / "hf"
    repo = f"local/{kind}-lfs-{release}"
    command: list[str | Path] = [hf, "upload", repo, export]
    subprocess.run(command, env=hub.environment(tmp_path), cwd=tmp_path, capture_output=True, check=False)
    assert hub.faults.armed() == [], "the fault never struck"
    run(command, hub.environment(tmp_path), tmp_path)
    check_download(hub, release, repo, export, tmp_path)


@pytest.mark.parametrize("release", RELEASES)
def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    hub: HubServer, release: str, export: Path, tmp_path: Path
) -> None:
    hub.faults.arm("hub-drop", {"route": "commits.commit"}, count=1)
    hf = python_client(f"huggingface_hub=={release}") / "hf"
    repo = f"local/lost-{release}"
    command: list[str | Path] = [hf, "upload", repo, export]
    subprocess.run(command, env=hub.environment(tmp_path), cwd=tmp_path, capture_output=True, check=False)
    assert hub.faults.armed() == [], "the fault never struck"
    run(command, hub.environment(tmp_path), tmp_path)
    (repository,) = [found for found in hub.store.list("model") if str(found.id) == repo]
    assert len(repository.commits) == 2, "the first commit and the upload"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("kind", "route", "error"),
    [
        ("hub-gated", "", "GatedRepoError"),
        ("hub-unauthorized", "*", "HfHubHTTPError"),
    ],
)
def test_clients_know_the_refusal(
    hub: HubServer, release: str, kind: str, route: str, error: str, export: Path, tmp_path: Path
) -> None:
    python = python_client(f"huggingface_hub=={release}") / "python"
    repo = f"local/{kind}-{release}"
    run([python.with_name("hf"), "upload", repo, export], hub.environment(tmp_path), tmp_path)
    hub.faults.arm(kind, {"route": route} if route else {"repository": repo})
    script = (
        "import sys; from huggingface_hub import HfApi, errors\n"
        "try:\n  HfApi().auth_check(sys.argv[1])\n"
        "except getattr(errors, sys.argv[2]) as error:\n  print(error.response.status_code)"
    )
    output = run([python, "-c", script, repo, error], hub.environment(tmp_path), tmp_path)
    assert output.split() == ["403" if kind == "hub-gated" else "401"]
