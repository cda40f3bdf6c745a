# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Credentials, named as the google.cloud collection names them, and their way onto a request.

google-auth and requests are imported when credentials are made, so that a module can be documented and its
options checked where neither is installed.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    InvalidArgument,
    MissingLibrary,
    TransportError,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    import requests

KINDS = ("application", "machineaccount", "serviceaccount", "accesstoken")
_TOKEN = re.compile(r"[!-~]+")  # what a header may have
DEFAULT_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


@dataclass(frozen=True, repr=False)
class AuthSettings:
    """How to prove who we are. Not printable: it holds secrets.

    kind:                     one of KINDS.
    service_account_file:     path of a key file, for serviceaccount.
    service_account_contents: the same key, as JSON text or as what it says.
    service_account_email:    which of the machine's accounts, for machineaccount; default "default".
    access_token:             for accesstoken; never refreshed.
    token_uri:                where tokens are fetched, instead of where the credentials say.
    """

    kind: str = "application"
    service_account_file: str | None = None
    service_account_contents: str | Mapping[str, Any] | None = None
    service_account_email: str | None = None
    access_token: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    token_uri: str | None = None


class Authenticator:
    """Puts a valid access token on each request; one token for all of a process, whatever the thread."""

    def __init__(self, settings: AuthSettings, session: requests.Session) -> None:
        try:
            import google.auth.transport.requests
        except ImportError as error:
            raise MissingLibrary("google-auth") from error
        self._credentials = _translated(lambda: _credentials(settings))
        self._request = google.auth.transport.requests.Request(session)
        self._lock = threading.Lock()

    def headers(self) -> dict[str, str]:
        """The Authorization header (and what else the credentials want), refreshed where the token is about
        to expire.

        google-auth's own before_request is not called: since 2.50 it also asks iamcredentials.googleapis.com
        in the background, which is wrong for a cloud on another endpoint.
        """
        with self._lock:
            if not self._credentials.valid:
                _translated(lambda: self._credentials.refresh(self._request))
            headers: dict[str, str] = {}
            self._credentials.apply(headers)
            return headers

    def email(self) -> str:
        """E-mail address of the account, "" where its credentials do not tell it, as those of a person."""
        with self._lock:
            email = self._email()
            if email == "default":  # the machine's account, whose name comes with its token
                _translated(lambda: self._credentials.refresh(self._request))
                email = self._email()
            return email

    def _email(self) -> str:
        names = ("service_account_email", "account")
        return next((email for name in names if (email := getattr(self._credentials, name, ""))), "")

    def refresh(self, refused: dict[str, str]) -> dict[str, str]:
        """New headers after a 401; another thread's newer token is as good."""
        with self._lock:
            current: dict[str, str] = {}
            self._credentials.apply(current)
            if current == refused:
                _translated(lambda: self._credentials.refresh(self._request))
        return self.headers()


def _translated(call: Any) -> Any:
    """The result of `call`, its google-auth errors as ours."""
    import google.auth.exceptions

    try:
        return call()
    except google.auth.exceptions.TransportError as error:
        raise TransportError(f"Cannot reach the server that hands out access tokens: {error}") from error
    except google.auth.exceptions.GoogleAuthError as error:
        # A refused refresh carries (message, the endpoint's answer): the message is enough.
        message = error.args[0] if error.args else error
        if error.retryable:  # google-auth itself has asked for a few seconds only
            raise Unavailable(f"Google's token endpoint hands out no token now: {message}") from error
        raise Unauthenticated(f"Google credentials do not work: {message}") from error


def _credentials(settings: AuthSettings) -> Any:
    if settings.kind == "accesstoken":
        return _access_token(settings)
    if settings.kind == "serviceaccount":
        return _service_account(settings)
    if settings.kind == "machineaccount":
        from google.auth import compute_engine

        email = settings.service_account_email or "default"
        return compute_engine.Credentials(service_account_email=email, scopes=settings.scopes)
    if settings.kind == "application":
        return _application_default(settings)
    raise InvalidArgument(f"auth_kind is {settings.kind!r}", remedy=f"Give one of {', '.join(KINDS)}.")


def _access_token(settings: AuthSettings) -> Any:
    from google.oauth2.credentials import Credentials

    if not settings.access_token:
        raise InvalidArgument(
            "auth_kind is accesstoken, but access_token is empty",
            remedy="Set access_token or the environment variable GCP_ACCESS_TOKEN.",
        )
    if not _TOKEN.fullmatch(settings.access_token):
        # The value stays out of the message; requests would quote it in its own.
        raise InvalidArgument(
            "access_token is not a token: it has a blank, a line feed or a character that is not ASCII",
            remedy="Give it as gcloud auth print-access-token prints it, without the line feed.",
        )
    return Credentials(settings.access_token)


def _service_account(settings: AuthSettings) -> Any:
    if settings.service_account_contents:
        source, text = "service_account_contents", settings.service_account_contents
    elif settings.service_account_file:
        source, text = (
            f"service_account_file {settings.service_account_file}",
            _read(settings.service_account_file),
        )
    else:
        raise InvalidArgument(
            "auth_kind is serviceaccount, but there is no key",
            remedy="Set service_account_file or service_account_contents.",
        )
    try:
        info = text if isinstance(text, str) else json.dumps(dict(text))
        return _key(info, settings.token_uri).with_scopes(settings.scopes)
    except (ValueError, TypeError, AttributeError) as error:
        # The parser's message could quote the key.
        raise InvalidArgument(
            f"{source} is not the key file of a service account",
            remedy="Give the JSON file that Google created.",
        ) from error


@functools.lru_cache(maxsize=8)
def _key(text: str, token_uri: str | None) -> Any:
    """Credentials without scopes from the text of a key file.

    Kept, as to check an RSA key takes 40 ms of a core: the inventory reads it, then each task that Ansible
    forks, and some tasks several times.
    """
    from google.oauth2.service_account import Credentials

    info = json.loads(text)
    if token_uri:
        info["token_uri"] = token_uri
    return Credentials.from_service_account_info(info)


def _read(path: str) -> str:
    try:
        # What is no text is no key, which its parser says.
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError as error:
        raise InvalidArgument(
            f"service_account_file {path} cannot be read: {error.strerror}", remedy="Give a readable file."
        ) from error


def _application_default(settings: AuthSettings) -> Any:
    import google.auth
    import google.auth.credentials
    import google.auth.external_account
    import google.oauth2.credentials
    import google.oauth2.service_account

    # Given scopes, google-auth would at once ask the real Resource Manager for an external account's project.
    found, _project = google.auth.default()
    found = google.auth.credentials.with_scopes_if_required(found, settings.scopes)
    if not settings.token_uri:
        return found
    if isinstance(found, google.auth.external_account.Credentials):
        # Its tokens are exchanged at the Security Token Service, whose address is called otherwise.
        info = {**found.info, "token_url": settings.token_uri}
        return type(found).from_info(info, scopes=settings.scopes)
    if isinstance(found, google.oauth2.service_account.Credentials):
        return google.oauth2.service_account.Credentials(
            found.signer, found.service_account_email, settings.token_uri, scopes=settings.scopes
        )
    if isinstance(found, google.oauth2.credentials.Credentials):
        # google-auth ignores the token_uri of such a file, so it is given here.
        return google.oauth2.credentials.Credentials(
            None,
            refresh_token=found.refresh_token,
            token_uri=settings.token_uri,
            client_id=found.client_id,
            client_secret=found.client_secret,
            scopes=settings.scopes,
            account=found.account,
        )
    return found
