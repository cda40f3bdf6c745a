# SPDX-License-Identifier: GPL-3.0-or-later
"""A downloaded model, compared with what the Hub says of its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest

FILES = {"config.json": b"{}", "model.safetensors": bytes(range(256)) * 10}
# What the client's cache calls their content.
BLOBS = {
    "config.json": hashlib.sha1(b"blob 2\0{}").hexdigest(),
    "model.safetensors": hashlib.sha256(FILES["model.safetensors"]).hexdigest(),
}


@dataclass
class Hub:
    """A repository, and the client's cache: what is in the cache is whole to the client."""

    directory: Path
    answers: bool = True
    wrong: bool = False  # what it sends is damaged
    lost: bool = False  # it sends nothing any more
    sent: list[str] = field(default_factory=list)

    def snapshot(self, repository: str, commit: str, *_patterns: tuple[str, ...]) -> Path:
        blobs = self.directory.parent / "blobs"
        for path in (blobs, self.directory):
            path.mkdir(exist_ok=True)
        for name, content in FILES.items():
            if self.lost or (self.directory / name).exists():
                continue
            if not (blobs / BLOBS[name]).exists():  # as the client does with a content that it has
                self.sent.append(name)
                (blobs / BLOBS[name]).write_bytes(content[:-1] if self.wrong else content)
            (self.directory / name).symlink_to(blobs / BLOBS[name])
        return self.directory

    def listed(self, repository: str, commit: str) -> dict[str, Any] | None:
        if not self.answers:
            return None
        sha256 = BLOBS["model.safetensors"]
        return {
            "config.json": SimpleNamespace(size=2, lfs=None, blob_id=BLOBS["config.json"]),
            "model.safetensors": SimpleNamespace(size=2560, lfs={"sha256": sha256}, blob_id="x"),
            "other.bin": SimpleNamespace(size=1, lfs=None, blob_id="x"),
        }


