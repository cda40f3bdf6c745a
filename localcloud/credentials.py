# SPDX-License-Identifier: GPL-3.0-or-later
"""The credentials of one local cloud: files that clients read, tokens that the server knows."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from localcloud.catalog import DEFAULT_PROJECT
from localcloud.config import CloudConfig
from localcloud.state import Store

#: Google's access tokens live an hour.
TOKEN_LIFETIME = 3600
SERVICE_ACCOUNT = f"tpuops@{DEFAULT_PROJECT.project_id}.iam.gserviceaccount.com"
USER = "user@localcloud.example"


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


@dataclass(frozen=True)
class CredentialFiles:
    """Where the credentials of a cloud lie, and how they come to be."""

    config: CloudConfig

    @property
    def service_account(self) -> Path:
        return self.config.state_dir / "service-account.json"

    @property
    def authorized_user(self) -> Path:
        """A user's credentials in the form of `gcloud auth application-default login`."""
        return self.config.state_dir / "authorized-user.json"

    @property
    def access_token(self) -> Path:
        return self.config.state_dir / "access-token"

    @property
    def token_uri(self) -> str:
        return f"http://127.0.0.1:{self.config.port}/token"

    def write(self) -> None:
        """Make what is missing. What exists stays, apart from a port that has changed."""
        if not self.access_token.exists():
            self.renew_access_token()
        self._write_json(self.service_account, _new_service_account)
        self._write_json(self.authorized_user, _new_authorized_user)

    def renew_access_token(self) -> None:
        write_secret(self.access_token, f"ya29.local-{secrets.token_urlsafe(32)}")

    def _write_json(self, path: Path, make: Callable[[], dict[str, str]]) -> None:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else make()
        if content.get("token_uri") != self.token_uri:
            write_secret(path, json.dumps({**content, "token_uri": self.token_uri}, indent=2))

    def public_key(self) -> bytes:
        """The service account's public key, PEM."""
        content = json.loads(self.service_account.read_text(encoding="utf-8"))
        # Unchecked, as it is ours: the check takes 40 ms.
        private = serialization.load_pem_private_key(
            content["private_key"].encode(), password=None, unsafe_skip_rsa_key_validation=True
        )
        return private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def refresh_token(self) -> str:
        content: dict[str, str] = json.loads(self.authorized_user.read_text(encoding="utf-8"))
        return content["refresh_token"]


def _new_service_account() -> dict[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": DEFAULT_PROJECT.project_id,
        "private_key_id": secrets.token_hex(20),
        "private_key": pem.decode(),
        "client_email": SERVICE_ACCOUNT,
        "client_id": str(10**20 + secrets.randbelow(10**20)),
    }


def _new_authorized_user() -> dict[str, str]:
    return {
        "type": "authorized_user",
        "client_id": "localcloud.apps.example",
        "client_secret": secrets.token_urlsafe(16),
        "refresh_token": f"1//local-{secrets.token_urlsafe(32)}",
    }


class Tokens:
    """Access tokens that were given out. Only their hashes are stored."""

    KIND = "token"
    EPOCH = "token-epoch"

    def __init__(self, store: Store) -> None:
        self._store = store

    def issue(self, principal: str, lifetime: int = TOKEN_LIFETIME) -> str:
        """A new token of a principal (an email address), valid for `lifetime` seconds."""
        token = f"ya29.local-{secrets.token_urlsafe(32)}"
        self.register(token, principal, time.time() + lifetime)
        return token

    def register(self, token: str, principal: str, expires: float | None = None) -> None:
        """Accept a token that exists already. expires: seconds since the epoch, None for never."""
        record = {"principal": principal, "expires": expires}
        self._store.put(self.KIND, _digest(token), record)

    def principal(self, token: str) -> str | None:
        """Whose a token is; None when it is unknown or has expired."""
        record = self._store.get(self.KIND, _digest(token))
        if record is None or (record["expires"] is not None and record["expires"] < time.time()):
            return None
        return str(record["principal"])

    def expire_all(self) -> None:
        """Let every token that was given out be dead from now on, those that accounts signed included."""
        for name, _ in self._store.items(self.KIND):
            self._store.delete(self.KIND, name)
        # A signed token carries whole seconds.
        self._store.put(self.EPOCH, "signed", {"not_before": int(time.time()) + 1})

    def signed_too_early(self, issued: float) -> bool:
        """Whether a self-signed token of that time was made before all tokens expired."""
        record = self._store.get(self.EPOCH, "signed")
        return record is not None and issued < record["not_before"]

    def forget_expired(self) -> None:
        for name, record in self._store.items(self.KIND):
            if record["expires"] is not None and record["expires"] < time.time():
                self._store.delete(self.KIND, name)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
