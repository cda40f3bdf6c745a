# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of a host that cannot be reached, by Ansible as users run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("ignored", "status"), [(False, 4), (True, 0)])
def test_the_remedy_follows_what_ssh_says(tmp_path: Path, ignored: bool, status: int) -> None:
    playbook = tmp_path / "play.json"
    task = {"name": "Look", "ansible.builtin.ping": {}, "ignore_unreachable": ignored}
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
    inventory = tmp_path / "hosts.json"
    # Nothing listens on port 1.
    host = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory.write_text(json.dumps({"all": {"hosts": {"tpu": host}}}))
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(playbook)],
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "LC_ALL": "C.UTF-8"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert ("tpu is unreachable." in done.stdout) == (not ignored)
    assert ("Run the same command again" in done.stdout) == (not ignored)
    command = f"ansible-playbook -i {inventory} tpuops.maxtext.teardown"
    assert (f"{command}, which keeps the disk" in done.stdout) == (not ignored)
