# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OS Login: the profile of a Google account, its SSH keys and its POSIX accounts."""

from __future__ import annotations

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

API = "oslogin"


def account(client: Client, email: str | None, option: str) -> str:
    """The e-mail address that the profile goes by: the one given, else that of the credentials.

    option: what the user would give it with, for the message.
    """
    email = email or client.email
    if not email:
        raise InvalidArgument(
            f"{option} is not set, and the credentials do not tell whose they are",
            remedy=f"Set {option} to the e-mail address of the account (gcloud config get account).",
        )
    if "@" not in email or "/" in email:
        raise InvalidArgument(
            f"{option}: {email!r} is not valid", remedy="Give the e-mail address of a Google account."
        )
    return email


def profile(client: Client, email: str, project: str) -> Json:
    """The profile of an account with what counts in a project; empty where it never used OS Login."""
    try:
        return client.get(API, f"v1/users/{email}/loginProfile", {"projectId": project})
    except NotFound:
        return {}
    except PermissionDenied as error:
        error.remedy = (
            "Give the e-mail address of the account whose credentials are in use: another one's profile is "
            "closed to it."
        )
        raise


def username(profile: Json) -> str:
    """The POSIX user name on Linux machines, "" where there is none yet."""
    accounts = [item for item in profile.get("posixAccounts", []) if item.get("username")]
    linux = [item for item in accounts if item.get("operatingSystemType", "LINUX") != "WINDOWS"]
    linux.sort(key=lambda item: not item.get("primary"))  # the primary one first
    return str(linux[0]["username"]) if linux else ""
