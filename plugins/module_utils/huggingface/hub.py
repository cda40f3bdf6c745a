# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # parts of it are a program of its own, which prints
"""What needs a Python that has huggingface_hub (0.36 to 2.x), as a program: ``hub.py ACTION REQUEST``.

The modules send this file to the Python of the training environment; nothing but huggingface_hub and the
standard library is used. REQUEST is a JSON object. The token comes in HF_TOKEN and the address of the Hub in
HF_ENDPOINT, never as an argument. The last line of standard output is the answer, a JSON object; with
``error`` in it when the exit status is 1.

Actions and their requests, all with repo_id and repo_type (model or dataset):

- ``show`` -> exists, private, revision (commit), url
- ``create`` private -> the same; a repository that exists keeps its visibility
- ``delete`` -> exists
- ``compare`` revision, folder, ignore_patterns, replace -> upload, delete (paths), manifest (whether it is to
  be written), bytes, files (number), revision
- ``upload`` the same, with message: one commit of what differs, then compared again with what the Hub has

An upload leaves a manifest in the repository: the paths that it uploaded, with their hashes. By it the next
one knows which files are its own, and deletes, in the same commit, those that the folder has no more. A file
that is in no manifest, or is not as it was uploaded, is somebody else's. It stops the upload, as a model is
loaded from all files of its repository. Only documents, which nobody loads, may be others'; they stay as they
are.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
Request = dict[str, Any]
Answer = dict[str, Any]

ATTEMPTS = 4  # of a question
PAUSE = 1.0  # seconds after the first attempt, doubled each time
UPLOAD_ATTEMPTS = 6  # what arrived in one is not sent again in the next
UPLOAD_PAUSE = 4.0
READ_BYTES = 1 << 20
# Never part of what is uploaded: version control, and huggingface_hub's own notes in a folder.
PRIVATE_FOLDERS = (".git", ".cache")
#: What an upload leaves, beside the files of the folder.
MANIFEST = "tpuops-upload.json"
ABOUT = "The files that the Ansible collection tpuops.maxtext uploaded. The next upload replaces these alone."
LARGEST_MANIFEST = 10 << 20  # bytes; larger ones are not read
#: What nobody loads a model from, as patterns: '*' matches '/' too.
DOCUMENTS = (
    ".gitattributes",
    ".gitignore",
    "*.md",
    "*LICENSE*",
    "*NOTICE*",
    "*.gif",
    "*.jpeg",
    "*.jpg",
    "*.pdf",
    "*.png",
    "*.svg",
    "*.webp",
)
ATTRIBUTES = ".gitattributes"  # never deleted: it says which files go by LFS
GIT_MOST = 10 << 20  # bytes from which the Hub takes a file by LFS alone
SHOWN = 3  # paths in a message
HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "requests", "urllib3")
TRANSIENT_STATUS = (408, 412, 425, 429)  # 412: another commit came first, so compare anew


class HubError(Exception):
    """What went wrong and what to do about it; the text is the whole error message."""


class Transient(HubError):
    """Worth another attempt."""


def main(arguments: list[str]) -> int:
    action, request = ACTIONS[arguments[0]], json.loads(arguments[1])
    try:
        answer = action(request) if action is upload else patiently(lambda: guarded(action, request))
    except HubError as error:
        print(json.dumps({"error": str(error)}) if action is not upload else str(error))
        return 1
    if action is upload:
        print(f"{request['repo_id']} has all {answer['files']} files, at commit {answer['revision']}")
    else:
        print(json.dumps(answer))
    return 0


def api() -> Any:
    """A client for HF_ENDPOINT with HF_TOKEN.

    Raises HubError when this Python has no huggingface_hub.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise HubError(
            f"python: {sys.executable} has no huggingface_hub ({error}). Name one that has"
        ) from error
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=os.environ.get("HF_TOKEN") or False)


def guarded(action: Callable[[Request], Answer], request: Request) -> Answer:
    """The action's answer, or a HubError for whatever huggingface_hub raised."""
    try:
        return action(request)
    except HubError:
        raise
    except Exception as error:
        endpoint = os.environ.get("HF_ENDPOINT") or "the Hub"
        explanation = explain(
            error, request["repo_id"], "repo_id", endpoint, bool(os.environ.get("HF_TOKEN"))
        )
        if explanation is None:
            raise
        raise explanation from error


def patiently(
    work: Callable[[], Result],
    attempts: int = ATTEMPTS,
    pause: float = PAUSE,
    tell: Callable[[str], None] = lambda _text: None,
) -> Result:
    """The work's result, across faults that pass. The work must be safe to repeat.

    pause: seconds after the first attempt, doubled each time. tell: gets a sentence before each pause.
    """
    for attempt in range(1, attempts + 1):
        try:
            return work()
        except Transient as error:
            if attempt == attempts:
                raise HubError(f"{error} (given up after {attempts} attempts)") from error
            tell(f"{error}; trying again in {pause:.0f} s")
            time.sleep(pause)
            pause *= 2
    raise AssertionError("unreachable")


