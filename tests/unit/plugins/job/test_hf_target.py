# SPDX-License-Identifier: GPL-3.0-or-later
"""Uploading to a repository that exists: what is ours there, what is others', what becomes of both."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import hub as program
from huggingface_hub import CommitOperationAdd, HfApi, constants

from .conftest import Hub, RunModule

numbers = count()
OTHERS = "has files that were not uploaded from here, or were changed since: "


@dataclass(frozen=True)
class Target:
    """A repository of this test's own, and the folder of an export."""

    api: HfApi
    options: dict[str, Any]
    folder: Path

    @property
    def name(self) -> str:
        return str(self.options["repo_id"])

    def create(self, private: bool = True, **files: str) -> None:
        """The repository, with files that somebody else commits: a dash stands for a dot."""
        self.api.create_repo(self.name, private=private)
        self.put({name.replace("_", "."): text for name, text in files.items()})

    def put(self, files: dict[str, str]) -> None:
        operations = [
            CommitOperationAdd(path_in_repo=path, path_or_fileobj=text.encode())
            for path, text in files.items()
        ]
        if operations:
            self.api.create_commit(self.name, operations, commit_message="By hand")

    def write(self, files: dict[str, str]) -> None:
        """Let the export have these files and no others."""
        for path in self.folder.iterdir():
            path.unlink()
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def request(self, **changes: Any) -> dict[str, Any]:
        base = {
            "repo_id": self.name,
            "repo_type": "model",
            "revision": "main",
            "folder": str(self.folder),
            "ignore_patterns": [],
            "replace": False,
            "message": "Upload run at step 100",
        }
        return {**base, **changes}

    def upload(self, **changes: Any) -> None:
        program.upload(self.request(**changes))

    def files(self) -> dict[str, str]:
        """What the repository has, but what the Hub and the upload themselves put there."""
        names = set(self.api.list_repo_files(self.name)) - {".gitattributes", program.MANIFEST}
        return {name: self.read(name) for name in names}

    def read(self, name: str) -> str:
        place = self.api.hf_hub_download(self.name, name, local_dir=self.folder.parent / "read")
        return Path(place).read_text()

    def commits(self) -> list[str]:
        return [commit.title for commit in self.api.list_repo_commits(self.name)]


@pytest.fixture
def target(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    folder = tmp_path / "export"
    folder.mkdir()
    options = {
        "repo_id": f"local/target-{next(numbers)}",
        "endpoint": hub.url,
        "token": hub.token,
        "python": sys.executable,
        "environment": {"HF_HUB_DISABLE_XET": "1"},
    }
    made = Target(HfApi(endpoint=hub.url, token=hub.token), options, folder)
    made.write({"config.json": "{}", "model.safetensors": "weights"})
    return made


# The visibility


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_an_existing_repository_keeps_its_visibility(
    target: Target,
    run_module: RunModule,
    monkeypatch: pytest.MonkeyPatch,
    private: bool,
    wanted: bool,
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    target.create(private=private)
    result = run_module("hf_repo", private=wanted, **target.options)
    assert (result["changed"], result["repo"]["private"]) == (False, private)
    assert target.api.model_info(target.name).private is private
    told = f"private: {target.name} exists and stays {'private' if private else 'public'}"
    assert [each.partition(";")[0] for each in warnings] == ([] if wanted is private else [told])


# What is ours


def test_our_own_stale_files_go_in_the_same_commit(target: Target) -> None:
    target.write({"model-00001-of-00002.safetensors": "a", "chat_template.jinja": "b", "config.json": "{}"})
    target.create()
    target.upload()
    target.write({"model.safetensors": "c", "config.json": "{}"})
    before = target.commits()
    target.upload(message="Upload run at step 200")
    assert target.files() == {"model.safetensors": "c", "config.json": "{}"}
    assert target.commits() == ["Upload run at step 200", *before]


def test_the_manifest_names_what_was_uploaded(target: Target) -> None:
    target.create()
    target.upload()
    manifest = json.loads(target.read(program.MANIFEST))
    assert manifest["files"].keys() == {"config.json", "model.safetensors"}
    assert manifest["upload"] == "Upload run at step 100"
    assert set(manifest["files"]["config.json"]) == {"size", "sha256", "git"}
    before = target.commits()
    target.upload(message="Upload run at step 200")
    assert target.commits() == before


def test_what_is_as_it_would_be_uploaded_is_ours(target: Target) -> None:
    """Uploaded before there was a manifest, say."""
    target.create()
    target.put({"config.json": "{}", "model.safetensors": "weights"})
    target.upload()
    assert json.loads(target.read(program.MANIFEST))["files"].keys() == {"config.json", "model.safetensors"}


# What is not


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "config.json", "chat_template.jinja", "a/b.py"]
)
def test_foreign_content_stops_the_upload(target: Target, run_module: RunModule, name: str) -> None:
    target.create()
    target.put({name: "another"})
    before = target.commits()
    with pytest.raises(program.HubError, match=f"repo_id: {target.name} {OTHERS}{name}"):
        target.upload()
    assert target.commits() == before


