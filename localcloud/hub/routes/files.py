# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents of files, whole or in ranges."""

from __future__ import annotations

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

from ..errors import HubError
from ..paths import PAGES
from ..records import Commit, Entry, Repository
from ..requests import hub, readable_repository


class BlobResponse(FileResponse):
    """Ranges, HEAD and 416 are FileResponse's own; models are big, so are the chunks."""

    chunk_size = 1 << 20


def resolve(request: Request) -> BlobResponse:
    """A file of a revision. Its ETag is git's id or, of an LFS file, the sha256."""
    repository = readable_repository(request)
    path, revision = request.path_params["path"], request.path_params["revision"]
    commit = repository.resolve(revision)
    entry = hub(request).store.tree(commit).get(path)
    if not entry:
        raise HubError(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.sha})
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{entry.etag}"',
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
    }
    if entry.lfs:
        headers |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.sha256}"'}
        headers |= _xet_headers(request, repository, commit, entry)
    media_type = "application/octet-stream" if entry.lfs else "text/plain; charset=utf-8"
    return BlobResponse(hub(request).store.blobs.path(entry.sha256), headers=headers, media_type=media_type)


def _xet_headers(request: Request, repository: Repository, commit: Commit, entry: Entry) -> dict[str, str]:
    """How to read the file by Xet, which clients prefer."""
    xet_hash = hub(request).store.xet.hash_of(entry.sha256)
    if xet_hash is None:
        return {}
    tokens = f"{request.base_url}api/{repository.id.type}s/{repository.id}/xet-read-token/{commit.sha}"
    return {"X-Xet-Hash": xet_hash, "Link": f'<{tokens}>; rel="xet-auth"'}


ROUTES = [Route(page + "/{name:segment}/resolve/{revision:segment}/{path:rest}", resolve) for page in PAGES]
