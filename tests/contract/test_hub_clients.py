# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub and the clients that users have: releases of huggingface_hub, `hf`, datasets, and Node's client.

Each client lives in an environment of its own, made once and kept in the user's cache.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from localcloud.config import CloudConfig, default_cache_dir
from localcloud.hub import HubStore, create_app
from localcloud.tiny import rows, seed_hub

RELEASES = ("0.36.2", "1.33.0", "2.4.0")
NODE_CLIENT = "@huggingface/hub@2.17.5"
PART_SIZE = 8 << 20  # so that the session's large file goes in parts
SESSION = Path(__file__).with_name("hub_session.py")
DATASET = "llm-jp/Synthetic-JP-EN-Coding-Dataset"


@dataclass(frozen=True)
class HubServer:
    """A hub with its seeds on a port of loopback."""

    url: str
    state_dir: Path

    def token(self, file: str = "hf-token") -> str:
        return (self.state_dir / file).read_text().strip()

    def environment(self, home: Path) -> dict[str, str]:
        """A user's environment: nothing of ours but the hub, its token and a fresh home."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HOME": str(home / "hf"),
            "HF_ENDPOINT": self.url,
            "HF_TOKEN": self.token(),
            "READER_TOKEN": self.token("hf-token-reader"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore",
        }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    config = CloudConfig(state_dir=tmp_path_factory.mktemp("hub"))
    store = HubStore(config.state_dir / "hub")
    seed_hub(store, config, print)
    app = create_app(config, store, part_size=PART_SIZE)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    started = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, started), daemon=True)
    thread.start()
    started.wait()
    host, port = server.servers[0].sockets[0].getsockname()
    yield HubServer(f"http://{host}:{port}", config.state_dir)
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


@pytest.mark.parametrize("release", RELEASES)
def test_a_day_with_huggingface_hub(hub: HubServer, release: str, tmp_path: Path) -> None:
    python = python_client(f"huggingface_hub=={release}") / "python"
    name = f"session-{release}"
    told = run([python, SESSION, tmp_path, name], hub.environment(tmp_path), tmp_path)
    assert told.splitlines()[-1] == "the_end"


@pytest.mark.parametrize("release", RELEASES)
def test_hf_uploads_and_downloads_a_private_model(hub: HubServer, release: str, tmp_path: Path) -> None:
    hf, environment = python_client(f"huggingface_hub=={release}") / "hf", hub.environment(tmp_path)
    export = tmp_path / "export"
    export.mkdir()
    (export / "config.json").write_text("{}")
    (export / "model.safetensors").write_bytes(os.urandom(PART_SIZE + 1))
    repo = f"local/export-{release}"
    run([hf, "upload", repo, export, "--private"], environment, tmp_path)
    run([hf, "download", repo, "--local-dir", tmp_path / "back"], environment, tmp_path)
    for file in export.iterdir():
        assert (tmp_path / "back" / file.name).read_bytes() == file.read_bytes()
    stranger = environment | {"HF_TOKEN": hub.token("hf-token-reader")}
    refused = subprocess.run(
        [hf, "download", repo], env=stranger, capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0 and "not found" in (refused.stdout + refused.stderr).lower()


@pytest.mark.parametrize("release", RELEASES[:2])  # gone in 2.x, where upload_folder does its work
def test_upload_large_folder(hub: HubServer, release: str, tmp_path: Path) -> None:
    python = python_client(f"huggingface_hub=={release}") / "python"
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.bin").write_bytes(os.urandom(1 << 16))
    (folder / "19.bin").write_bytes(os.urandom(3 * PART_SIZE))
    script = (
        "import sys; from huggingface_hub import HfApi; api = HfApi(); repo, folder = sys.argv[1:]; "
        "api.upload_large_folder(repo_id=repo, repo_type='model', folder_path=folder, num_workers=4); "
        "print(len(api.list_repo_files(repo)))"
    )
    repo = f"local/large-{release}"
    output = run([python, "-c", script, repo, str(folder)], hub.environment(tmp_path), tmp_path)
    assert output.splitlines()[-1] == "21"


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_datasets_loads_what_the_hub_is_seeded_with(hub: HubServer, streaming: bool, tmp_path: Path) -> None:
    script = (
        "import json, sys; from datasets import load_dataset; "
        "data = load_dataset(sys.argv[1], split='train', streaming=sys.argv[2] == 'True'); "
        "print(json.dumps(list(data)))"
    )
    command: list[str | Path] = [sys.executable, "-c", script, DATASET, str(streaming)]
    output = run(command, hub.environment(tmp_path), tmp_path)
    assert json.loads(output.splitlines()[-1]) == rows()


def test_node_s_client(hub: HubServer, tmp_path: Path) -> None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("node and npm are not installed: nothing says whether the JavaScript client works")

    def make(directory: Path) -> None:
        directory.mkdir()
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", NODE_CLIENT]
        subprocess.run(install, cwd=directory, check=True)

    directory = kept("node-" + NODE_CLIENT.rpartition("@")[2], make)
    script = tmp_path / "session.mjs"
    script.write_text(NODE_SESSION)
    module = directory / "node_modules" / "@huggingface" / "hub" / "dist" / "index.mjs"
    run([node, script, module.as_uri()], hub.environment(tmp_path), tmp_path)


NODE_SESSION = """
const hub = await import(process.argv[2]);
const {HF_ENDPOINT: hubUrl, HF_TOKEN: accessToken} = process.env;
const options = {repo: 'local/from-node', hubUrl, accessToken};
const equal = (a, b) => { if (a !== b) throw new Error(`${a} is not ${b}`); };
equal((await hub.whoAmI(options)).name, 'local');
await hub.createRepo({...options, private: true});
const weights = new Uint8Array(20 << 20).map((_, index) => index % 251);
await hub.uploadFiles({...options, useXet: false, files: [
  {path: 'config.json', content: new Blob(['{}'])}, {path: 'model.bin', content: new Blob([weights])}]});
const files = [];
for await (const file of hub.listFiles({...options, recursive: true})) files.push(file.path);
equal(files.join(), '.gitattributes,config.json,model.bin');
const file = await hub.downloadFile({...options, path: 'model.bin', xet: false});
const tail = new Uint8Array(await file.slice(1000, 1010).arrayBuffer());
equal(tail.join(), weights.slice(1000, 1010).join());
equal(file.size, weights.length);
await hub.deleteRepo(options);
"""


def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_sent_again(hub: HubServer) -> None:
    address = urlsplit(hub.url).netloc
    oid = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no bytes at all
    broken = http.client.HTTPConnection(address)
    broken.putrequest("PUT", f"/lfs/objects/{oid}")
    broken.putheader("Content-Length", str(10 << 20))
    broken.endheaders(b"x" * (2 << 20))
    broken.close()
    again = http.client.HTTPConnection(address)
    again.request("PUT", f"/lfs/objects/{oid}", body=b"")
    assert again.getresponse().status == 200
    again.close()
