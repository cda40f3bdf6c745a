# SPDX-License-Identifier: GPL-3.0-or-later
"""OS Login v1: SSH keys that belong to a Google account, and the accounts that it has on machines.

A caller sees and changes its own profile alone; `logins` says what a profile is, and what nodes make of it.
"""

from __future__ import annotations

import base64
import binascii
import copy
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from localcloud import catalog
from localcloud.cloud import Cloud
from localcloud.google import nodes
from localcloud.google.api import Api, Call
from localcloud.google.errors import ApiError, invalid_field, not_found, service_disabled
from localcloud.google.logins import EXPIRY, PROFILE, uses_os_login
from localcloud.json_types import Json
from localcloud.machines import MachineError

log = logging.getLogger(__name__)

SERVICE = "oslogin.googleapis.com"

api = Api("oslogin.v1")


# ---- Profiles


def _require_service(call: Call) -> catalog.Project | None:
    """The project that a call names, if any; refuse the call where its project has not enabled the API.

    A service account that names none calls on behalf of its own project, a person on behalf of gcloud's.
    """
    key = call.query.get("projectId") or call.project_key
    project = catalog.find_project(key)
    if key and project is None:
        raise ApiError("PERMISSION_DENIED", f"Permission denied on resource project {key}.")
    consumer = project or (catalog.DEFAULT_PROJECT if call.principal == call.cloud.service_account else None)
    if consumer and not call.cloud.service_enabled(consumer, SERVICE):
        raise service_disabled(SERVICE, catalog.SERVICES[SERVICE], consumer.number)
    return project


def _user(call: Call) -> str:
    """Whose profile a call is about: the caller's own, which is all that it may see and change."""
    user = call.path["usersId"]
    if user != call.principal:
        raise ApiError("PERMISSION_DENIED", f"The caller does not have permission on users/{user}.")
    return user


def _profile(cloud: Cloud, user: str) -> Json:
    """A copy of a user's profile, empty where there is none."""
    return copy.deepcopy(cloud.store.get(PROFILE, user)) or {"keys": {}, "accounts": {}}


@contextmanager
def _change(call: Call, user: str) -> Iterator[Json]:
    """A user's profile, kept as the block leaves it; the nodes that are concerned know at once."""
    with call.cloud.store.lock:
        profile = _profile(call.cloud, user)
        projects = set(profile["accounts"])
        yield profile
        call.cloud.store.put(PROFILE, user, profile)
    for project in projects.union(profile["accounts"]):
        _renew_logins(call.cloud, project)


def _renew_logins(cloud: Cloud, project: str) -> None:
    for name, node in cloud.store.items(nodes.NODE, f"projects/{project}/"):
        if node["state"] == "READY" and uses_os_login(node):
            try:
                nodes.install_keys(cloud, node)
            except MachineError:
                # Deleted or broken meanwhile: what boots it again installs the keys.
                log.exception("%s did not get its keys", name)


def _login_profile(cloud: Cloud, user: str, project: catalog.Project | None) -> Json:
    """The profile as the API gives it; with a project, only what counts there."""
    profile = _profile(cloud, user)
    accounts = [
        account
        for project_id, account in sorted(profile["accounts"].items())
        if project is None or project.project_id == project_id
    ]
    answer: Json = {"name": _number(cloud, user)}
    if accounts:
        answer["posixAccounts"] = accounts
    if profile["keys"]:
        answer["sshPublicKeys"] = profile["keys"]
    return answer


def _number(cloud: Cloud, user: str) -> str:
    """The unique number of a Google account."""
    if user == cloud.service_account:
        text = cloud.credentials.service_account.read_text(encoding="utf-8")
        return str(json.loads(text)["client_id"])
    return str(10**20 + int.from_bytes(hashlib.sha256(user.encode()).digest()[:8]))


def _account(cloud: Cloud, user: str, project: catalog.Project) -> Json:
    """A POSIX account, called as Google calls it: a person's after the address, a service account's after its
    number. Its uid and gid are for show: in a machine useradd chooses them."""
    number = _number(cloud, user)
    service_account = user.endswith(".gserviceaccount.com")
    username = f"sa_{number}" if service_account else re.sub(r"[^a-z0-9_]", "_", user.lower())[:32]
    uid = str(10**6 + int(number) % 10**9)
    return {
        "accountId": project.project_id,
        "gid": uid,
        "homeDirectory": f"/home/{username}",
        "name": f"users/{user}/projects/{project.project_id}",
        "operatingSystemType": "LINUX",
        "primary": True,
        "uid": uid,
        "username": username,
    }


