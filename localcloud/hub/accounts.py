# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the hub. Each account has one token, random, in a file that only the cloud's owner can read."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["read", "write"]


@dataclass(frozen=True)
class Account:
    name: str
    role: Role

    def may_write(self, namespace: str) -> bool:
        return self.role == "write" and namespace == self.name


LOCAL = Account("local", "write")
READER = Account("reader", "read")
TOKEN_FILES = {LOCAL: "hf-token", READER: "hf-token-reader"}


class Accounts:
    def __init__(self, tokens: dict[str, Account]) -> None:
        self._tokens = tokens

    @classmethod
    def open(cls, state_dir: Path) -> Accounts:
        """The accounts of the cloud in `state_dir`; tokens are made where there are none yet."""
        return cls({read_or_make(state_dir / name): account for account, name in TOKEN_FILES.items()})

    def authenticate(self, token: str) -> Account | None:
        for known, account in self._tokens.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return account
        return None


def read_or_make(path: Path) -> str:
    """The secret in a file that only its owner can read; a random one is made where there is none."""
    if path.exists():
        return path.read_text().strip()
    token = f"hf_{secrets.token_hex(17)}"
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{token}\n")
    try:
        os.link(partial, path)  # unlike a rename never replaces the token that another process has just made
    except FileExistsError:
        return path.read_text().strip()
    finally:
        partial.unlink()
    return token
