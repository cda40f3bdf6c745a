# SPDX-License-Identifier: GPL-3.0-or-later
"""Download a model at one commit, and compare each file with what the Hub says of it.

    download.py REPO COMMIT --manifest FILE

The Hub's client takes a file in its cache for whole because it is there. A disk that failed, or lost its
power, while the file was written leaves a part of it, and every later stage would use that. So the files are
compared with the Hub's SHA-256 of large files and Git's SHA-1 of small ones; those that differ are downloaded
again.

Needs huggingface_hub; the token of the Hub comes in HF_TOKEN and its address in HF_ENDPOINT. As a program it
writes the manifest of the model's files (manifest.py).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from tpuops import manifest

# All that a model consists of, in any of its forms, but not its weights in other formats than safetensors.
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py", "LICENSE*")
ELSEWHERE = ("original/*", "metal/*", "onnx/*")  # copies in the formats of other programs
CHUNK = 1 << 20


class Damaged(Exception):
    """A file that is not the Hub's, also after another download."""


def snapshot(repository: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    patterns = {"allow_patterns": [*PATTERNS], "ignore_patterns": [*ELSEWHERE]}
    return Path(snapshot_download(repository, revision=commit, max_workers=8, **patterns))


def listed(repository: str, commit: str) -> dict[str, Any] | None:
    """What the Hub says of each file, by its path; None where the Hub does not answer.

    Then the client has found the files in its cache, which were compared when they were downloaded.
    """
    from huggingface_hub import HfApi

    try:
        info = HfApi().model_info(repository, revision=commit, files_metadata=True)
    except Exception as error:  # each version of the client has its own, and those of its HTTP library
        print(f"the Hub does not tell its files, so they are not compared with it: {error}", flush=True)
        return None
    return {each.rfilename: each for each in info.siblings or []}


def git_sha1(path: Path) -> str:
    sha1 = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            sha1.update(chunk)
    return sha1.hexdigest()


def differs(path: Path, known: Any) -> bool:
    """Whether a file is not the one that the Hub describes."""
    if known.size is not None and path.stat().st_size != known.size:
        return True
    lfs = known.lfs
    if lfs:
        sha256 = lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256
        return bool(manifest.describe(str(path))["sha256"] != sha256)
    return bool(known.blob_id and git_sha1(path) != known.blob_id)


def damaged(directory: Path, known: dict[str, Any]) -> list[str]:
    names = [name for name in manifest.files_below(str(directory)) if name in known]
    return [name for name in names if differs(directory / name, known[name])]


def fetch(repository: str, commit: str) -> Path:
    """The directory of the model at this commit. Raises Damaged where the Hub gives other files twice."""
    directory = snapshot(repository, commit)
    known = listed(repository, commit)
    if known is None:
        return directory
    for name in damaged(directory, known):
        path = directory / name
        print(f"{path} is not what the Hub has: it is downloaded again", flush=True)
        path.resolve().unlink(missing_ok=True)  # the content, which the name links to
        path.unlink(missing_ok=True)
    directory = snapshot(repository, commit)
    if wrong := damaged(directory, known):
        raise Damaged(
            f"{', '.join(wrong)} of {repository} at {commit} are not what the Hub says of them, also after "
            "another download. Look at the disk (dmesg), or run the same command again."
        )
    return directory


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Download a model and compare it with the Hub.")
    parser.add_argument("repository")
    parser.add_argument("commit")
    parser.add_argument("--manifest", type=Path, required=True, help="file for the manifest of its files")
    options = parser.parse_args(arguments)
    try:
        directory = fetch(options.repository, options.commit)
    except Damaged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(str(options.manifest), manifest.build(str(directory), {"commit": options.commit}))
    os.sync()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
