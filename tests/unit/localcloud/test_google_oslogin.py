# SPDX-License-Identifier: GPL-3.0-or-later
"""OS Login: profiles, and the nodes that let their owners in."""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import pytest

from localcloud.credentials import SERVICE_ACCOUNT, USER
from localcloud.google import oslogin
from localcloud.machines import MachineError
from tests.unit.localcloud.google_client import LOCATION, PROJECT, FakeMachines, Google

HOME = f"/v1/users/{USER}"
IMPORT, PROFILE = f"{HOME}:importSshPublicKey", f"{HOME}/loginProfile"
HERE: dict[str, Any] = {"projectId": PROJECT.project_id}
BLOB = b"\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20" + bytes(32)
KEY = f"ssh-ed25519 {base64.b64encode(BLOB).decode()} me@laptop"
FINGERPRINT = hashlib.sha256(BLOB).hexdigest()
NAME = "user_localcloud_example"


def in_an_hour() -> str:
    return str(int((time.time() + 3600) * 1e6))


@pytest.fixture
def oslogins(enabled: Google) -> Google:
    """A cloud whose project may use OS Login, and TPUs."""
    enabled.enable(oslogin.SERVICE)
    return enabled


def keys_of(google: Google) -> dict[str, list[str]]:
    """The keys of the one machine there is."""
    (keys,) = google.machines.keys.values()
    return keys


def test_a_profile_starts_empty(oslogins: Google) -> None:
    profile = oslogins.call("GET", PROFILE, **HERE)
    assert list(profile) == ["name"]
    assert profile["name"].isdigit()


def test_an_imported_key_makes_an_account(oslogins: Google) -> None:
    profile = oslogins.call("POST", IMPORT, {"key": KEY}, **HERE)["loginProfile"]
    assert profile["sshPublicKeys"] == {
        FINGERPRINT: {
            "fingerprint": FINGERPRINT,
            "key": KEY,
            "name": f"users/{USER}/sshPublicKeys/{FINGERPRINT}",
        }
    }
    (account,) = profile["posixAccounts"]
    assert (account["username"], account["accountId"]) == (NAME, PROJECT.project_id)
    assert oslogins.call("GET", PROFILE, **HERE) == profile
    elsewhere = oslogins.call("GET", PROFILE)
    assert elsewhere == profile


def test_a_service_account_is_called_after_its_number(oslogins: Google) -> None:
    token = oslogins.cloud.tokens.issue(SERVICE_ACCOUNT)
    oslogins.client.headers["Authorization"] = f"Bearer {token}"
    path = f"/v1/users/{SERVICE_ACCOUNT}:importSshPublicKey"
    profile = oslogins.call("POST", path, {"key": KEY}, **HERE)["loginProfile"]
    assert profile["posixAccounts"][0]["username"] == f"sa_{profile['name']}"


def test_a_key_is_read_changed_and_deleted(oslogins: Google) -> None:
    path = f"{HOME}/sshPublicKeys/{FINGERPRINT}"
    end = in_an_hour()
    assert oslogins.call("POST", f"{HOME}/sshPublicKeys", {"key": KEY})["fingerprint"] == FINGERPRINT
    assert oslogins.error("POST", f"{HOME}/sshPublicKeys", {"key": KEY}, 409)["status"] == "ALREADY_EXISTS"
    changed = oslogins.call("PATCH", path, {"expirationTimeUsec": end}, updateMask="expirationTimeUsec")
    assert changed["expirationTimeUsec"] == end
    assert oslogins.call("GET", path) == changed
    assert "expirationTimeUsec" not in oslogins.call("PATCH", path, {}, updateMask="expirationTimeUsec")
    assert oslogins.error("PATCH", path, {"key": KEY}, updateMask="key")["status"] == "INVALID_ARGUMENT"
    assert oslogins.call("DELETE", path) == {}
    for method in ("GET", "DELETE"):
        assert oslogins.error(method, path, status=404)["status"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "body",
    [
        {"key": ""},
        {"key": "ssh-ed25519"},
        {"key": "ssh-ed25519 no"},
        {"key": f"ssh-rsa {KEY.split()[1]}"},
        {"key": KEY, "expirationTimeUsec": "1"},
        {"key": KEY, "color": "red"},
    ],
)
def test_what_is_no_key_is_refused(oslogins: Google, body: dict[str, Any]) -> None:
    assert oslogins.error("POST", IMPORT, body, **HERE)["status"] == "INVALID_ARGUMENT"
    assert "sshPublicKeys" not in oslogins.call("GET", PROFILE)