@pytest.fixture
def hub(downloader: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    fake = Hub(tmp_path / "snapshot")
    monkeypatch.setattr(downloader, "snapshot", fake.snapshot)
    monkeypatch.setattr(downloader, "listed", fake.listed)
    return fake


def test_a_whole_model_is_downloaded_once(downloader: ModuleType, hub: Hub) -> None:
    for _ in range(2):
        assert downloader.fetch("me/model", "0") == hub.directory
    assert hub.sent == list(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_in_the_cache_is_downloaded_again(
    downloader: ModuleType, hub: Hub, name: str, damage: str
) -> None:
    hub.snapshot("me/model", "0")
    good = FILES[name]
    bad = {"cut": good[:-1], "changed": good[:-1] + b"\x00", "empty": b""}[damage]
    (hub.directory / name).write_bytes(bad)
    downloader.fetch("me/model", "0")
    assert (hub.directory / name).read_bytes() == good
    assert hub.sent == [*FILES, name]


def test_a_hub_that_sends_other_files_is_refused(downloader: ModuleType, hub: Hub) -> None:
    hub.wrong = True
    with pytest.raises(
        downloader.Damaged, match=r"config\.json, model\.safetensors of me/model at 0 are not what"
    ):
        downloader.fetch("me/model", "0")


def test_without_the_hub_the_cache_is_taken(downloader: ModuleType, hub: Hub) -> None:
    hub.answers = False
    assert downloader.fetch("me/model", "0") == hub.directory


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_without_the_hub_a_damaged_file_of_the_cache_is_refused(
    downloader: ModuleType, hub: Hub, name: str, damage: str
) -> None:
    """It calls each content by its hash."""
    hub.snapshot("me/model", "0")
    hub.answers, hub.lost = False, True
    if damage == "changed":
        (hub.directory / name).write_bytes(b"!!")
    else:
        (hub.directory / name).resolve().unlink()
    with pytest.raises(
        downloader.Damaged, match=f"^{name} of me/model at 0 are damaged .* Run the same comm"
    ):
        downloader.fetch("me/model", "0")


def test_a_hub_that_falls_silent_leaves_no_hole(downloader: ModuleType, hub: Hub) -> None:
    """The client gives what is left in the cache, without an error."""
    hub.snapshot("me/model", "0")
    (hub.directory / "config.json").write_bytes(b"!!")
    hub.lost = True
    with pytest.raises(downloader.Damaged, match=r"config\.json of me/model at 0 are not what"):
        downloader.fetch("me/model", "0")


def test_only_what_is_asked_for_is_compared(downloader: ModuleType, hub: Hub) -> None:
    """The cache may hold the weights, of many gigabytes, for another stage."""
    hub.snapshot("me/model", "0")
    (hub.directory / "model.safetensors").write_bytes(b"!!")
    downloader.fetch("me/model", "0", ("*.json",), ())
    assert hub.sent == list(FILES)


def test_a_file_that_the_hub_does_not_have_is_removed(downloader: ModuleType, hub: Hub) -> None:
    hub.snapshot("me/model", "0")
    (hub.directory / "chat_template.jinja").write_bytes(b"x")
    assert sorted(path.name for path in downloader.fetch("me/model", "0").iterdir()) == sorted(FILES)


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a run uploaded, with its manifest; the client's cache is the fake Hub's."""
    directory = tmp_path / "export"
    directory.mkdir()
    for name, content in FILES.items():
        (directory / name).write_bytes(content)
    manifest.write(f"{directory}.manifest.json", manifest.build(str(directory)))
    return directory


@pytest.fixture
def cache(downloader: ModuleType, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the contents in the client's cache, as the client finds it."""
    place = hub.directory.parent / "hub" / "models--me--model" / "blobs"
    monkeypatch.setenv("HF_HOME", str(hub.directory.parent))
    assert downloader.blobs("me/model") == place
    monkeypatch.setattr(downloader, "blobs", lambda _repository: hub.directory.parent / "blobs")
    return hub.directory.parent / "blobs"


def test_what_the_disk_has_does_not_come_back_from_the_hub(
    downloader: ModuleType, hub: Hub, export: Path, cache: Path
) -> None:
    """The small files do: the Hub tells Git's hash of them."""
    assert downloader.fetch("me/model", "0", like=export) == hub.directory
    assert hub.sent == ["config.json"]
    assert (hub.directory / "model.safetensors").samefile(export / "model.safetensors")


def test_another_upload_is_downloaded(downloader: ModuleType, hub: Hub, export: Path, cache: Path) -> None:
    (export / "model.safetensors").write_bytes(b"of another run")
    manifest.write(f"{export}.manifest.json", manifest.build(str(export)))
    downloader.fetch("me/model", "0", like=export)
    assert hub.sent == list(FILES)


def test_a_damaged_export_is_not_served_as_the_upload(
    downloader: ModuleType, hub: Hub, export: Path, cache: Path
) -> None:
    """Its manifest is older than the damage. The damaged file itself stays as it is."""
    (export / "model.safetensors").write_bytes(b"!" * 2560)
    downloader.fetch("me/model", "0", like=export)
    assert (hub.directory / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert (export / "model.safetensors").read_bytes() == b"!" * 2560


def test_an_export_that_is_gone_is_downloaded(
    downloader: ModuleType, hub: Hub, export: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (export / "model.safetensors").unlink()
    downloader.fetch("me/model", "0", like=export)
    assert hub.sent == list(FILES)
    assert "cannot be used: No such file or directory" in capsys.readouterr().out


def test_a_disk_without_an_export_downloads(
    downloader: ModuleType, hub: Hub, tmp_path: Path, cache: Path
) -> None:
    downloader.fetch("me/model", "0", like=tmp_path / "none")
    assert hub.sent == list(FILES)


def test_the_program_leaves_a_manifest(downloader: ModuleType, hub: Hub, tmp_path: Path) -> None:
    record = tmp_path / "manifests" / "me--model@0.json"
    assert downloader.main(["me/model", "0", f"--manifest={record}"]) == 0
    assert manifest.problems(str(record), str(hub.directory)) == []
    (hub.directory / "config.json").write_text("[]")
    assert manifest.main([str(record), str(hub.directory)]) == 1


def test_the_program_fails_with_the_damage(
    downloader: ModuleType, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.wrong = True
    assert downloader.main(["me/model", "0", f"--manifest={tmp_path}/m.json"]) == 1
    assert capsys.readouterr().err.startswith("error: config.json, model.safetensors of me/model")
    assert not (tmp_path / "m.json").exists()
