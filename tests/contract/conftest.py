# SPDX-License-Identifier: GPL-3.0-or-later
"""Local clouds of the tests' own, beside whatever the user runs: one without machines, and one with them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible.plugins.loader import init_plugin_loader
from google.api_core.client_options import ClientOptions
from google.auth.transport.requests import AuthorizedSession
from google.cloud import tpu_v2
from google.oauth2 import service_account
from googleapiclient import discovery as api_discovery

from localcloud import discovery, lifecycle
from localcloud.config import CloudConfig
from tests import advice
from tests.contract.served import Description, Served, serving

__all__ = ["Description"]

ROOT = Path(__file__).resolve().parents[2]

SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]


def localcloud(state_dir: Path, *arguments: str) -> str:
    """Run a command of a local cloud; its output."""
    command = [sys.executable, "-m", "localcloud", "--state-dir", str(state_dir), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{command}:\n{result.stdout}{result.stderr}"
    return result.stdout


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A cloud without machines, which serves in this process."""
    require_root()  # to choose its ports in turn with other clouds
    with serving(tmp_path_factory.mktemp("contract") / "cloud") as served:
        yield served


@pytest.fixture(scope="session")
def cloud(served: Served) -> Description:
    """The content of its localcloud.json."""
    return served.description


@pytest.fixture(scope="session")
def cloud_environment(cloud: Description) -> dict[str, str]:
    return environment_of(cloud)


@pytest.fixture(scope="session")
def machines_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Description]:
    """A cloud whose nodes are machines: the content of its localcloud.json."""
    state_dir = tmp_path_factory.mktemp("machines") / "cloud"
    require_root()
    try:
        with serving(state_dir, machines=True) as served:
            yield served.description
    finally:
        lifecycle.down(CloudConfig(state_dir), print)


def require_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("the local cloud needs root")


def environment_of(cloud: Description) -> dict[str, str]:
    """The environment of a shell that has evaluated `localcloud env`."""
    exports = localcloud(Path(cloud["state_dir"]), "env")
    clean = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    script = f"{exports}\nenv -0"
    output = subprocess.run(
        ["sh", "-c", script], env=clean, capture_output=True, text=True, check=True
    ).stdout
    pairs = (entry.partition("=") for entry in output.split("\0") if entry)
    return {name: value for name, _, value in pairs}


@pytest.fixture(scope="session")
def credentials(cloud: Description) -> Any:
    return service_account.Credentials.from_service_account_file(cloud["service_account_file"], scopes=SCOPES)


@pytest.fixture(scope="module")
def session(cloud: Description, credentials: Any) -> AuthorizedSession:
    """An authorized session; the APIs of TPUs and of disks are enabled."""
    session = AuthorizedSession(credentials)
    services = f"{cloud['endpoints']['serviceusage']}/v1/projects/{cloud['project']}/services:batchEnable"
    body = {"serviceIds": ["compute.googleapis.com", "tpu.googleapis.com"]}
    assert session.post(services, json=body).status_code == 200
    return session


@pytest.fixture(scope="session")
def build(cloud: Description, credentials: Any) -> Callable[[str], Any]:
    """google-api-python-client for an API, over the discovery document that it ships."""

    def built(name: str) -> Any:
        document = {**discovery.load(name)._raw, "rootUrl": f"http://127.0.0.1:{cloud['port']}/"}
        options = {"api_endpoint": document["rootUrl"] + document["servicePath"]}
        return api_discovery.build_from_document(document, credentials=credentials, client_options=options)

    return built


def tpu_client(cloud: Description, credentials: Any) -> Any:
    """google-cloud-tpu, over REST."""
    options = ClientOptions(api_endpoint=f"http://127.0.0.1:{cloud['port']}")
    return tpu_v2.TpuClient(credentials=credentials, transport="rest", client_options=options)


@pytest.fixture(scope="session")
def client(cloud: Description, credentials: Any) -> Any:
    return tpu_client(cloud, credentials)


@pytest.fixture(scope="session")
def collection() -> None:
    """Ansible's own loader finds the collection, as in a run."""
    init_plugin_loader([str(ROOT / ".collections")])


@pytest.fixture
def run_module(
    collection: None,
    cloud: Description,
    cloud_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., dict[str, Any]]:
    """Runs a module as a user with the cloud's exports, or only checks what it would do; its result."""
    for name, value in cloud_environment.items():
        monkeypatch.setenv(name, value)

    def run(module_name: str, /, *, check: bool = False, **options: Any) -> dict[str, Any]:
        shared = {
            "_ansible_check_mode": check,
            "project": cloud["project"],
            "auth_kind": "serviceaccount",
            "service_account_file": cloud["service_account_file"],
        }
        module = importlib.import_module(f"ansible_collections.tpuops.maxtext.plugins.modules.{module_name}")
        with patch_module_args({**shared, **options}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


class Play(Protocol):
    """Plays a playbook on the cloud; what it printed.

    status: the exit status that it must have; None for any but 0.
    """

    def __call__(self, playbook: str, *arguments: str, status: int | None = 0) -> str: ...


@pytest.fixture
def play(cloud: Description) -> Play:
    def play(playbook: str, *arguments: str, status: int | None = 0) -> str:
        command = ["ansible-playbook", "-i", "inventories/local", playbook, *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=environment_here(cloud), capture_output=True, text=True, check=False
        )
        told = done.stdout + done.stderr
        assert done.returncode != 0 if status is None else done.returncode == status, told
        return told

    return play


class Follow(Protocol):
    """Runs a command that was printed, as it is, where it was printed; what it prints."""

    def __call__(self, command: str, status: int = 0) -> str: ...


@pytest.fixture
def follow(cloud: Description) -> Follow:
    def follow(command: str, status: int = 0) -> str:
        return advice.follow(command, environment_here(cloud), status=status)

    return follow


def environment_here(cloud: Description) -> dict[str, str]:
    """Of a user of this checkout, whose cloud this is."""
    own = {"LOCALCLOUD_STATE_DIR": cloud["state_dir"], "LC_ALL": "C.UTF-8", "HF_TOKEN": ""}
    return {**os.environ, **own}
