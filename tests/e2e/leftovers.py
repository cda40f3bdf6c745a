# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a secret is left on a machine: `Cloud.leaks` sends this program there, with the secret as its input.

    python3 -c PROGRAM [NAME...]

A line for each place: files, the journal, properties of units, command lines. Directories of these names are
left out. The search never has the secret on a command line, or it would find itself.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOTS = ("/etc", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr/local", "/var")
COMMANDS = (
    ("journalctl", "--no-pager", "--all", "--output=export"),
    ("systemctl", "show", "*"),
)


def roots() -> list[str]:
    """All that is written to; of /run not the credentials of units, memory that they alone can read."""
    return [*ROOTS, *(str(path) for path in Path("/run").iterdir() if path.name != "credentials")]


def files(secret: str, directories: Sequence[str], but: Sequence[str]) -> list[str]:
    """Those below directories that hold the secret, which must not be empty: grep would find all."""
    assert secret
    search = ["grep", "--recursive", "--files-with-matches", "--text", "--fixed-strings", "--devices=skip"]
    left_out = [f"--exclude-dir={name}" for name in but]
    done = subprocess.run(
        [*search, "--file=-", *left_out, "--", *directories], input=secret.encode(), capture_output=True
    )
    assert done.returncode <= 2, done.stderr  # 2: a file went away meanwhile, or a directory is not there
    return done.stdout.decode(errors="replace").splitlines()


def told(secret: str) -> list[str]:
    """The commands whose output has the secret."""
    found = []
    for command in COMMANDS:
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.stdout, done.stderr
        if secret.encode() in done.stdout:
            found.append(" ".join(command))
    return found


def command_lines(secret: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if secret.encode() in path.read_bytes():
                found.append(str(path))
        except OSError:
            continue  # it ended meanwhile
    return found


if __name__ == "__main__":
    token = sys.stdin.read().strip()
    for place in files(token, roots(), sys.argv[1:]) + told(token) + command_lines(token):
        print(place)