def check_token(token: str) -> None:
    """Refuse what no header may have, without the value: the client would quote it in its own message."""
    if not all("!" <= character <= "~" for character in token):
        raise HubError(
            "token: has a blank, a line feed or a character that is not ASCII. Give it as the Hub shows it"
        )


def explain(error: Exception, repo: str, option: str, endpoint: str, has_token: bool) -> HubError | None:
    """An error of huggingface_hub or of HTTP below it, in the user's terms; None for any other.

    ``option`` is the name of the option that names the repository.
    """
    status = getattr(getattr(error, "response", None), "status_code", None)
    if type(error).__name__ == "HFValidationError":
        return HubError(f"{option}: {repo!r} is not the name of a repository: {error}")
    if status == 401 and has_token:
        return HubError(f"token: {endpoint} refused it. Create a new one in the settings of the account")
    if status == 401:
        return HubError(f"token: is not set; {repo} needs one, or there is no such repository at {endpoint}")
    if status == 403:
        return HubError(f"token: may not do this to {repo} at {endpoint}: it needs permission to")
    if status == 404:
        if type(error).__name__ == "RevisionNotFoundError":
            return HubError(f"{option}: {repo} at {endpoint} has no such revision")
        return HubError(f"{option}: there is no {repo} at {endpoint} that the token may see")
    if status is not None:
        text = f"{endpoint} answered with HTTP status {status}: {error}"
        return Transient(text) if status in TRANSIENT_STATUS or status >= 500 else HubError(text)
    if type(error).__module__.split(".")[0] in HTTP_LIBRARIES or isinstance(error, ConnectionError):
        return Transient(f"endpoint: {endpoint} cannot be reached: {error}")
    return None


def show(request: Request) -> Answer:
    client = api()
    kind = "" if request["repo_type"] == "model" else f"{request['repo_type']}s/"
    url = f"{client.endpoint}/{kind}{request['repo_id']}"
    info = repo_info(client, request)
    if info is None:
        return {"exists": False, "private": None, "revision": None, "url": url}
    return {"exists": True, "private": bool(info.private), "revision": info.sha, "url": url}


def repo_info(client: Any, request: Request, revision: str | None = None) -> Any:
    """huggingface_hub's description of the repository, or None when there is none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return client.repo_info(request["repo_id"], repo_type=request["repo_type"], revision=revision)
    except RepositoryNotFoundError as error:
        # huggingface_hub calls it so, too, when the Hub refuses the token.
        if error.response.status_code == 401 and os.environ.get("HF_TOKEN"):
            raise
        return None


def create(request: Request) -> Answer:
    api().create_repo(
        request["repo_id"], repo_type=request["repo_type"], private=request["private"], exist_ok=True
    )
    return show(request)


def delete(request: Request) -> Answer:
    api().delete_repo(request["repo_id"], repo_type=request["repo_type"], missing_ok=True)
    return {"exists": False}


def compare(request: Request) -> Answer:
    """What an upload of the folder would send and delete; revision is None when there is no repository.

    HubError where the repository has what is not ours, unless it may be replaced.
    """
    client = api()
    info = repo_info(client, request, request["revision"])
    revision = info.sha if info else None
    remote = remote_files(client, request, revision) if revision else {}
    known = read_manifest(client, request, revision, remote)
    paths = local_files(request["folder"], request["ignore_patterns"])
    local = {path: describe(os.path.join(request["folder"], path)) for path in paths}
    others = foreign(remote, {**known, **{path: local[path] for path in local if same(path, local, remote)}})
    if others and not request["replace"]:
        raise refusal("repo_id", request["repo_id"], others)
    kept = set() if others else {path for path in remote if document(path) and not same(path, known, remote)}
    stale = remote.keys() - local.keys() - {MANIFEST, ATTRIBUTES}
    wanted = {path: local[path] for path in local if path not in kept or same(path, local, remote)}
    different = [path for path in wanted if not same(path, local, remote)]
    return {
        "upload": different,
        "delete": sorted(path for path in stale if others or same(path, known, remote)),
        "manifest": wanted if wanted != known else None,
        "bytes": size_of(request["folder"], different),
        "files": len(local),
        "revision": revision,
    }


def document(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in DOCUMENTS)


def foreign(remote: dict[str, Any], known: dict[str, Any]) -> list[str]:
    """The files of the repository, documents apart, that are not as they are known."""
    return sorted(
        path for path in remote if path != MANIFEST and not document(path) and not same(path, known, remote)
    )


def refusal(option: str, repo_id: str, others: list[str]) -> HubError:
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    return HubError(
        f"{option}: {repo_id} has files that were not uploaded from here, or were changed since: "
        f"{', '.join(others[:SHOWN])}{more}. Name another repository (hf_repo), delete these files, or let "
        "everything in it be replaced (hf_replace=true)"
    )


def read_manifest(
    client: Any, request: Request, revision: str | None, remote: dict[str, Any]
) -> dict[str, Any]:
    """What the last upload says of its files, by their paths; empty where it says nothing.

    Others can write this file: what has not the form that an upload gives it, counts for nothing.
    """
    if MANIFEST not in remote or remote[MANIFEST].size > LARGEST_MANIFEST:
        return {}
    with tempfile.TemporaryDirectory() as place:
        path = client.hf_hub_download(
            request["repo_id"], MANIFEST, repo_type=request["repo_type"], revision=revision, local_dir=place
        )
        with open(path, "rb") as handle:
            return parse_manifest(handle.read())


def parse_manifest(text: bytes) -> dict[str, Any]:
    try:
        files = json.loads(text)["files"]
        entries = dict(files).items()
    except (ValueError, KeyError, TypeError):
        return {}
    return {path: entry for path, entry in entries if isinstance(entry, dict) and "sha256" in entry}


def write_manifest(files: dict[str, Any], message: str) -> bytes:
    document = {"about": ABOUT, "upload": message, "files": files}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def size_of(folder: str, paths: list[str]) -> int:
    return sum(os.path.getsize(os.path.join(folder, path)) for path in paths)


def local_files(folder: str, ignore_patterns: list[str]) -> list[str]:
    """The folder's files, relative, with '/' between their parts, sorted."""
    found = []
    for directory, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in PRIVATE_FOLDERS]
        found += [
            os.path.relpath(os.path.join(directory, name), folder).replace(os.sep, "/") for name in files
        ]
    left_out = [MANIFEST, *ignore_patterns]  # a folder may have that of another repository
    return sorted(path for path in found if not any(fnmatch.fnmatch(path, each) for each in left_out))


