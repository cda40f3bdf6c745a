# SPDX-License-Identifier: GPL-3.0-or-later
"""The search for a secret that is left finds what is there, and itself not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import leftovers

SECRET = f"hf_nowhere.to.be[found].{os.getpid()}"  # another run of these tests has another


def test_files_are_found_wherever_they_lie_but_for_directories_of_a_name(tmp_path: Path) -> None:
    held = {
        "plain": SECRET,
        "deep/.hidden/binary": f"\0\1{SECRET}\0",
        "site-packages/library.py": SECRET,
        "other": SECRET.replace(".", "-"),  # it is no regular expression
    }
    for name, text in held.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    directories = [str(tmp_path), str(tmp_path / "gone")]

    def found(*but: str) -> set[str]:
        files = leftovers.files(SECRET, directories, list(but))
        return {str(Path(path).relative_to(tmp_path)) for path in files}

    assert found() == {"plain", "deep/.hidden/binary", "site-packages/library.py"}
    assert found("site-packages") == {"plain", "deep/.hidden/binary"}
    with pytest.raises(AssertionError):
        leftovers.files("", directories, [])


def test_a_command_line_that_has_the_secret_is_found() -> None:
    assert leftovers.command_lines(SECRET) == []
    # It says when it has begun: until then its command line is still the parent's.
    program = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program, SECRET], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        assert leftovers.command_lines(SECRET) == [f"/proc/{process.pid}/cmdline"]
        process.communicate(b"\n")


def test_what_a_command_says_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "COMMANDS", (("echo", "-n", SECRET[:9]), ("echo", f"a{SECRET}")))
    assert leftovers.told(SECRET) == [f"echo a{SECRET}"]
    monkeypatch.setattr(leftovers, "COMMANDS", (("false",),))
    with pytest.raises(AssertionError):
        leftovers.told(SECRET)


def test_the_credentials_of_units_are_theirs() -> None:
    assert "/run/credentials" not in leftovers.roots()
    assert "/run" not in leftovers.roots()
    assert {"/etc", "/var", "/tmp", "/mnt"} <= set(leftovers.roots())
