# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import oslogin

from tests.json_types import Json

from .conftest import Api, Run

ME = "me@example.com"
USER = f"oslogin/v1/users/{ME}"
PROFILE, IMPORT = f"GET {USER}/loginProfile", f"POST {USER}:importSshPublicKey"
HERE = {"projectId": "my-project"}
KEY = "ssh-ed25519 AAAAmine"
HERS = {"key": "ssh-ed25519 AAAAhers her@laptop", "fingerprint": "f1", "name": f"users/{ME}/sshPublicKeys/f1"}
ACCOUNT = {"username": "me_example_com", "primary": True, "operatingSystemType": "LINUX"}
NOW = 1_000_000
DAY = 86_400
OPTIONS: Json = {"email": ME, "key": f"{KEY} me@laptop\n"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: float(NOW))


def mine(end: int | None = None) -> Json:
    """The key as the API gives it. end: seconds since the epoch at which it expires."""
    key = {"key": f"{KEY} me@desktop", "fingerprint": "f2", "name": f"users/{ME}/sshPublicKeys/f2"}
    return key if end is None else {**key, "expirationTimeUsec": f"{end}000000"}


def profile(*keys: Json, accounts: list[Json] | None = None) -> Json:
    return {
        "name": "123",
        "posixAccounts": [ACCOUNT] if accounts is None else accounts,
        "sshPublicKeys": {key["fingerprint"]: key for key in (HERS, *keys)},
    }


def test_a_key_is_added(api: Api, run: Run) -> None:
    api.on(PROFILE, profile(), query=HERE)
    api.on(IMPORT, {"loginProfile": profile(mine())}, query=HERE, body={"key": KEY})
    result = run("gcp_oslogin_key", **OPTIONS)
    assert (result["changed"], result["username"], result["email"]) == (True, "me_example_com", ME)
    assert result["ssh_key"] == mine()
    assert result["diff"] == {"before": {}, "after": mine()}


def test_a_first_key_is_added_to_no_profile(api: Api, run: Run) -> None:
    api.error(PROFILE, 404, "NOT_FOUND", query=HERE)
    end = f"{NOW + DAY}000000"
    body = {"key": KEY, "expirationTimeUsec": end}
    api.on(IMPORT, {"loginProfile": profile(mine(NOW + DAY))}, query=HERE, body=body)
    result = run("gcp_oslogin_key", **OPTIONS, ttl=DAY)
    assert result["ssh_key"]["expirationTimeUsec"] == end


def test_a_key_that_is_there_is_left_alone(api: Api, run: Run) -> None:
    for end in (None, NOW + 5):
        api.on(PROFILE, profile(mine(end)), query=HERE)
        result = run("gcp_oslogin_key", **OPTIONS)
        assert (result["changed"], result["username"]) == (False, "me_example_com")
        assert result["diff"] == {"before": mine(end), "after": mine(end)}


