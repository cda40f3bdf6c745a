# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user of huggingface_hub does in a day, run by each release's own interpreter against HF_ENDPOINT.

Called with a directory to work in and a name for the repository. Holds to what 0.36, 1.x and 2.x have in
common; prints each part that it went through, and ends with 0 or with a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.utils import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

WORK = Path(sys.argv[1])
REPO = f"local/{sys.argv[2]}"
API = HfApi()


def refused(kind: type[Exception], action: Callable[[], object]) -> Any:
    """Assert that `action` fails as `kind`; the error."""
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def make_folder() -> Path:
    """Files of every kind: in folders, by the hundred, empty, binary, of several LFS parts."""
    folder = WORK / "folder"
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(300):
        (folder / "deep" / f"{number}.txt").write_text(str(number))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    (folder / "日本語 と 空白.txt").write_text("はい", encoding="utf-8")
    (folder / "empty.txt").touch()
    (folder / "deep" / "er" / "model.safetensors").write_bytes(os.urandom(1 << 16))
    (folder / "large.bin").write_bytes(os.urandom(20 << 20))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def whole_folders() -> None:
    folder = make_folder()
    assert API.create_repo(REPO, private=True) == API.create_repo(REPO, private=True, exist_ok=True)
    refused(HfHubHTTPError, lambda: API.create_repo(REPO, private=True))
    API.upload_folder(repo_id=REPO, folder_path=folder)
    sha = API.model_info(REPO).sha
    API.upload_folder(repo_id=REPO, folder_path=folder)
    assert API.model_info(REPO).sha == sha, "an upload of the same files made a commit"
    expected = contents(folder)
    assert sorted(API.list_repo_files(REPO)) == sorted([".gitattributes", *expected])
    snapshot = contents(Path(snapshot_download(REPO, local_dir=WORK / "snapshot")))
    assert snapshot.pop(".gitattributes") and snapshot == expected
    cached = Path(snapshot_download(REPO))
    assert cached.name == sha and contents(cached).keys() == {".gitattributes", *expected}


def single_files() -> None:
    API.upload_file(repo_id=REPO, path_in_repo="notes/one.txt", path_or_fileobj=b"one")
    first = API.model_info(REPO).sha
    API.upload_file(repo_id=REPO, path_in_repo="notes/one.txt", path_or_fileobj=b"two")
    assert Path(hf_hub_download(REPO, "notes/one.txt")).read_bytes() == b"two"
    assert Path(hf_hub_download(REPO, "notes/one.txt", revision=first)).read_bytes() == b"one"
    API.delete_file("notes/one.txt", repo_id=REPO)
    assert not API.file_exists(REPO, "notes/one.txt")
    API.delete_folder("deep", repo_id=REPO)
    assert not [path for path in API.list_repo_files(REPO) if path.startswith("deep/")]
    stale = refused(
        HfHubHTTPError,
        lambda: API.upload_file(
            repo_id=REPO, path_in_repo="x.txt", path_or_fileobj=b"x", parent_commit=first
        ),
    )
    assert stale.response.status_code == 412


def revisions() -> None:
    sha = API.model_info(REPO).sha
    API.create_branch(REPO, branch="try/this")
    API.create_tag(REPO, tag="v1")
    API.upload_file(repo_id=REPO, path_in_repo="b.txt", path_or_fileobj=b"b", revision="try/this")
    refs = API.list_repo_refs(REPO)
    assert {ref.name for ref in refs.branches} == {"main", "try/this"}
    assert [(ref.name, ref.target_commit) for ref in refs.tags] == [("v1", sha)]
    assert Path(hf_hub_download(REPO, "b.txt", revision="try/this")).read_bytes() == b"b"
    refused(EntryNotFoundError, lambda: hf_hub_download(REPO, "b.txt"))
    refused(RevisionNotFoundError, lambda: API.model_info(REPO, revision="nowhere"))
    API.delete_tag(REPO, tag="v1")
    API.delete_branch(REPO, branch="try/this")
    assert API.list_repo_commits(REPO)[0].commit_id == sha


def trees_and_ranges() -> None:
    large = (WORK / "folder" / "large.bin").read_bytes()
    entries = {entry.path: entry for entry in API.list_repo_tree(REPO, recursive=True, expand=True)}
    assert entries["large.bin"].lfs.size == len(large) and entries["large.bin"].last_commit
    (info,) = API.get_paths_info(REPO, ["large.bin", "none"])
    assert info.size == len(large)
    files = HfFileSystem()
    with files.open(f"{REPO}/large.bin", "rb", block_size=1 << 16) as file:
        file.seek(12345)
        assert file.read(1000) == large[12345:13345]
        file.seek(-10, 2)
        assert file.read() == large[-10:]
    assert f"{REPO}/README.md" in files.ls(REPO, detail=False)


def rights() -> None:
    others = [HfApi(token=False), HfApi(token=os.environ["READER_TOKEN"])]
    for other in others:
        refused(RepositoryNotFoundError, partial(other.model_info, REPO))
        refused(RepositoryNotFoundError, partial(other.hf_hub_download, REPO, "README.md"))
    update = getattr(API, "update_repo_settings", None) or API.update_repo_visibility
    update(REPO, private=False)
    assert [other.model_info(REPO).private for other in others] == [False, False]
    for other in others:
        upload = partial(other.upload_file, repo_id=REPO, path_in_repo="x", path_or_fileobj=b"x")
        assert refused(HfHubHTTPError, upload).response.status_code in (401, 403)
    unknown = refused(OSError, HfApi(token="hf_nobody").whoami)  # 0.36 raises requests' own error
    assert unknown.response.status_code == 401
    assert (API.whoami()["name"], others[1].whoami()["name"]) == ("local", "reader")


def data_sets() -> None:
    API.create_repo(REPO, repo_type="dataset")
    API.upload_file(
        repo_id=REPO, repo_type="dataset", path_in_repo="data/train.parquet", path_or_fileobj=os.urandom(1000)
    )
    assert [sibling.rfilename for sibling in API.dataset_info(REPO).siblings][-1] == "data/train.parquet"
    API.delete_repo(REPO, repo_type="dataset")


def the_end() -> None:
    assert REPO in [model.id for model in API.list_models(author="local")]
    API.delete_repo(REPO)
    refused(RepositoryNotFoundError, lambda: API.model_info(REPO))
    API.delete_repo(REPO, missing_ok=True)


for part in (whole_folders, single_files, revisions, trees_and_ranges, rights, data_sets, the_end):
    part()
    print(part.__name__)
