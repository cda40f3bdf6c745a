# SPDX-License-Identifier: GPL-3.0-or-later
"""The disk's file system grows while it is mounted and written to.

The kernel lets root do that with CAP_SYS_RESOURCE alone, which the host of a local cloud may lack, as any
container may. So this test boots a kernel of its own, in which root may do everything: user-mode Linux, which
is a package of Debian and runs as a process, on the host's files, which it may only read.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.support import ROOT

KERNEL = shutil.which("linux.uml")
INIT = """#!/bin/sh
mount -t proc proc /proc
{python} {program} {out} {playbook}
echo o > /proc/sysrq-trigger  # off
sleep 60
"""


@pytest.mark.skipif(not KERNEL, reason="there is no user-mode Linux here (Debian's package user-mode-linux)")
def test_a_mounted_file_system_grows_under_its_writer(tmp_path: Path) -> None:
    task = {"name": "Grow", "tpuops.maxtext.disk_filesystem": {"device": "/dev/ubda"}, "register": "grown"}
    tell = {"name": "Tell", "ansible.builtin.debug": {"msg": "from {{ grown.grown_from_bytes }} bytes"}}
    variables = {"ansible_python_interpreter": sys.executable, "ansible_remote_tmp": "/run"}
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables}
    playbook = tmp_path / "grow.json"
    playbook.write_text(json.dumps([{**play, "tasks": [task, tell]}]))
    disk = tmp_path / "disk"
    with disk.open("wb") as file:
        file.truncate(2**30)
    init = tmp_path / "init"
    program = Path(__file__).with_name("guest.py")
    init.write_text(INIT.format(python=sys.executable, program=program, out=tmp_path, playbook=playbook))
    init.chmod(0o755)

    kernel = ["mem=768M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}"]
    devices = [f"ubd0={disk}", f"uml_dir={tmp_path}/uml", "con=null", "con0=null,fd:2", "con1=fd:0,fd:1"]
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "ANSIBLE_CONFIG": f"{ROOT}/ansible.cfg",
        "LC_ALL": "C.UTF-8",
        "HOME": "/run",
        "TMPDIR": "/run",
    }
    argv = [str(KERNEL), *kernel, *devices, *(f"{key}={value}" for key, value in environment.items())]
    booted = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert (tmp_path / "result.json").exists(), booted.stdout[-5000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert "error" not in result, result["error"]
    assert f"from {256 * 2**20} bytes" in result["told"]
    before, after = result["before"], result["after"]
    assert before["size"] < 256 * 2**20 < 0.9 * 2**30 < after["size"]
    assert len(before["mounts"]) == 1 and after["mounts"] == before["mounts"], "it was unmounted"
    assert result["lines"] == [f"line {number}" for number in range(len(result["lines"]))]
