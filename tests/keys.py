# SPDX-License-Identifier: GPL-3.0-or-later
"""Host keys for tests."""

from __future__ import annotations

import base64
import hashlib


def encoded(*fields: bytes) -> str:
    """A key of these fields, as base64."""
    return base64.b64encode(b"".join(len(field).to_bytes(4, "big") + field for field in fields)).decode()


def public_key(word: str) -> str:
    """A well-formed ed25519 key: another one for each word."""
    return encoded(b"ssh-ed25519", hashlib.sha256(word.encode()).digest())