def _key(user: str, body: Json) -> Json:
    """A key as the API gives it, from what a client sent."""
    words = str(body.get("key", "")).split()
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, binascii.Error):
        raise invalid_field("ssh_public_key.key", "Invalid SSH public key.") from None
    # A key's blob starts with the name of its type, length first.
    if blob[4 : 4 + int.from_bytes(blob[:4])].decode(errors="replace") != words[0]:
        raise invalid_field("ssh_public_key.key", "Invalid SSH public key.")
    fingerprint = hashlib.sha256(blob).hexdigest()
    key = {
        "fingerprint": fingerprint,
        "key": " ".join(words),
        "name": f"users/{user}/sshPublicKeys/{fingerprint}",
    }
    return {**key, **_expiry(body)}


def _expiry(body: Json) -> Json:
    """The expiration that a client sent, if any. One that is over is refused."""
    if not body.get(EXPIRY):
        return {}
    if int(body[EXPIRY]) <= time.time() * 1e6:
        raise invalid_field("ssh_public_key.expiration_time_usec", "The expiration time is in the past.")
    return {EXPIRY: str(body[EXPIRY])}


# ---- Methods


@api.method("oslogin.users.getLoginProfile")
def get_login_profile(call: Call) -> Json:
    project = _require_service(call)
    return _login_profile(call.cloud, _user(call), project)


@api.method("oslogin.users.importSshPublicKey")
def import_ssh_public_key(call: Call) -> Json:
    """Adds a key, or sets the expiration of one that is there, and makes the account in the project named."""
    project = _require_service(call)
    user = _user(call)
    key = _key(user, call.body)
    with _change(call, user) as profile:
        profile["keys"][key["fingerprint"]] = key
        home = project or catalog.DEFAULT_PROJECT
        profile["accounts"].setdefault(home.project_id, _account(call.cloud, user, home))
    return {"loginProfile": _login_profile(call.cloud, user, project)}


@api.method("oslogin.users.projects.provisionPosixAccount")
def provision_posix_account(call: Call) -> Json:
    project = _require_service(call)
    assert project is not None  # it is in the path
    user = _user(call)
    with _change(call, user) as profile:
        account: Json = profile["accounts"].setdefault(
            project.project_id, _account(call.cloud, user, project)
        )
    return account


@api.method("oslogin.users.projects.delete")
def delete_posix_account(call: Call) -> Json:
    project = _require_service(call)
    assert project is not None  # it is in the path
    user = _user(call)
    with _change(call, user) as profile:
        if profile["accounts"].pop(project.project_id, None) is None:
            raise not_found(f"users/{user}/projects/{project.project_id}")
    return {}


@api.method("oslogin.users.sshPublicKeys.create")
def create(call: Call) -> Json:
    _require_service(call)
    user = _user(call)
    key = _key(user, call.body)
    with _change(call, user) as profile:
        if key["fingerprint"] in profile["keys"]:
            raise ApiError("ALREADY_EXISTS", f"{key['name']} already exists.")
        profile["keys"][key["fingerprint"]] = key
    return key


def _present(call: Call, user: str, profile: Json) -> Json:
    """The key of the profile that the path names."""
    fingerprint = call.path["sshPublicKeysId"]
    if fingerprint not in profile["keys"]:
        raise not_found(f"users/{user}/sshPublicKeys/{fingerprint}")
    found: Json = profile["keys"][fingerprint]
    return found


@api.method("oslogin.users.sshPublicKeys.get")
def get(call: Call) -> Json:
    _require_service(call)
    user = _user(call)
    return _present(call, user, _profile(call.cloud, user))


@api.method("oslogin.users.sshPublicKeys.patch")
def patch(call: Call) -> Json:
    """Only the expiration can change; without a value for it the key lasts for ever."""
    _require_service(call)
    user = _user(call)
    mask = call.query.get("updateMask", EXPIRY)
    if mask not in (EXPIRY, "expiration_time_usec"):
        raise invalid_field("update_mask", f"Only {EXPIRY} can be updated, not {mask}.")
    with _change(call, user) as profile:
        key = _present(call, user, profile)
        key.pop(EXPIRY, None)
        key.update(_expiry(call.body))
    return key


@api.method("oslogin.users.sshPublicKeys.delete")
def delete(call: Call) -> Json:
    _require_service(call)
    user = _user(call)
    with _change(call, user) as profile:
        del profile["keys"][_present(call, user, profile)["fingerprint"]]
    return {}
