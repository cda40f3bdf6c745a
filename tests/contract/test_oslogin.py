# SPDX-License-Identifier: GPL-3.0-or-later
"""OS Login as the module, gcloud and google-api-python-client see it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from googleapiclient.errors import HttpError

from localcloud.credentials import SERVICE_ACCOUNT, USER
from tests.contract.conftest import Description
from tests.json_types import Json

ME = f"users/{SERVICE_ACCOUNT}"


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A public key."""
    path = tmp_path_factory.mktemp("key") / "key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "me@laptop", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.with_suffix(".pub")


@pytest.fixture
def run(run_module: Callable[..., Json], key_file: Path) -> Iterator[Callable[..., Json]]:
    """Runs the module on the key; it is gone in the end."""
    run_module("gcp_services", services=["oslogin.googleapis.com"])

    def run(**options: Any) -> Json:
        return run_module("gcp_oslogin_key", **{"key": key_file.read_text(), **options})

    yield run
    run(state="absent")


@pytest.fixture
def users(build: Callable[[str], Any]) -> Any:
    """google-api-python-client for the API's users."""
    return build("oslogin.v1").users()


def test_what_the_module_does_is_what_googles_client_reads(
    cloud: Description, run: Callable[..., Json], users: Any
) -> None:
    made = run(ttl=3600)
    assert (made["changed"], made["email"]) == (True, SERVICE_ACCOUNT)
    profile = users.getLoginProfile(name=ME, projectId=cloud["project"]).execute()
    assert profile["sshPublicKeys"] == {made["ssh_key"]["fingerprint"]: made["ssh_key"]}
    assert [account["username"] for account in profile["posixAccounts"]] == [made["username"]]
    assert run(ttl=3600)["changed"] is False
    renewed = run(ttl=36000)["ssh_key"]
    assert users.sshPublicKeys().get(name=renewed["name"]).execute() == renewed
    assert int(renewed["expirationTimeUsec"]) > int(made["ssh_key"]["expirationTimeUsec"])
    assert run(state="absent")["changed"] is True
    assert "sshPublicKeys" not in users.getLoginProfile(name=ME).execute()


def test_what_googles_client_does_is_what_the_module_finds(
    cloud: Description, run: Callable[..., Json], users: Any, key_file: Path
) -> None:
    body = {"key": key_file.read_text()}
    users.projects().delete(name=f"{ME}/projects/{cloud['project']}").execute()
    key = users.sshPublicKeys().create(parent=ME, body=body).execute()
    found = run()
    assert (found["changed"], found["ssh_key"]) == (True, key)  # the account in the project was missing
    assert found["username"].startswith("sa_")
    users.importSshPublicKey(parent=ME, projectId=cloud["project"], body=body).execute()
    assert run()["changed"] is False
    users.sshPublicKeys().delete(name=key["name"]).execute()
    assert run(state="absent")["changed"] is False


def test_a_refusal_is_googles(run: Callable[..., Json], users: Any) -> None:
    with pytest.raises(HttpError, match="does not have permission"):
        users.getLoginProfile(name=f"users/{USER}").execute()
    result = run(email=USER)
    assert (result["failed"], result["failure"]["kind"]) == (True, "permission")


@pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not on PATH")
def test_gclouds_commands(
    cloud_environment: dict[str, str], run: Callable[..., Json], key_file: Path, tmp_path: Path
) -> None:
    """As the person whose token gcloud has."""
    key = f"--key-file={key_file}"

    def gcloud(*arguments: str) -> Any:
        command = ["gcloud", "--quiet", "compute", "os-login", *arguments, "--format=json"]
        environment = {**cloud_environment, "HOME": str(tmp_path)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout or "null")

    added = gcloud("ssh-keys", "add", key, "--ttl=1h")["loginProfile"]
    assert gcloud("describe-profile") == added
    (listed,) = gcloud("ssh-keys", "list")
    assert added["sshPublicKeys"] == {listed["key"]: listed["value"]}
    assert listed["value"]["key"] == key_file.read_text().strip()
    renewed = gcloud("ssh-keys", "update", key, "--ttl=10h")
    assert int(renewed["expirationTimeUsec"]) > int(listed["value"]["expirationTimeUsec"])
    gcloud("ssh-keys", "remove", key)
    assert gcloud("ssh-keys", "list") in (None, [])
    gcloud("remove-profile")
    assert list(gcloud("describe-profile")) == ["name"]
