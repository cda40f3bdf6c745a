# SPDX-License-Identifier: GPL-3.0-or-later
"""What users of Galaxy get: its files, its size, and that it hangs together."""

from __future__ import annotations

import json
import re
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests import artifact

ROOT = Path(__file__).resolve().parents[2]
#: The top of the tree, apart from what ansible-galaxy adds.
TOP = {
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "changelogs",
    "docs",
    "environments",
    "inventories",
    "meta",
    "playbooks",
    "plugins",
    "roles",
}
OF_GALAXY = {"FILES.json", "MANIFEST.json"}
LARGEST = 850_000  # bytes; most of them are the hashes of the locks


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return artifact.build(tmp_path_factory.mktemp("artifact"))


@pytest.fixture(scope="module")
def files(built: Path) -> set[str]:
    with tarfile.open(built) as archive:
        return {member.name for member in archive if member.isfile()}


def test_it_holds_the_collection_alone(files: set[str]) -> None:
    assert {name.partition("/")[0] for name in files} == TOP | OF_GALAXY
    assert not [name for name in files if "/tests/" in name or "__pycache__" in name]
    assert {name for name in files if name.startswith("inventories/")} == {
        "inventories/gcp/group_vars/all.yml",
        "inventories/gcp/localhost.yml",
        "inventories/gcp/tpu_vm.yml",
    }
    # The locks for the local cloud stay with it.
    assert {name for name in files if name.startswith("environments/")} == {
        "environments/README.md",
        "environments/serve-tpu.txt",
        "environments/train-tpu.txt",
    }
    assert {name for name in files if name.startswith("changelogs/")} == {"changelogs/changelog.yaml"}


def test_it_holds_all_of_the_collection(files: set[str]) -> None:
    listed = {
        str(path.relative_to(ROOT))
        for top in ("meta", "playbooks", "plugins", "roles")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert listed <= files


def test_it_is_small(built: Path) -> None:
    assert built.stat().st_size < LARGEST


def test_its_version_is_the_same_everywhere(files: set[str], built: Path) -> None:
    with tarfile.open(built) as archive:
        member = archive.extractfile("MANIFEST.json")
        assert member is not None
        version = json.load(member)["collection_info"]["version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    fragments = {path.stem for path in (ROOT / "changelogs" / "fragments").iterdir()}
    releases = yaml.safe_load((ROOT / "changelogs" / "changelog.yaml").read_text())["releases"]
    assert project["version"] == version
    assert version in fragments | set(releases)
    assert built.name == f"tpuops-maxtext-{version}.tar.gz"


def test_the_tested_versions_are_in_the_ranges_of_the_requirements() -> None:
    text = (ROOT / "meta" / "requirements.txt").read_text()
    ranges = [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = {
        each.name: str(each.specifier).removeprefix("==")
        for each in map(Requirement, project["dependencies"])
    }
    ansible = pinned.pop("ansible-core")
    assert {each.name for each in ranges} == pinned.keys()
    assert not [str(each) for each in ranges if not each.specifier.contains(pinned[each.name])]
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())
    assert Requirement(f"ansible-core{runtime['requires_ansible']}").specifier.contains(ansible)


def test_an_execution_environment_finds_its_files(files: set[str]) -> None:
    described = yaml.safe_load((ROOT / "meta" / "execution-environment.yml").read_text())
    assert set(described["dependencies"].values()) <= files


def test_the_links_of_the_readme_lead_into_the_artifact(files: set[str]) -> None:
    """Galaxy shows the README beside nothing else, and its users have only what the artifact has."""
    links = re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text())
    assert links
    repository = yaml.safe_load((ROOT / "galaxy.yml").read_text())["repository"]
    blob = f"{repository}/blob/main/"
    assert not [link for link in links if not link.startswith("https://")]
    ours = [link.removeprefix(blob) for link in links if link.startswith(blob)]
    assert not [link for link in ours if not (ROOT / link).exists()]
