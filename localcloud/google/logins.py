# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may log in to a node: users of its `ssh-keys` metadata or, with `enable-oslogin`, those of OS Login.

An OS Login profile is one record, named by the e-mail address of its Google account: {keys, accounts}. Keys
are as the API gives them, by fingerprint; POSIX accounts by the id of the project that they are for. Whoever
has an account in a project may log in to its nodes and use sudo there, as with Google's role
`compute.osAdminLogin`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from localcloud.json_types import Json
from localcloud.state import Store

PROFILE = "oslogin-profile"
EXPIRY = "expirationTimeUsec"


def uses_os_login(node: Json) -> bool:
    """Whether the keys of profiles count on a node, and those of its metadata do not."""
    return str(node.get("metadata", {}).get("enable-oslogin", "")).upper() == "TRUE"


def users(store: Store, node: Json) -> dict[str, list[str]]:
    """Users of a node and the lines of their authorized_keys."""
    if uses_os_login(node):
        return _profiles(store, node["name"].split("/")[1])
    return authorized_keys(node.get("metadata", {}))


def authorized_keys(metadata: Mapping[str, str]) -> dict[str, list[str]]:
    """Users and their public keys from `ssh-keys` metadata, lines `USER:KEYTYPE KEY COMMENT`.

    Lines of another form are passed over, as Google's guest agent does, and so is root, who cannot log in.
    """
    users: dict[str, list[str]] = {}
    for line in metadata.get("ssh-keys", "").splitlines():
        user, colon, key = line.strip().partition(":")
        if colon and user and user != "root" and len(key.split()) >= 2:
            users.setdefault(user, []).append(key.strip())
    return users


def _profiles(store: Store, project: str) -> dict[str, list[str]]:
    return {
        profile["accounts"][project]["username"]: [_line(key) for key in profile["keys"].values()]
        for _, profile in store.items(PROFILE)
        if project in profile["accounts"]
    }


def _line(key: Json) -> str:
    """A key of a profile for sshd, which itself refuses one that has expired."""
    if EXPIRY not in key:
        return str(key["key"])
    end = datetime.fromtimestamp(int(key[EXPIRY]) / 1e6, tz=UTC)
    return f'expiry-time="{end:%Y%m%d%H%M%S}Z" {key["key"]}'
