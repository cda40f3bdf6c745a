# SPDX-License-Identifier: GPL-3.0-or-later
"""Download a model at one commit, and compare each file with what the Hub says of it.

    download.py REPO COMMIT --manifest FILE [--like DIRECTORY]

The Hub's client takes a file in its cache for whole because it is there. A disk that failed, or lost its
power, while the file was written leaves a part of it, and every later stage would use that. So the files are
compared with the Hub's SHA-256 of large files and Git's SHA-1 of small ones; those that differ are downloaded
again. Where the Hub does not answer, the cache itself tells: it calls each content by that hash.

What was uploaded from this disk need not come back. A file of DIRECTORY that has the Hub's hash, by the
manifest beside it, becomes a second name of the same content in the cache. It is compared like all others.

Needs huggingface_hub; the token of the Hub comes in HF_TOKEN and its address in HF_ENDPOINT. As a program it
writes the manifest of the model's files (manifest.py).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

from tpuops import manifest, model_files

CHUNK = 1 << 20
HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")  # Git's SHA-1, or SHA-256
Patterns = tuple[str, ...]


class Damaged(Exception):
    """A file that is not the Hub's, also after another download."""


def hub() -> Any:
    """A client of the Hub that the environment names."""
    from huggingface_hub import HfApi

    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or False)


def snapshot(repository: str, commit: str, allow: Patterns, ignore: Patterns) -> Path:
    found = hub().snapshot_download(
        repository, revision=commit, max_workers=8, allow_patterns=[*allow], ignore_patterns=[*ignore]
    )
    return Path(found)


def listed(repository: str, commit: str) -> dict[str, Any] | None:
    """Size and hash of each file on the Hub, by its path; None if the Hub does not answer."""
    try:
        info = hub().model_info(repository, revision=commit, files_metadata=True)
    except Exception as error:  # each version of the client has its own, and those of its HTTP library
        print(f"the Hub does not tell its files, so the cache is compared with itself: {error}", flush=True)
        return None
    return {each.rfilename: each for each in info.siblings or []}


def sha256_of(known: Any) -> str | None:
    """The hash that the Hub has for a large file; None for a small one."""
    lfs = known.lfs
    if not lfs:
        return None
    return str(lfs["sha256"] if isinstance(lfs, dict) else lfs.sha256)


def blobs(repository: str) -> Path:
    """Where the client keeps the contents of a repository, by their hashes."""
    home = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(home, "hub", f"models--{repository.replace('/', '--')}", "blobs")


def take(like: Path, known: dict[str, Any], into: Path) -> list[str]:
    """Give the client's cache the large files that a directory has already; their names.

    A hard link costs no space and no time. Where a file system has none, the file is downloaded.
    """
    described = manifest.read(f"{like}.manifest.json")
    there = {each["sha256"]: like / name for name, each in (described or {"files": {}})["files"].items()}
    taken = []
    for name, each in known.items():
        sha256 = sha256_of(each)
        if sha256 is None or sha256 not in there or (into / sha256).exists():
            continue
        try:
            into.mkdir(parents=True, exist_ok=True)
            os.link(there[sha256], into / sha256)
        except OSError as error:
            print(f"{name} is downloaded, as {there[sha256]} cannot be used: {error.strerror}", flush=True)
        else:
            taken.append(name)
    return taken


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
    if sha256 := sha256_of(known):
        return bool(manifest.describe(str(path))["sha256"] != sha256)
    return bool(known.blob_id and git_sha1(path) != known.blob_id)


def damaged(directory: Path, known: dict[str, Any]) -> list[str]:
    """Those of the known files that are not there as the Hub describes them."""
    return [
        name
        for name, each in known.items()
        if not (directory / name).is_file() or differs(directory / name, each)
    ]


def damaged_by_name(directory: Path, names: list[str]) -> list[str]:
    """Those of the files whose content is not what the client's cache calls it (blobs/HASH)."""
    found = []
    for name in names:
        path = directory / name
        blob = path.resolve().name
        if not path.is_file():
            found.append(name)
        elif HASH.fullmatch(blob):
            actual = git_sha1(path) if len(blob) == 40 else manifest.describe(str(path))["sha256"]
            found += [name] * (actual != blob)
    return found


def fetch(
    repository: str,
    commit: str,
    allow: Patterns = model_files.MODEL,
    ignore: Patterns = model_files.ELSEWHERE,
    like: Path | None = None,
) -> Path:
    """The directory of the files that the patterns choose, at this commit.

    like: a directory with a manifest, which may have the same files.

    Raises Damaged where the Hub gives other files twice, or where a damaged one cannot be downloaded again.
    """
    known = listed(repository, commit)
    if known is not None:
        known = {name: known[name] for name in model_files.chosen(known, allow, ignore)}
    if known and like:
        taken = take(like, known, blobs(repository))
        size = sum(known[name].size or 0 for name in taken) / 1e6
        print(f"{len(taken)} files, {size:.0f} MB, are on this disk already", flush=True)
    directory = snapshot(repository, commit, allow, ignore)
    there = model_files.chosen(manifest.files_below(str(directory)), allow, ignore)
    if known is None:
        if wrong := damaged_by_name(directory, there):
            raise Damaged(
                f"{', '.join(wrong)} of {repository} at {commit} are damaged in {directory}, and the Hub "
                "does not answer. Run the same command again when it does: they are downloaded again then."
            )
        return directory
    for name in [*damaged(directory, known), *sorted(set(there) - known.keys())]:
        path = directory / name
        print(f"{path} is not what the Hub has: it is downloaded again, if the Hub has it", flush=True)
        path.resolve().unlink(missing_ok=True)  # the content, which the name links to
        path.unlink(missing_ok=True)
    directory = snapshot(repository, commit, allow, ignore)
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
    parser.add_argument("--like", type=Path, help="directory that may have the same files")
    options = parser.parse_args(arguments)
    try:
        directory = fetch(options.repository, options.commit, like=options.like)
    except Damaged as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write(str(options.manifest), manifest.build(str(directory), {"commit": options.commit}))
    os.sync()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
