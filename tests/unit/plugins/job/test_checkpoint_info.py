# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints on a disk, laid out as MaxText 0.2.5 leaves them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd

from .conftest import RunModule

CONTENTS = ("_METADATA", "_sharding", "array_metadatas", "d", "manifest.ocdbt", "ocdbt.process_0")
DIRECTORIES = ("array_metadatas", "d", "ocdbt.process_0")


def write_item(path: Path) -> None:
    path.mkdir(parents=True)
    for name in CONTENTS:
        if name in DIRECTORIES:
            (path / name).mkdir()
            (path / name / "0").write_text(name)
        else:
            (path / name).write_text(name)


def write_run(run: Path, *steps: int) -> None:
    for step in steps:
        for item in ("model_params", "optimizer_state"):
            write_item(run / "checkpoints" / str(step) / item)
        (run / "checkpoints" / str(step) / "_CHECKPOINT_METADATA").touch()


def test_the_steps_of_a_run_by_number(run_module: RunModule, tmp_path: Path) -> None:
    write_run(tmp_path, 1, 100, 20)
    (tmp_path / "checkpoints" / "120.orbax-checkpoint-tmp").mkdir()
    (tmp_path / "checkpoints" / "notes").mkdir()
    (tmp_path / "checkpoints" / "٣").mkdir()
    (tmp_path / "checkpoints" / "7").touch()
    result = run_module("checkpoint_info", path=str(tmp_path))
    assert [each["step"] for each in result["checkpoints"]] == [1, 20, 100]
    assert all(each["complete"] for each in result["checkpoints"])
    assert result["latest_step"] == 100
    assert result["latest_path"] == f"{tmp_path}/checkpoints/100"
    assert run_module("checkpoint_info", path=f"{tmp_path}/checkpoints")["latest_step"] == 100


def test_a_converted_model(run_module: RunModule, tmp_path: Path) -> None:
    write_item(tmp_path / "0" / "items")
    result = run_module("checkpoint_info", path=str(tmp_path))
    assert (result["latest_step"], result["checkpoints"][0]["parts"]) == (0, ["items"])


def test_what_is_missing_is_named_and_the_one_before_is_the_latest(
    run_module: RunModule, tmp_path: Path
) -> None:
    write_run(tmp_path, 10, 20, 30)
    shutil.rmtree(tmp_path / "checkpoints/30/model_params")
    (tmp_path / "checkpoints/20/optimizer_state/manifest.ocdbt").unlink()
    result = run_module("checkpoint_info", path=str(tmp_path))
    missing = [each["missing"] for each in result["checkpoints"]]
    assert missing == [[], ["optimizer_state/manifest.ocdbt"], ["items or model_params"]]
    assert result["latest_step"] == 10


def test_nothing_there(run_module: RunModule, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for path in (tmp_path, tmp_path / "no"):
        result = run_module("checkpoint_info", path=str(path))
        assert (result["checkpoints"], result["latest_step"], result["latest_path"]) == ([], None, None)


def test_only_paths_of_the_target(run_module: RunModule) -> None:
    assert "absolute path" in run_module("checkpoint_info", path="gs://bucket/run")["msg"]


def test_empty_files_as_a_power_cut_leaves_them(run_module: RunModule, tmp_path: Path) -> None:
    write_run(tmp_path, 10, 20)
    (tmp_path / "checkpoints/20/model_params/_METADATA").write_text("")
    result = run_module("checkpoint_info", path=str(tmp_path))
    assert result["checkpoints"][1]["missing"] == ["model_params/_METADATA"]
    assert result["latest_step"] == 10


def test_the_disk_is_mounted_first(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "mount", lambda path: write_run(Path(path), 5))
    assert run_module("checkpoint_info", path=str(tmp_path))["latest_step"] == 5


def test_a_disk_that_cannot_be_mounted_is_named(
    run_module: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise systemd.SystemdError(f"the disk of {path} cannot be mounted: Dependency failed")

    monkeypatch.setattr(systemd, "mount", refuse)
    result = run_module("checkpoint_info", path=str(tmp_path))
    assert result["msg"] == f"path: the disk of {tmp_path} cannot be mounted: Dependency failed"