def test_nobody_sees_the_profile_of_another(oslogins: Google) -> None:
    for path in ("/v1/users/other@example.com/loginProfile", f"/v1/users/{SERVICE_ACCOUNT}/loginProfile"):
        assert oslogins.error("GET", path, status=403)["status"] == "PERMISSION_DENIED"
    none = oslogins.error("GET", PROFILE, status=403, projectId="none")
    assert none["message"] == "Permission denied on resource project none."


def test_the_api_must_be_on(enabled: Google) -> None:
    assert enabled.error("GET", PROFILE, status=403, **HERE)["details"][1]["reason"] == "SERVICE_DISABLED"
    assert enabled.call("GET", PROFILE)["name"]  # a person's call without a project counts as gcloud's
    token = enabled.cloud.tokens.issue(SERVICE_ACCOUNT)
    enabled.client.headers["Authorization"] = f"Bearer {token}"
    enabled.error("GET", f"/v1/users/{SERVICE_ACCOUNT}/loginProfile", status=403)


def test_an_account_is_made_and_taken_away_without_a_key(oslogins: Google) -> None:
    path = f"{HOME}/projects/{PROJECT.project_id}"
    assert oslogins.call("POST", path, {})["username"] == NAME
    assert oslogins.call("DELETE", path) == {}
    oslogins.error("DELETE", path, status=404)
    assert "posixAccounts" not in oslogins.call("GET", PROFILE)


def test_a_node_with_os_login_lets_in_accounts_and_no_keys_of_its_metadata(oslogins: Google) -> None:
    oslogins.call("POST", IMPORT, {"key": KEY}, **HERE)
    oslogins.create_node(metadata={"enable-oslogin": "true", "ssh-keys": "tpu:ssh-rsa AAAA tpu"})
    assert keys_of(oslogins) == {NAME: [KEY]}


def test_a_node_follows_the_profiles(oslogins: Google) -> None:
    oslogins.create_node(metadata={"enable-oslogin": "TRUE"})
    assert keys_of(oslogins) == {}
    oslogins.call("POST", IMPORT, {"key": KEY, "expirationTimeUsec": "4102444800000000"}, **HERE)
    assert keys_of(oslogins) == {NAME: [f'expiry-time="21000101000000Z" {KEY}']}
    oslogins.call("DELETE", f"{HOME}/sshPublicKeys/{FINGERPRINT}")
    assert keys_of(oslogins) == {NAME: []}
    oslogins.call("DELETE", f"{HOME}/projects/{PROJECT.project_id}")
    assert keys_of(oslogins) == {}


def test_a_node_without_os_login_does_not(oslogins: Google) -> None:
    oslogins.create_node(metadata={"ssh-keys": "tpu:ssh-rsa AAAA tpu"})
    oslogins.call("POST", IMPORT, {"key": KEY}, **HERE)
    assert keys_of(oslogins) == {"tpu": ["ssh-rsa AAAA tpu"]}
    path = f"/v2/{LOCATION}/nodes/tpu-v5e-8"
    metadata = {"ssh-keys": "tpu:ssh-rsa AAAA tpu", "enable-oslogin": "TRUE"}
    oslogins.finish(oslogins.call("PATCH", path, {"metadata": metadata}, updateMask="metadata"))
    assert keys_of(oslogins) == {NAME: [KEY]}


def test_a_machine_that_is_gone_does_not_fail_the_change_of_a_profile(
    oslogins: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    oslogins.create_node(metadata={"enable-oslogin": "TRUE"})

    def gone(_machines: FakeMachines, name: str, _keys: Any) -> None:
        raise MachineError(f"there is no machine {name!r}")

    monkeypatch.setattr(FakeMachines, "set_authorized_keys", gone)
    oslogins.call("POST", IMPORT, {"key": KEY}, **HERE)
    assert FINGERPRINT in oslogins.call("GET", PROFILE)["sshPublicKeys"]
