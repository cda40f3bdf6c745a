# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.modules import directories


def run(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    with patch_module_args(options), pytest.raises(SystemExit):
        directories.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_missing_directories_are_made_with_their_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(tmp_path / "a"), str(tmp_path / "a" / "b" / "c")]
    result = run(capsys, paths=paths, mode="0750")
    assert (result["changed"], result["created"]) == (True, paths)
    assert [Path(path).stat().st_mode & 0o777 for path in paths] == [0o750, 0o750]
    assert run(capsys, paths=paths, mode="0750")["changed"] is False


def test_a_wrong_mode_is_mended_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir(mode=0o700)
    result = run(capsys, paths=[str(tmp_path / "a")], mode="0755")
    assert (result["changed"], result["created"]) == (True, [])
    assert str(tmp_path / "a") in result["diff"]["after"]


def test_check_mode_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, paths=[str(tmp_path / "a")], _ansible_check_mode=True)
    assert result["changed"] is True
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").touch()
    result = run(capsys, paths=[str(tmp_path / "a" / "b")])
    assert result["failed"]
    assert str(tmp_path / "a" / "b") in result["msg"]
