# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments of other versions than the locked ones: what users may have.

oldest: the oldest ansible-core of meta/runtime.yml and the oldest packages of meta/requirements.txt, on the
        Python of .venv, for which `make deps` prefers the oldest.
newest: the locked ansible-core and the newest packages, on the newest Python of this machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / "build" / "versions"
NAMES = ("oldest", "newest")
#: What the unit tests of the plugins import, beside what the controller needs.
TOOLS = ("google-cloud-tpu", "httpx", "hypothesis", "pytest", "pytest-timeout")
#: The peer of these tests needs newer packages than the oldest.
LEFT_OUT = ("tests/unit/plugins/training/test_datasets_peer.py",)
PYTHONS = re.compile(r"3\.(1[2-9])(\.\d+)?$")


def packages(name: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    tools = [each for each in groups["dev"] if isinstance(each, str) and each.partition("==")[0] in TOOLS]
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["requires_ansible"]
    locked = next(each for each in project["project"]["dependencies"] if each.startswith("ansible-core"))
    core = f"ansible-core=={runtime.removeprefix('>=')}" if name == "oldest" else locked
    return [core, *groups["localcloud"], *tools]


def interpreter(name: str) -> str:
    """Of the environment to be made: that of this process, or the newest that pyenv or the system has."""
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    found = {sys.version_info.minor: base}
    if name == "newest":
        pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
        for path in (*sorted(pyenv.glob("3.*/bin/python")), *Path("/usr/bin").glob("python3.*")):
            version = PYTHONS.search(path.parents[1].name if path.name == "python" else path.name)
            if version:
                found[int(version[1])] = path
    return str(found[max(found)])


def environment(name: str) -> Path:
    """The directory of its programs; it is made where there is none."""
    python, wanted = interpreter(name), packages(name)
    requirements = ROOT / "meta" / "requirements.txt"
    inputs = "\n".join([python, *wanted, requirements.read_text()])
    target = DIRECTORY / f"{name}-{hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
    if not (target / "complete").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", python, str(target)], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", str(target / "bin" / "python")]
        resolution = "lowest-direct" if name == "oldest" else "highest"
        options = ["--resolution", resolution, "--requirement", str(requirements)]
        subprocess.run([*install, *options, *wanted], check=True)
        (target / "complete").touch()
    return target / "bin"
