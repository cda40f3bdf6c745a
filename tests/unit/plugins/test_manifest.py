# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage's output, compared with what was recorded of it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "config.json").write_text("{}")
    (root / "d" / "weights").write_bytes(bytes(range(256)) * 9000)  # more than one chunk
    (root / "empty").touch()
    return root


@pytest.fixture
def path(tree: Path) -> str:
    path = str(tree.with_name("manifest.json"))
    manifest.write(path, manifest.build(str(tree), {"step": 60}))
    later = Path(path).stat().st_mtime_ns + 10**9  # what is written below may be written in the same tick
    os.utime(tree / "config.json", ns=(later, later))
    return path


@pytest.mark.parametrize("thorough", [True, False])
class TestProblems:
    def test_none(self, tree: Path, path: str, thorough: bool) -> None:
        assert manifest.problems(path, str(tree), thorough=thorough) == []

    def test_truncated(self, tree: Path, path: str, thorough: bool) -> None:
        with (tree / "d" / "weights").open("r+b") as handle:
            handle.truncate(5)
        assert manifest.problems(path, str(tree), thorough=thorough) == [
            f"{tree}/d/weights has 5 bytes instead of 2304000"
        ]

    def test_other_content_of_the_same_size(self, tree: Path, path: str, thorough: bool) -> None:
        (tree / "config.json").write_text("[]")
        later = Path(path).stat().st_mtime_ns + 10**9
        os.utime(tree / "config.json", ns=(later, later))
        assert manifest.problems(path, str(tree), thorough=thorough) == [
            f"{tree}/config.json has other content than was recorded"
        ]

    def test_removed_and_added(self, tree: Path, path: str, thorough: bool) -> None:
        (tree / "empty").rename(tree / "other")
        assert manifest.problems(path, str(tree), thorough=thorough) == [
            f"{tree}/empty is missing",
            f"{tree}/other was added",
        ]

    def test_gone_as_a_whole(self, tree: Path, path: str, thorough: bool) -> None:
        found = manifest.problems(path, str(tree.with_name("elsewhere")), thorough=thorough)
        assert len(found) == 3

    @pytest.mark.parametrize("text", [None, "", "{}", "[1]", '{"files": {"a": 1}, "about": {}}'])
    def test_no_manifest(self, tree: Path, path: str, thorough: bool, text: str | None) -> None:
        Path(path).unlink() if text is None else Path(path).write_text(text)
        assert manifest.problems(path, str(tree), thorough=thorough) == [
            f"{path} is missing or is no manifest"
        ]


def test_a_link_to_what_is_gone_is_a_problem(tree: Path, path: str) -> None:
    (tree / "empty").unlink()
    (tree / "empty").symlink_to(tree / "gone")
    for thorough in (True, False):
        assert manifest.problems(path, str(tree), thorough=thorough) == [
            f"{tree}/empty cannot be read (No such file or directory)"
        ]


def test_a_failing_disk_is_a_problem(tree: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(name: str) -> None:
        raise OSError(errno.EIO, "Input/output error", name)

    monkeypatch.setattr(manifest, "describe", describe)
    assert len(manifest.problems(path, str(tree))) == 3
    assert "Input/output error" in manifest.sentence(manifest.problems(path, str(tree)))


def test_rotten_bytes_are_found_by_reading_all(tree: Path, path: str) -> None:
    weights = tree / "d" / "weights"
    before = weights.stat()
    with weights.open("r+b") as handle:
        handle.seek(2_000_000)
        handle.write(b"\x00\x01")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert manifest.problems(path, str(tree), thorough=False) == []
    assert manifest.problems(path, str(tree)) == [f"{weights} has other content than was recorded"]


def test_the_digest_is_of_names_and_contents(tree: Path) -> None:
    first = manifest.build(str(tree), {"step": 60})
    assert manifest.digest(first) == manifest.digest(manifest.build(str(tree), {"step": 61}))
    (tree / "empty").rename(tree / "other")
    assert manifest.digest(first) != manifest.digest(manifest.build(str(tree)))


def test_what_the_stage_says_of_it_is_kept(tree: Path, path: str) -> None:
    kept = manifest.read(path)
    assert kept is not None
    assert kept["about"] == {"step": 60}
    assert json.loads(Path(path).read_text()) == kept


def test_a_message_names_the_first_ones() -> None:
    assert manifest.sentence(["a", "b"]) == "a, b"
    assert manifest.sentence(list("abcde")) == "a, b, c and 2 more"


def test_a_fifo_in_its_place_is_none(tmp_path: Path) -> None:
    """The user of the jobs may put one there, and root reads it."""
    os.mkfifo(tmp_path / "manifest.json")
    assert manifest.read(str(tmp_path / "manifest.json")) is None
    assert manifest.read(str(tmp_path)) is None
