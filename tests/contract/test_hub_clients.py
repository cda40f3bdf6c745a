# SPDX-License-Identifier: GPL-3.0-or-later
"""The hub and the clients that users have: what each of them does in a day, by git LFS."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localcloud.tiny import rows
from tests.advice import advised
from tests.contract.hub_support import PART_SIZE, RELEASES, HubServer, kept, python_client, run, serving

NODE_CLIENT = "@huggingface/hub@2.17.5"
SESSION = Path(__file__).with_name("hub_session.py")
DATASET = "llm-jp/Synthetic-JP-EN-Coding-Dataset"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    with serving(tmp_path_factory.mktemp("hub"), seeded=True) as server:
        yield server


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("xet", [False, True], ids=["lfs", "xet"])
def test_a_day_with_huggingface_hub(hub: HubServer, release: str, xet: bool, tmp_path: Path) -> None:
    python = python_client(f"huggingface_hub=={release}") / "python"
    name = f"session-{release}-{xet}"
    told = run([python, SESSION, tmp_path, name], hub.environment(tmp_path, xet=xet), tmp_path)
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


def test_files_become_a_data_set_by_the_command_of_the_error(
    hub: HubServer, collection: None, tmp_path: Path
) -> None:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
    from ansible_collections.tpuops.maxtext.plugins.module_utils.training.maxtext_settings import (
        check_dataset,
    )

    with pytest.raises(HubError) as refused:
        check_dataset("json")
    command = advised(str(refused.value), "hf upload").replace("USER/NAME", "local/rows")
    directory = tmp_path / "rows"
    directory.mkdir()
    (directory / "rows.jsonl").write_text('{"messages": []}\n')
    hf = python_client(f"huggingface_hub=={RELEASES[0]}") / "hf"
    arguments = shlex.split(command.replace("DIRECTORY", str(directory)))[1:]
    run([hf, *arguments], hub.environment(tmp_path), tmp_path)
    told = run([hf, "download", "local/rows", "--repo-type", "dataset"], hub.environment(tmp_path), tmp_path)
    assert (Path(told.splitlines()[-1].strip()) / "rows.jsonl").is_file()


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