@pytest.mark.parametrize(
    ("end", "changed"),
    [
        (NOW + DAY, False),
        (NOW + DAY // 2, False),
        (NOW + DAY // 2 - 1, True),
        (NOW + DAY + 60, False),
        (NOW + DAY + 61, True),
        (None, True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_an_expiry_is_renewed_in_time(
    api: Api, run: Run, end: int | None, changed: bool, check: bool
) -> None:
    api.on(PROFILE, profile(mine(end)), query=HERE)
    body = {"key": KEY, "expirationTimeUsec": f"{NOW + DAY}000000"}
    if changed and not check:
        path = f"PATCH {USER}/sshPublicKeys/f2"
        api.on(path, mine(NOW + DAY), query={"updateMask": "expirationTimeUsec"}, body=body)
    result = run("gcp_oslogin_key", check=check, **OPTIONS, ttl=DAY)
    assert result["changed"] is changed
    assert result["ssh_key"] == mine(NOW + DAY if changed else end)


def test_an_expired_key_is_added_anew(api: Api, run: Run) -> None:
    api.on(PROFILE, profile(mine(NOW)), query=HERE)
    api.on(f"DELETE {USER}/sshPublicKeys/f2")
    api.on(IMPORT, {"loginProfile": profile(mine())}, query=HERE, body={"key": KEY})
    result = run("gcp_oslogin_key", **OPTIONS)
    assert (result["changed"], result["ssh_key"]) == (True, mine())


def test_a_key_is_deleted_by_the_fingerprint_that_google_gave_it(api: Api, run: Run) -> None:
    api.on(PROFILE, profile(mine()), query=HERE).on(f"DELETE {USER}/sshPublicKeys/f2")
    result = run("gcp_oslogin_key", **OPTIONS, state="absent")
    assert (result["changed"], result["ssh_key"]) == (True, {})
    assert result["diff"] == {"before": mine(), "after": {}}


def test_a_key_that_is_gone_is_not_deleted(api: Api, run: Run) -> None:
    api.on(PROFILE, profile(), query=HERE)
    assert run("gcp_oslogin_key", **OPTIONS, state="absent")["changed"] is False
    api.on(PROFILE, profile(mine()), query=HERE).error(f"DELETE {USER}/sshPublicKeys/f2", 404, "NOT_FOUND")
    assert run("gcp_oslogin_key", **OPTIONS, state="absent")["changed"] is True


@pytest.mark.parametrize("keys", [[], [mine()]])
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_check_predicts_and_writes_nothing(api: Api, run: Run, keys: list[Json], state: str) -> None:
    api.on(PROFILE, profile(*keys), query=HERE)
    result = run("gcp_oslogin_key", check=True, **OPTIONS, state=state)
    assert result["changed"] is (bool(keys) == (state == "absent"))
    assert bool(result["ssh_key"]) is (state == "present")
    assert result["username"] == "me_example_com"


def test_a_check_goes_on_where_the_api_is_still_off(api: Api, run: Run) -> None:
    api.error(PROFILE, 403, "PERMISSION_DENIED", "off", query=HERE, details=[{"reason": "SERVICE_DISABLED"}])
    result = run("gcp_oslogin_key", check=True, **OPTIONS)
    assert (result["changed"], result["username"]) == (True, "")
    assert result["warnings"] == ["off It is taken as enabled for the check."]


@pytest.mark.parametrize("check", [False, True])
def test_an_account_that_the_project_lacks_is_made(api: Api, run: Run, check: bool) -> None:
    api.on(PROFILE, profile(mine(), accounts=[]), query=HERE)
    if not check:
        api.on(f"POST {USER}/projects/my-project", ACCOUNT, body={})
    result = run("gcp_oslogin_key", check=check, **OPTIONS)
    assert (result["changed"], result["username"]) == (True, "" if check else "me_example_com")


def test_the_linux_account_that_is_primary_counts() -> None:
    accounts = [
        {"username": "windows", "operatingSystemType": "WINDOWS", "primary": True},
        {"username": "other"},
        {"username": "first", "primary": True},
    ]
    assert oslogin.username({"posixAccounts": accounts}) == "first"
    assert oslogin.username({"posixAccounts": accounts[:2]}) == "other"
    assert oslogin.username({}) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"email": None}, "email is not set, and the credentials do not tell whose they are. Set email to"),
        ({"email": "me"}, "email: 'me' is not valid. Give the e-mail address"),
        ({"ttl": 59}, "ttl: 59 is not valid. Give seconds, 60 or more."),
        ({"key": "-----BEGIN OPENSSH PRIVATE KEY-----\nsecret"}, "key: what it holds is not a public key"),
        ({"project": "No"}, "project: 'No' is not valid"),
    ],
)
def test_bad_input_is_refused_before_anything_is_asked(api: Api, run: Run, options: Json, words: str) -> None:
    result = run("gcp_oslogin_key", **{**OPTIONS, **options})
    assert result["failed"]
    assert words in result["msg"]
    assert "secret" not in result["msg"]
    assert result["failure"]["kind"] == "invalid_argument"
    assert api.calls == []


def test_the_profile_of_another_is_refused_with_a_remedy(api: Api, run: Run) -> None:
    api.error(PROFILE, 403, "PERMISSION_DENIED", "The caller does not have permission", query=HERE)
    result = run("gcp_oslogin_key", **OPTIONS)
    assert result["failure"]["kind"] == "permission"
    assert "whose credentials are in use" in result["msg"]


def test_a_key_that_google_does_not_add_is_an_error(api: Api, run: Run) -> None:
    api.on(PROFILE, profile(), query=HERE)
    answer = {"loginProfile": profile(), "details": "no region took it"}
    api.on(IMPORT, answer, query=HERE, body={"key": KEY})
    result = run("gcp_oslogin_key", **OPTIONS)
    assert result["msg"] == "Google did not add the key: no region took it"
