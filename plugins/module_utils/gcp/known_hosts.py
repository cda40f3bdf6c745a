# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of host keys that Ansible's SSH trusts: one line an alias, `<alias> <type> <key>`."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Mapping


def read(path: str) -> dict[str, str]:
    """Alias -> "<type> <key>"; empty where there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            pairs = (line.split(maxsplit=1) for line in file)
            return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
    except FileNotFoundError:
        return {}


def add(path: str, keys: Mapping[str, str]) -> bool:
    """Add or replace entries; whether the file changed.

    The file is replaced as a whole (0600), so that an SSH client that reads it meanwhile sees the old or the
    new one; a lock beside it keeps two controllers from losing each other's entries.
    """
    if keys.items() <= read(path).items():
        return False
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    with open(f"{path}.lock", "a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        merged = {**read(path), **keys}
        handle, temporary = tempfile.mkstemp(dir=directory)  # 0600 by its own
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.writelines(f"{alias} {key}\n" for alias, key in sorted(merged.items()))
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    return True
