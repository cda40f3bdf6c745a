# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs are written all at once, and only where they differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import RunModule

ROLES = Path(__file__).resolve().parents[4] / "roles"
FILES = {"convert.py": "print(1)\n", "tpuops/manifest.py": ""}


def test_what_differs_is_written(run_module: RunModule, tmp_path: Path) -> None:
    top = tmp_path / "programs"
    given: dict[str, Any] = {"path": str(top), "files": FILES}
    would = run_module("program_files", check=True, **given)
    assert (would["written"], top.exists()) == (list(FILES), False)
    assert run_module("program_files", **given)["written"] == list(FILES)
    assert {name: (top / name).read_text() for name in FILES} == FILES
    assert not run_module("program_files", **given)["changed"]
    (top / "convert.py").write_bytes(b"\xff")
    assert run_module("program_files", **given)["written"] == ["convert.py"]
    assert sorted(path.name for path in top.iterdir()) == ["convert.py", "tpuops"]


@pytest.mark.parametrize("name", ["../x.py", "a/b/c.py", "/x.py", "x.sh", ""])
def test_only_names_of_programs(run_module: RunModule, tmp_path: Path, name: str) -> None:
    refused = run_module("program_files", path=str(tmp_path), files={name: ""})
    assert "is not the name of a program" in refused["msg"]


def test_the_roles_have_all_that_is_written() -> None:
    files = yaml.safe_load((ROLES / "common" / "vars" / "main.yml").read_text())["_common_program_files"]
    for name, path in files.items():
        source = Path(path.replace("{{ role_path }}", str(ROLES / "common")))
        assert source.exists(), name
        assert source.name == Path(name).name
