# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of host keys that Ansible's SSH trusts: lines of `<alias> <type> <key>`, and nothing else.

A worker writes its own guest attributes, and SSH reads more into a line than a host and its key: patterns,
certificate authorities, revocations. So nothing is written, and no file is given to SSH, that has anything
else than names of TPU VMs with a key each.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument

# The types that the guest agent publishes, best first, each with its fields after the type: text that must be
# there, or a number of bytes, 0 for any number above that.
_FIELDS: Mapping[str, tuple[bytes | int, ...]] = {
    "ssh-ed25519": (32,),
    "ecdsa-sha2-nistp256": (b"nistp256", 65),
    "ecdsa-sha2-nistp384": (b"nistp384", 97),
    "ecdsa-sha2-nistp521": (b"nistp521", 133),
    "ssh-rsa": (0, 0),
}
TYPES = tuple(_FIELDS)
_ALIAS = re.compile(r"tpu\.[A-Za-z0-9._-]{1,250}")


def host_key(kind: object, value: object) -> str:
    """ "<type> <key>" if this is a host key's type and its key in base64, else ""."""
    if not isinstance(kind, str) or not isinstance(value, str) or kind not in _FIELDS:
        return ""
    try:
        blob = base64.b64decode(value, validate=True)
        found = list(_fields(blob))
    except (binascii.Error, ValueError):
        return ""
    wanted = (kind.encode(), *_FIELDS[kind])
    if len(found) != len(wanted) or not all(map(_fits, found, wanted)):
        return ""
    # Python decodes some texts that OpenSSH would not write.
    return f"{kind} {value}" if base64.b64encode(blob).decode() == value else ""


def _fields(blob: bytes) -> Iterator[bytes]:
    """The strings that the blob of a key consists of (RFC 4253, 6.6). ValueError if it is cut off."""
    while blob:
        end = 4 + int.from_bytes(blob[:4], "big")
        if len(blob) < max(4, end):
            raise ValueError("cut off")
        yield blob[4:end]
        blob = blob[end:]


def _fits(field: bytes, wanted: bytes | int) -> bool:
    if isinstance(wanted, bytes):
        return field == wanted
    return len(field) == wanted if wanted else bool(field)


def checked_alias(alias: str) -> str:
    """The alias, if it means one host to SSH and one word to a shell."""
    if not _ALIAS.fullmatch(alias):
        raise InvalidArgument(
            f"{alias!r} is no name of a host key",
            remedy="Google gave the node an id of an unknown form: please report this.",
        )
    return alias


def read(path: str) -> dict[str, str]:
    """Alias -> "<type> <key>"; empty where there is no file.

    A line of one of our hosts whose key is none opens nothing and is ignored. Raises InvalidArgument where
    the file has anything else: SSH would trust it, or it is another person's.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unusable(path, "read", error) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.decode("ascii", "replace").split()
        if not words or words[0].startswith("#"):
            continue
        if not _ALIAS.fullmatch(words[0]):
            raise InvalidArgument(
                f"known_hosts_file: line {number} of {path} is not a host key of a TPU VM. SSH might trust "
                "another machine because of it",
                remedy="Delete the file, or name another file: the next run asks Google for the host keys.",
            )
        if key := host_key(*words[1:]) if len(words) == 3 else "":
            found[words[0]] = key
    return found


def add(path: str, keys: Mapping[str, str]) -> bool:
    """Add or replace entries; whether the file changed.

    The file is replaced as a whole (0600), so that an SSH client that reads it meanwhile sees the old or the
    new one; a lock beside it keeps two controllers from losing each other's entries.
    """
    for alias, key in keys.items():
        kind, _blank, value = key.partition(" ")
        if not host_key(kind, value):
            raise InvalidArgument(
                f"The host key of {checked_alias(alias)} is not valid",
                remedy="If it comes from the inventory's cache, run again with --flush-cache.",
            )
        checked_alias(alias)
    if _text({**read(path), **keys}) == _content(path):
        return False
    directory = os.path.dirname(path)
    with _told(path):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        with open(f"{path}.lock", "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            merged = {**read(path), **keys}
            handle, temporary = tempfile.mkstemp(dir=directory)  # 0600 by its own
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_text(merged))
                os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
    return True


def _text(keys: Mapping[str, str]) -> bytes:
    return "".join(f"{alias} {key}\n" for alias, key in sorted(keys.items())).encode()


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Name the file when it cannot be written, as in a home directory that is full."""
    try:
        yield
    except OSError as error:
        raise _unusable(path, "written", error) from error


def _unusable(path: str, verb: str, error: OSError) -> InvalidArgument:
    return InvalidArgument(
        f"known_hosts_file: {path} cannot be {verb}: {error.strerror}",
        remedy="Free space there, or name a file that you may write.",
    )
