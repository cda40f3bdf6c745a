# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it is a program of its own too
"""What a stage left on the disk, by content, so that the next stage can compare before it uses it.

A manifest is a JSON file beside a tree of files: ``files`` maps each path, relative to the tree, to its
``bytes`` and ``sha256``; ``about`` holds what the stage that wrote it says of the tree (strings, numbers,
lists and dicts); ``parts`` names the directories that it describes, null for all of the tree. That of a
checkpoint may have ``rows``, how many rows of the data it was trained on. Its digest is the SHA-256 of
``files``: two trees have the same digest when their names and contents are the same.

The programs of the roles use it in the training environment, the modules on the target, and vLLM's unit as a
program before each start, ``manifest.py MANIFEST TREE``: Python 3.9 and its standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CHUNK = 1 << 20
THREADS = 8  # hashing lets go of Python's lock; a disk serves several readers better than one
SHOWN = 3  # problems that a message names


def files_below(root: str, parts: list[str] | None = None) -> list[str]:
    """The files of a tree, or of its directories ``parts`` alone, relative to it, in order.

    Links to directories are not followed.
    """
    found = []
    for top in [root] if parts is None else [os.path.join(root, part) for part in parts]:
        for directory, _below, names in os.walk(top):
            found += [os.path.relpath(os.path.join(directory, name), root) for name in names]
    return sorted(found)


def describe(path: str) -> dict[str, Any]:
    """bytes and sha256 of a file."""
    sha256, size = hashlib.sha256(), 0
    with open(path, "rb") as handle:
        while chunk := handle.read(CHUNK):
            sha256.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": sha256.hexdigest()}


def build(
    root: str, about: dict[str, Any] | None = None, *, parts: list[str] | None = None
) -> dict[str, Any]:
    """The manifest of the tree as it is now, or of its directories ``parts``."""
    names = files_below(root, parts)
    with ThreadPoolExecutor(THREADS) as pool:
        described = pool.map(describe, (os.path.join(root, name) for name in names))
        return {"files": dict(zip(names, described)), "about": about or {}, "parts": parts}


def digest(manifest: dict[str, Any]) -> str:
    """SHA-256, in hex, of the names and contents of the tree."""
    canonical = json.dumps(manifest["files"], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def write(path: str, manifest: dict[str, Any]) -> None:
    """Replace the manifest in one step: a crash leaves the old one or the new one."""
    following = path + ".next"
    with open(following, "w", encoding="utf-8") as handle:
        json.dump(manifest, handle, indent=1, sort_keys=True)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(following, path)


def read(path: str) -> dict[str, Any] | None:
    """The manifest; None where there is none, or where the file is not one.

    The user of a job may have put anything there: a FIFO would let the reader wait for ever.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, encoding="utf-8") as handle:
            manifest = json.load(handle) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return manifest if is_manifest(manifest) else None


def is_manifest(value: Any) -> bool:
    files = value.get("files") if isinstance(value, dict) else None
    return (
        isinstance(files, dict)
        and isinstance(value.get("about"), dict)
        and all(isinstance(one, dict) and {"bytes", "sha256"} <= set(one) for one in files.values())
    )


def problems(path: str, root: str, *, thorough: bool = True) -> list[str]:
    """How the tree differs from its manifest; empty where it does not.

    ``thorough`` reads every byte. Otherwise sizes are compared, and only files that changed after the
    manifest was written are read: that costs no more than a look at the directory.
    """
    manifest = read(path)
    if manifest is None:
        return [f"{path} is missing or is no manifest"]
    files = manifest["files"]
    present = set(files_below(root, manifest.get("parts")))
    found = [f"{os.path.join(root, name)} is missing" for name in sorted(set(files) - present)]
    found += [f"{os.path.join(root, name)} was added" for name in sorted(present - set(files))]
    written = os.stat(path).st_mtime_ns
    suspects = []
    for name in sorted(present & set(files)):
        whole = os.path.join(root, name)
        try:
            state = os.stat(whole)
        except OSError as error:  # such as a link to what is gone
            found.append(f"{whole} cannot be read ({error.strerror})")
            continue
        if state.st_size != files[name]["bytes"]:
            found.append(f"{whole} has {state.st_size} bytes instead of {files[name]['bytes']}")
        elif thorough or state.st_mtime_ns > written:
            suspects.append(name)
    return found + changed(root, files, suspects)


def changed(root: str, files: dict[str, Any], names: Iterable[str]) -> list[str]:
    names = list(names)
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda name: difference(os.path.join(root, name), files[name]), names)
        return [problem for problem in found if problem]


def difference(path: str, recorded: dict[str, Any]) -> str | None:
    try:
        if describe(path)["sha256"] == recorded["sha256"]:
            return None
    except OSError as error:  # a failing disk
        return f"{path} cannot be read ({error.strerror})"
    return f"{path} has other content than was recorded"


def sentence(found: list[str]) -> str:
    """The first problems, fit for a message."""
    more = len(found) - SHOWN
    return ", ".join(found[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def main(arguments: list[str]) -> int:
    """Compare a tree with its manifest; 1 where it differs."""
    path, root = arguments
    found = problems(path, root)
    if found:
        print(
            f"error: {root} is damaged: {sentence(found)}. Remove its record (sudo rm {path} on "
            "the machine) and run the stage that left it again.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
