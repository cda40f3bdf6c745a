# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import shutil
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


@pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to another user")
@pytest.mark.parametrize("made", [True, False])
def test_what_only_root_may_change_is_roots_and_the_rest_the_owners(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], made: bool
) -> None:
    """The owner of a directory may rename whatever is in it, root's records among them."""
    disk, data = tmp_path / "disk", tmp_path / "disk" / "data"
    if made:  # by an earlier version, which gave the owner all of it
        data.mkdir(parents=True)
        for path in (disk, data):
            shutil.chown(path, "nobody")
    options = {"parents": [str(disk)], "paths": [str(data)], "owner": "nobody"}
    foretold = run(capsys, **options, _ansible_check_mode=True)
    result = run(capsys, **options)
    assert (foretold["changed"], result["changed"]) == (True, True)
    assert result["created"] == ([] if made else [str(disk), str(data)])
    assert str(disk) in result["diff"]["after"]
    assert (disk.owner(), data.owner()) == ("root", "nobody")
    assert disk.stat().st_mode & 0o777 == 0o755
    assert run(capsys, **options)["changed"] is False


def test_check_mode_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, paths=[str(tmp_path / "a")], _ansible_check_mode=True)
    assert result["changed"] is True
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").touch()
    result = run(capsys, paths=[str(tmp_path / "a" / "b")])
    assert result["failed"]
    assert str(tmp_path / "a" / "b") in result["msg"]
