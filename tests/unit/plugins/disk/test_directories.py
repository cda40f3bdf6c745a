# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import json
import os
import pwd
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


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """A directory of a user that the machine does not have, as of an earlier machine with the same disk."""
    if os.geteuid() != 0:
        pytest.skip("gives files to other users")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_text("x")
    (top / "a" / "link").symlink_to(tmp_path / "outside")
    (top / "a" / "to_directory").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "outside").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("x")
    for path in (top, *top.rglob("*"), tmp_path / "outside", tmp_path / "elsewhere" / "file"):
        os.chown(path, FORMER, FORMER, follow_symlinks=False)
    (top / "roots").write_text("x")
    return top


FORMER = 54321


def owners(top: Path) -> set[int]:
    return {path.lstat().st_uid for path in (top, *top.rglob("*")) if path.name != "roots"}


def test_the_files_of_a_former_owner_become_the_new_ones(
    former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    options = {"paths": [str(former)], "owner": "nobody", "recursive": True}
    foretold = run(capsys, **options, _ansible_check_mode=True)
    assert (foretold["changed"], owners(former)) == (True, {FORMER})
    assert run(capsys, **options)["changed"] is True
    assert owners(former) == {nobody}
    # What is not the former owner's, and what is elsewhere, stays.
    assert (former / "roots").owner() == "root"
    outside = (former.parent / "outside", former.parent / "elsewhere" / "file")
    assert {path.stat().st_uid for path in outside} == {FORMER}
    assert run(capsys, **options)["changed"] is False


def test_a_change_of_owner_that_was_cut_off_is_taken_up(
    former: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"paths": [str(former)], "owner": "nobody", "recursive": True}
    chown, left = os.chown, [2]

    def cut_off(*arguments: Any, **more: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, "Input/output error")
        chown(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", cut_off)
        failed = run(capsys, **options)
        assert failed["msg"] == f"paths: the owner of {former} cannot be changed: Input/output error."
    assert FORMER in owners(former)
    assert former.stat().st_uid == FORMER
    run(capsys, **options)
    assert owners(former) == {pwd.getpwnam("nobody").pw_uid}


def test_without_asking_only_the_named_directories_change(
    former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, paths=[str(former)], owner="nobody")
    assert FORMER in owners(former)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives directories to another user")
def test_in_a_shared_directory_the_owner_creates_and_renames_only_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = tmp_path / "env"
    options = {"parents": [str(env / "programs")], "shared": [str(env)], "paths": [], "owner": "nobody"}
    assert run(capsys, **options)["created"] == [str(env), str(env / "programs")]
    state = env.stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o7777) == (0, pwd.getpwnam("nobody").pw_gid, 0o1775)
    assert ((env / "programs").owner(), (env / "programs").stat().st_mode & 0o777) == ("root", 0o755)
    assert run(capsys, **options)["changed"] is False


def test_a_shared_directory_of_a_former_user_becomes_roots_and_its_files_the_owners(
    former: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"paths": [], "shared": [str(former)], "owner": "nobody", "recursive": True}
    assert run(capsys, **options)["changed"] is True
    assert former.owner() == "root"
    assert owners(former) == {0, pwd.getpwnam("nobody").pw_uid}
    os.chown(former / "a", FORMER, FORMER)  # what another user leaves there later is that user's
    assert run(capsys, **options)["changed"] is False
    assert (former / "a").stat().st_uid == FORMER


@pytest.mark.parametrize("option", ["parents", "shared"])
def test_a_link_in_the_place_of_a_directory_of_roots_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    told = run(capsys, **{"paths": [], "owner": "nobody", option: [str(tmp_path / "a")]})
    assert told["msg"] == f"paths: {tmp_path / 'a'} is a symbolic link. Remove it; it has to be a directory."


@pytest.mark.parametrize(
    ("unit", "refused"),
    [
        ("system.slice/tpuops-sft-x.service", True),
        ("system.slice/vllm.service", False),
        ("user.slice", False),
    ],
)
def test_a_job_of_the_former_owner_keeps_its_files_while_it_runs(
    former: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    unit: str,
    refused: bool,
) -> None:
    process = tmp_path / "proc" / "12"
    process.mkdir(parents=True)
    (process / "cgroup").write_text(f"1:name=systemd:/{unit}\n0::/{unit}\n")
    os.chown(process, FORMER, FORMER)
    monkeypatch.setattr(directories, "PROC", str(tmp_path / "proc"))
    result = run(capsys, paths=[str(former)], owner="nobody", recursive=True)
    assert result.get("failed", False) is refused
    assert (owners(former) == {FORMER}) is refused
    if refused:
        assert "cannot become nobody's while tpuops-sft-x.service runs, a job of its former" in result["msg"]


def test_a_check_run_foretells_directories_of_a_user_that_is_not_there_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"paths": [str(tmp_path)], "owner": "tpuops-is-not-here"}
    assert run(capsys, **options, _ansible_check_mode=True)["changed"] is True
    assert run(capsys, **options)["failed"]


def test_check_mode_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, paths=[str(tmp_path / "a")], _ansible_check_mode=True)
    assert result["changed"] is True
    assert not (tmp_path / "a").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").touch()
    result = run(capsys, paths=[str(tmp_path / "a" / "b")])
    assert result["failed"]
    assert str(tmp_path / "a" / "b") in result["msg"]
