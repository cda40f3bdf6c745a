# SPDX-License-Identifier: GPL-3.0-or-later
"""A hub, and the clients that users have: releases of huggingface_hub, `hf`, datasets, and Node's client.

Each client lives in an environment of its own, made once and kept in the user's cache.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from localcloud.config import CloudConfig, default_cache_dir
from localcloud.faults import Faults
from localcloud.hub import HubStore, create_app
from localcloud.server import Connections
from localcloud.state import Store
from localcloud.tiny import seed_hub

RELEASES = ("0.36.2", "1.33.0", "2.4.0")
PART_SIZE = 8 << 20  # so that the session's large file goes in parts


@dataclass(frozen=True)
class HubServer:
    """A hub on a port of loopback."""

    url: str
    state_dir: Path
    store: HubStore
    faults: Faults

    def token(self, file: str = "hf-token") -> str:
        return (self.state_dir / file).read_text().strip()

    def environment(self, home: Path, *, xet: bool = False) -> dict[str, str]:
        """A user's environment: nothing of ours but the hub, its token and a fresh home."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token(),
            "READER_TOKEN": self.token("hf-token-reader"),
            "HF_HUB_DISABLE_XET": "0" if xet else "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore",
        }


@contextmanager
def serving(state_dir: Path, *, seeded: bool) -> Iterator[HubServer]:
    """A hub while the block runs."""
    config = CloudConfig(state_dir=state_dir)
    store = HubStore(config.state_dir / "hub")
    if seeded:
        seed_hub(store, config, print)
    faults = Faults(Store())
    app = Connections(create_app(config, store, part_size=PART_SIZE, faults=faults))
    settings = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="warning", http=H11Protocol, lifespan="off"
    )
    server = app.server = uvicorn.Server(settings)
    started = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, started), daemon=True)
    thread.start()
    started.wait()
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield HubServer(f"http://{host}:{port}", config.state_dir, store, faults)
    finally:
        server.should_exit = True
        thread.join(5)  # it also waits for clients that went without closing their connection


def _serve(server: uvicorn.Server, started: threading.Event) -> None:
    startup = server.startup

    async def announced_startup(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = announced_startup  # type: ignore[method-assign]
    server.run()


def kept(name: str, make: Callable[[Path], None]) -> Path:
    """Directory `name` of the cache of clients, which `make` fills when it is not complete."""
    clients = default_cache_dir() / "clients"
    clients.mkdir(parents=True, exist_ok=True)
    directory = clients / name
    with (clients / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (directory / ".complete").exists():
            shutil.rmtree(directory, ignore_errors=True)
            make(directory)
            (directory / ".complete").touch()
    return directory


def python_client(requirement: str) -> Path:
    """The bin directory of an environment that holds `requirement`, such as huggingface_hub==2.4.0."""

    def make(directory: Path) -> None:
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", sys.executable, str(directory)], check=True)
        python = str(directory / "bin" / "python")
        subprocess.run([*uv, "pip", "install", "--python", python, requirement], check=True)

    return kept(requirement.replace("==", "-"), make) / "bin"


def run(command: list[str | Path], environment: dict[str, str], cwd: Path) -> str:
    """Output of a command that must succeed."""
    result = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout
