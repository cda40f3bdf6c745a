# SPDX-License-Identifier: GPL-3.0-or-later
"""What lists nodes and is not Ansible, and the plugin alone: `python -m bench.peers PEER [ARGUMENT]`.

Each is a process of its own. It prints what its list took in seconds, without the start of Python and its
imports, and how many nodes it found.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench.cloud import ROOT

Found = tuple[float, int]


def _token() -> str:
    return Path(os.environ["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"]).read_text(encoding="utf-8").strip()


def _endpoint() -> str:
    return os.environ["CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU"].rstrip("/")


def _everywhere() -> str:
    return f"projects/{os.environ['GCP_PROJECT']}/locations/-"


def requests_loop() -> Found:
    """The least that can be done: page after page, in pages as large as Google allows."""
    import requests

    start = time.perf_counter()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {_token()}"
    url, query, found = f"{_endpoint()}/v2/{_everywhere()}/nodes", {"pageSize": "1000"}, 0
    while True:
        answer = session.get(url, params=query, timeout=60)
        answer.raise_for_status()
        page = answer.json()
        found += len(page.get("nodes", []))
        if not page.get("nextPageToken"):
            return time.perf_counter() - start, found
        query["pageToken"] = page["nextPageToken"]


def google_cloud_tpu() -> Found:
    """Google's client over REST."""
    from google.api_core.client_options import ClientOptions
    from google.cloud import tpu_v2
    from google.oauth2 import credentials

    start = time.perf_counter()
    client = tpu_v2.TpuClient(
        credentials=credentials.Credentials(_token()),
        transport="rest",
        client_options=ClientOptions(api_endpoint=_endpoint()),
    )
    found = sum(1 for _ in client.list_nodes({"parent": _everywhere(), "page_size": 1000}))
    return time.perf_counter() - start, found


def plugin(path: str) -> Found:
    """What Ansible does with an inventory file before it shows anything: plugin and reconciliation."""
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader([str(ROOT / ".collections")])
    loader = DataLoader()
    start = time.perf_counter()
    inventory = InventoryManager(loader=loader, sources=[path])
    return time.perf_counter() - start, len(inventory.hosts)


PEERS: dict[str, Callable[..., Found]] = {
    peer.__name__: peer for peer in (requests_loop, google_cloud_tpu, plugin)
}

if __name__ == "__main__":
    print(*PEERS[sys.argv[1]](*sys.argv[2:]))
