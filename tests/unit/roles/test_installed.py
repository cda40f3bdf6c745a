# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs run with the version of MaxText that the role says, or not at all."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ABOUT = json.dumps({"maxtext_version": "0.2.4", "hf_commit": "a"})


@pytest.fixture(params=["0.2.5", None])
def installed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """The version in the environment; None where there is no MaxText."""

    def version(name: str) -> str:
        if name != "maxtext" or request.param is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return str(request.param)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert request.param is None or isinstance(request.param, str)
    return request.param


def said(installed: str | None) -> str:
    has = f"MaxText {installed}" if installed else "no MaxText"
    other = f"Set maxtext_version to {installed}, or install" if installed else "Install"
    return (
        f"maxtext_version: 0.2.4 is set, but the environment {sys.prefix} has {has}. {other} the version "
        "that is set: ansible-playbook site.yml --tags maxtext_env"
    )


def test_the_version_that_is_installed_is_fine(
    shared_programs: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.2.4")
    assert shared_programs.installed.problem({"maxtext_version": "0.2.4"}) is None


def test_inputs_without_a_version_are_compared_with_nothing(
    shared_programs: ModuleType, installed: str | None
) -> None:
    assert shared_programs.installed.problem({"hf_commit": "a"}) is None


def test_another_version(shared_programs: ModuleType, installed: str | None) -> None:
    assert shared_programs.installed.problem(json.loads(ABOUT)) == said(installed)


def test_nothing_is_converted_with_another_version(
    converter: ModuleType, tmp_path: Path, installed: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--repository", "a/b", "--commit", "c", "--output", str(tmp_path / "new"), "--about", ABOUT]
    assert converter.main([*given, "to_maxtext", "base.yml"]) == 1
    assert capsys.readouterr().err == f"error: {said(installed)}\n"
    assert not (tmp_path / "new").exists()


def test_nothing_is_trained_with_another_version(
    trainer: ModuleType, installed: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        trainer.main(
            [
                *["--keep", "2", "--minutes", "1", "--dataset-commit", "d", "--tokenizer-commit", "t"],
                "--about",
                ABOUT,
                "not.there",
                "sft.yml",
            ]
        )
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {said(installed)}\n"


def test_nothing_is_exported_with_another_version(
    exporter: ModuleType, tmp_path: Path, installed: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--base", "a/b", "--revision", "c", "--output", str(tmp_path / "new"), "--about", ABOUT]
    assert exporter.main([*given, "to_huggingface", "base.yml"]) == 1
    assert capsys.readouterr().err == f"{said(installed)}\n"
    assert list(tmp_path.iterdir()) == []
