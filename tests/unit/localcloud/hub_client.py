# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub in a directory of its own and, on the other side, what its clients do."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from localcloud.config import CloudConfig
from localcloud.faults import Faults
from localcloud.hub import HubStore, create_app
from localcloud.state import Store

REPO = "local/model"
API = f"/api/models/{REPO}"


class HubClient(TestClient):
    """Speaks as the account `local` unless a call brings its own headers."""

    def __init__(self, directory: Path, part_size: int = 1 << 20) -> None:
        self.config = CloudConfig(state_dir=directory)
        self.store = HubStore(directory / "hub")
        self.faults = Faults(Store())
        app = create_app(self.config, self.store, part_size=part_size, faults=self.faults)
        super().__init__(app)
        self.headers.update(self.token("hf-token"))

    def token(self, file: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.config.state_dir / file).read_text().strip()}"}

    @property
    def reader(self) -> dict[str, str]:
        return self.token("hf-token-reader")

    def create(self, repo: str = REPO, **settings: Any) -> dict[str, Any]:
        namespace, name = repo.split("/")
        response = self.post("/api/repos/create", json={"organization": namespace, "name": name, **settings})
        assert response.status_code == 200, response.text
        return dict(response.json())

    def upload(self, data: bytes) -> str:
        oid = hashlib.sha256(data).hexdigest()
        assert self.put(f"/lfs/objects/{oid}", content=data).status_code == 200
        return oid

    def commit(self, *lines: dict[str, Any], api: str = API, revision: str = "main", **header: Any) -> Any:
        """The response to a commit of `lines`; header members may be given by name."""
        head = {"key": "header", "value": {"summary": "a change", "description": "", **header}}
        body = b"\n".join(json.dumps(line).encode() for line in (head, *lines))
        return self.post(f"{api}/commit/{revision}", content=body)

    def add(self, files: dict[str, bytes], **options: Any) -> str:
        """Commit regular files; the commit's id."""
        response = self.commit(*(regular(path, data) for path, data in files.items()), **options)
        assert response.status_code == 200, response.text
        return str(response.json()["commitOid"])

    def add_lfs(self, path: str, data: bytes) -> str:
        """Upload and commit one LFS file; its sha256."""
        oid = self.upload(data)
        assert self.commit(lfs(path, oid, len(data))).status_code == 200
        return oid


def regular(path: str, data: bytes) -> dict[str, Any]:
    content = base64.b64encode(data).decode()
    return {"key": "file", "value": {"path": path, "content": content, "encoding": "base64"}}


def lfs(path: str, oid: str, size: int) -> dict[str, Any]:
    return {"key": "lfsFile", "value": {"path": path, "algo": "sha256", "oid": oid, "size": size}}
