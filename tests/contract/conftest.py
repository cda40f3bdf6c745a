# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud of the tests' own, beside whatever the user runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Description = dict[str, Any]


def localcloud(state_dir: Path, *arguments: str) -> str:
    """Run a command of a local cloud; its output."""
    command = [sys.executable, "-m", "localcloud", "--state-dir", str(state_dir), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Description]:
    """A running cloud without machines: the content of its localcloud.json."""
    if os.geteuid() != 0:
        pytest.skip("the local cloud needs root")
    state_dir = tmp_path_factory.mktemp("contract") / "cloud"
    localcloud(state_dir, "up")
    try:
        description: Description = json.loads((state_dir / "localcloud.json").read_text(encoding="utf-8"))
        yield description
    finally:
        shutil.copy(state_dir / "server.log", state_dir.parent / "server.log")
        localcloud(state_dir, "down")


@pytest.fixture(scope="session")
def cloud_environment(cloud: Description) -> dict[str, str]:
    """The environment of a shell that has evaluated `localcloud env`."""
    exports = localcloud(Path(cloud["state_dir"]), "env")
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    script = f"{exports}\nenv -0"
    output = subprocess.run(
        ["sh", "-c", script], env=clean, capture_output=True, text=True, check=True
    ).stdout
    pairs = (entry.partition("=") for entry in output.split("\0") if entry)
    return {name: value for name, _, value in pairs}