def remote_files(client: Any, request: Request, revision: str) -> dict[str, Any]:
    """The repository's files by their path, as huggingface_hub's RepoFile."""
    entries = client.list_repo_tree(
        request["repo_id"], recursive=True, revision=revision, repo_type=request["repo_type"]
    )
    return {entry.path: entry for entry in entries if hasattr(entry, "blob_id")}


def same(path: str, known: dict[str, Any], remote: dict[str, Any]) -> bool:
    """Whether the Hub's file is the known one: by SHA-256 for LFS, by git's hash for the rest."""
    if path not in remote or path not in known or remote[path].size != known[path].get("size"):
        return False
    if remote[path].lfs:
        return bool(known[path].get("sha256") == remote[path].lfs.sha256)
    return bool(known[path].get("git") == remote[path].blob_id)


def describe(path: str) -> dict[str, Any]:
    """Size and hashes of a file; git's hash only where the Hub may have the file by git."""
    size = os.path.getsize(path)
    sha256 = hashlib.sha256()
    sha1 = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    by_git = size <= GIT_MOST
    with open(path, "rb") as handle:
        while chunk := handle.read(READ_BYTES):
            sha256.update(chunk)
            if by_git:
                sha1.update(chunk)
    known: dict[str, Any] = {"size": size, "sha256": sha256.hexdigest()}
    return {**known, "git": sha1.hexdigest()} if by_git else known


def upload(request: Request) -> Answer:
    """Make the repository hold the folder's files, in one commit, across faults that pass."""
    return patiently(
        lambda: guarded(upload_once, request),
        UPLOAD_ATTEMPTS,
        UPLOAD_PAUSE,
        lambda text: print(text, flush=True),
    )


def upload_once(request: Request) -> Answer:
    before = compare(request)
    if not differs(before):
        return before
    megabytes = before["bytes"] / 1e6
    print(f"{len(before['upload'])} files, {megabytes:.1f} MB, to {request['repo_id']}", flush=True)
    committed = commit(request, before)
    after = compare({**request, "revision": committed})
    if differs(after):
        differing = ", ".join(after["upload"] + after["delete"]) or MANIFEST
        raise HubError(f"{request['repo_id']} differs from {request['folder']} after the upload: {differing}")
    return after


def differs(comparison: Answer) -> bool:
    return bool(comparison["upload"] or comparison["delete"] or comparison["manifest"] is not None)


def commit(request: Request, comparison: Answer) -> str:
    """One commit on top of the revision that was compared; its id."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations: list[Any] = [
        CommitOperationAdd(path_in_repo=path, path_or_fileobj=os.path.join(request["folder"], path))
        for path in comparison["upload"]
    ]
    if comparison["manifest"] is not None:
        manifest = write_manifest(comparison["manifest"], request["message"])
        operations.append(CommitOperationAdd(path_in_repo=MANIFEST, path_or_fileobj=manifest))
    operations += [CommitOperationDelete(path_in_repo=path) for path in comparison["delete"]]
    done = api().create_commit(
        request["repo_id"],
        operations,
        commit_message=request["message"],
        repo_type=request["repo_type"],
        revision=request["revision"],
        parent_commit=comparison["revision"],
    )
    return str(done.oid)


ACTIONS: dict[str, Callable[[Request], Answer]] = {
    "show": show,
    "create": create,
    "delete": delete,
    "compare": compare,
    "upload": upload,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
