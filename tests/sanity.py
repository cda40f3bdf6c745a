# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.sanity`: all of ansible-test's sanity tests on the artifact, without an ignore file.

They need no container, and of the network only a package index. The files are compiled and imported on the
oldest and the newest Python of this machine, and on the controller's. What a version between them lacks, the
oldest lacks too, or the newest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests import artifact

#: What ansible-test fetches from a host of its own: an installer of pip, which Python has too. It runs in ten
#: environments. To unpack Python's own wheel costs a tenth of what ensurepip does, which runs pip out of it.
INSTALL_PIP = """
import ensurepip, pathlib, sysconfig, zipfile
wheels = sorted(pathlib.Path(ensurepip.__file__).parent.glob("_bundled/pip-*.whl"))
if wheels:
    zipfile.ZipFile(wheels[-1]).extractall(sysconfig.get_path("purelib"))
else:  # a distribution keeps it elsewhere
    ensurepip.bootstrap()
"""
#: What is never imported need not be compiled.
PIP_CONFIGURATION = "[install]\nno-compile = true\n"
OLDEST = 9  # Python 3.9, on targets
PIP_VERSIONS = ("25_2", "25_3", "26_0", "24_2")


def interpreters() -> dict[str, Path]:
    """{python3.N: its program}, no shim of a version manager."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    here = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    found = [*Path("/usr/bin").glob("python3.*[0-9]"), *pyenv.glob("3.*/bin/python3.*[0-9]"), here]
    known = {int(path.name.partition(".")[2]): path for path in found if path.exists()}
    minors = sorted(minor for minor in known if minor >= OLDEST)
    return {known[minor].name: known[minor] for minor in (minors[0], sys.version_info.minor, minors[-1])}


def main() -> int:
    # A short path: ansible-test's own files end in sockets and programs.
    with tempfile.TemporaryDirectory(prefix="sanity-") as base:
        home, programs = Path(base) / "home", Path(base) / "bin"
        cache = home / ".ansible/test/cache"
        cache.mkdir(parents=True)
        for version in PIP_VERSIONS:
            (cache / f"get_pip_{version}.py").write_text(INSTALL_PIP)
        (home / ".config/pip").mkdir(parents=True)
        (home / ".config/pip/pip.conf").write_text(PIP_CONFIGURATION)
        programs.mkdir()
        for name, path in interpreters().items():
            (programs / name).symlink_to(path)
        collection = Path(base) / "ansible_collections/tpuops/maxtext"
        with tarfile.open(artifact.build(Path(base))) as archive:
            archive.extractall(collection, filter="data")
        environment = {
            **artifact.without_clone(os.environ),
            "HOME": str(home),
            "PATH": f"{programs}:{Path(sys.executable).parent}:/usr/bin:/bin",
        }
        command = [artifact.program("ansible-test"), "sanity", "--venv", "--color", "no", *sys.argv[1:]]
        return subprocess.run(command, cwd=collection, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