def test_our_own_file_that_somebody_changed_is_foreign(target: Target) -> None:
    target.create()
    target.upload()
    target.put({"config.json": '{"by": "hand"}'})
    with pytest.raises(program.HubError, match=f"{OTHERS}config.json. Name"):
        target.upload()
    assert target.files()["config.json"] == '{"by": "hand"}'


def test_a_foreign_repository_is_replaced_as_a_whole_when_asked(target: Target) -> None:
    target.create()
    target.put({"model-00001-of-00002.safetensors": "x", "README.md": "# Another", "config.json": "[]"})
    target.upload(replace=True)
    assert target.files() == {"config.json": "{}", "model.safetensors": "weights"}
    assert len(target.commits()) == 3  # the Hub's own, the foreign one, ours


@pytest.mark.parametrize("replace", [False, True])
def test_documents_of_others_stay(target: Target, replace: bool) -> None:
    """What the Hub's page offers to write, and what no program loads."""
    theirs = {"README.md": "# Mine", "LICENSE": "MIT", "figures/loss.svg": "<svg/>"}
    target.create()
    target.put(theirs)
    ours = {"config.json": "{}", "README.md": "# Ours", "LICENSE": "Apache"}
    target.write(ours)
    target.upload(replace=replace)
    target.upload(replace=replace)
    assert target.files() == {**ours, **theirs}
    assert json.loads(target.read(program.MANIFEST))["files"].keys() == {"config.json"}


def test_our_card_is_kept_up_to_date_until_somebody_writes_one(target: Target) -> None:
    target.create()
    for text in ("# One", "# Two"):
        target.write({"README.md": text, "config.json": "{}"})
        target.upload()
        assert target.files()["README.md"] == text
    target.put({"README.md": "# By hand"})
    target.write({"README.md": "# Three", "config.json": "{}"})
    target.upload()
    assert target.files()["README.md"] == "# By hand"


MANIFESTS = {
    "no JSON": "{",
    "another type": "[]",
    "no files": "{}",
    "files of another type": '{"files": ["config.json"]}',
    "a file of another type": '{"files": {"config.json": 1}}',
    "nothing known of a file": '{"files": {"config.json": {}}}',
    "null for null": '{"files": {"config.json": {"size": null, "git": null, "sha256": null}}}',
}


@pytest.mark.parametrize("manifest", MANIFESTS.values(), ids=MANIFESTS)
def test_a_manifest_is_what_others_can_write(target: Target, manifest: str) -> None:
    target.create()
    target.put({program.MANIFEST: manifest, "config.json": "[]"})
    with pytest.raises(program.HubError, match=f"{OTHERS}config.json. Name"):
        target.upload()


def test_a_manifest_too_large_is_none(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    target.create()
    target.upload()
    monkeypatch.setattr(program, "LARGEST_MANIFEST", 10)
    target.write({"other.json": "{}"})
    with pytest.raises(program.HubError, match=f"{OTHERS}config.json, model.safetensors. Name"):
        target.upload()


def test_a_manifest_of_the_folder_is_none_of_ours(target: Target) -> None:
    """A base that was itself uploaded from here may have brought one."""
    target.write({"config.json": "{}", program.MANIFEST: "{}"})
    target.create()
    target.upload()
    assert "config.json" in json.loads(target.read(program.MANIFEST))["files"]


# Before anything is made


def nothing(target: Target) -> None:
    """There is no such repository."""


def ours(target: Target) -> None:
    target.create()
    target.upload()


def documents(target: Target) -> None:
    target.create()
    target.put({"README.md": "# Mine"})


def foreign(target: Target) -> None:
    target.create()
    target.put({f"model-{number}.safetensors": "x" for number in range(5)})


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("state", [nothing, ours, documents, foreign])
def test_foreign_content_is_found_before_anything_is_made(
    target: Target, hub: Hub, run_module: RunModule, state: Callable[[Target], None], replace: bool
) -> None:
    state(target)
    asked = {"endpoint": hub.url, "token": hub.token, "write_to": target.name, "replace": replace}
    result = run_module("hf_repo_info", **asked)
    assert result["failed"] is (state is foreign and not replace)
    if result["failed"]:
        assert result["msg"] == (
            f"write_to: {target.name} {OTHERS}model-0.safetensors, model-1.safetensors, model-2.safetensors "
            "and 2 more. Name another repository (hf_repo), delete these files, or let everything in it be "
            "replaced (hf_replace=true)"
        )


def test_the_module_says_what_would_go(target: Target, run_module: RunModule, tmp_path: Path) -> None:
    ours(target)
    target.write({"config.json": "{}"})
    options = {**target.options, "folder": str(target.folder), "records_dir": str(tmp_path), "user": "root"}
    would = run_module("hf_upload", check=True, diff=True, **options)
    assert (would["changed"], would["upload"], would["delete"]) == (True, [], ["model.safetensors"])
    assert would["diff"]["prepared"] == "delete model.safetensors\n"
    target.put({"config.json": "[]"})
    assert OTHERS + "config.json" in run_module("hf_upload", check=True, **options)["msg"]
