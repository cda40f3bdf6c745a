# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_growth.py runs on a kernel of its own: a mounted file system that grows while it is written to.

Arguments: a directory of the host, which gets result.json, and the playbook that lets the file system grow.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

DISK, MOUNT, HOST = "/dev/ubda", Path("/mnt"), Path("/media")
SIZE = "256M"  # of the file system; the disk is larger
WRITER = """
import itertools, os, sys, time
with open(sys.argv[1], "w") as file:
    for number in itertools.count():
        print("line", number, file=file, flush=True)
        os.fsync(file.fileno())
        time.sleep(0.1)
"""


def run(*argv: str) -> str:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stdout}")
    return done.stdout


def state() -> dict[str, Any]:
    """The mount and the size of the file system in bytes. A mount that is made anew has another number."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    size = os.statvfs(MOUNT)
    return {
        "mounts": [line for line in mounts if f" {MOUNT} " in line],
        "size": size.f_blocks * size.f_frsize,
    }


def grow(playbook: str) -> dict[str, Any]:
    run("mkfs.ext4", "-q", "-m", "0", DISK, SIZE)
    run("mount", "-o", "discard", DISK, str(MOUNT))
    log = MOUNT / "log"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(log)]) as writer:

        def wait_for_more(than: int) -> None:
            while not log.exists() or log.stat().st_size <= than:
                if writer.poll() is not None:
                    raise RuntimeError(f"what writes to the disk ended with {writer.returncode}")
                time.sleep(0.1)

        try:
            wait_for_more(0)
            before = state()
            told = run("ansible-playbook", "--inventory", "localhost,", playbook)
            wait_for_more(log.stat().st_size)
            after = state()
        finally:
            writer.kill()
    lines = log.read_text().splitlines()
    run("umount", str(MOUNT))
    run("e2fsck", "-f", "-n", DISK)
    return {"before": before, "after": after, "told": told, "lines": lines}


def main() -> None:
    host, playbook = sys.argv[1:]
    for kind, where in {"sysfs": "/sys", "tmpfs": "/run", "hostfs": str(HOST)}.items():
        run("mount", "-t", kind, "-o", host if kind == "hostfs" else "rw", kind, where)
    Path("/dev/shm").mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", "/dev/shm")
    try:
        result = grow(playbook)
    except Exception:
        result = {"error": traceback.format_exc()}
    (HOST / "result.json").write_text(json.dumps(result))
    run("umount", str(HOST))


if __name__ == "__main__":
    main()
