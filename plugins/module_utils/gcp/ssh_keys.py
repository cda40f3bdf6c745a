# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `ssh-keys` metadata of Compute Engine and TPU VMs: lines of `USER:KEYTYPE KEY COMMENT`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument

METADATA_KEY = "ssh-keys"
_PUBLIC_KEY = re.compile(r"(?:ssh-|ecdsa-sha2-|sk-)[a-z0-9@.-]+ [A-Za-z0-9+/]+=*(?: [^\n]*)?")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


def merge(present: str, keys: Iterable[Mapping[str, str]]) -> str:
    """The metadata value `present` with `keys` added; lines that are there already, and those of others,
    stay.

    keys: {user, key} each; `key` is a line of a .pub file, its comment gives way to the user's name as with
    gcloud.
    """
    # Google's agents end a line at a line feed alone, unlike splitlines: a comment of others stays a comment.
    lines = [line for line in present.split("\n") if line.strip()]
    known = {_identity(line) for line in lines}
    for entry in keys:
        line = _line(entry["user"], entry["key"])
        if _identity(line) not in known:
            known.add(_identity(line))
            lines.append(line)
    return "\n".join(lines)


def _identity(line: str) -> tuple[str, ...]:
    """User, type and key: what makes two lines the same, whatever their comments."""
    user, _colon, key = line.strip().partition(":")
    return (user, *key.split()[:2])


def _line(user: str, key: str) -> str:
    if not _USER.fullmatch(user):
        raise InvalidArgument(
            f"ssh_keys: {user!r} is no user name for a Linux machine",
            remedy="Use up to 32 lower-case letters, digits, - and _, beginning with a letter.",
        )
    return f"{user}:{public_key(key, f'ssh_keys: the key of user {user}')} {user}"


def public_key(text: str, what: str) -> str:
    """Type and key of a line of a .pub file. what: how the message of a refusal begins."""
    if not _PUBLIC_KEY.fullmatch(text.strip()):
        # The value stays out of the message: it may be a private key.
        raise InvalidArgument(
            f"{what} is not a public key in OpenSSH's format",
            remedy="Give the content of the .pub file: ssh-ed25519 AAAA...",
        )
    return " ".join(text.split()[:2])
