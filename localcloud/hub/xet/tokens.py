# SPDX-License-Identifier: GPL-3.0-or-later
"""Short-lived tokens of the Xet storage, each for one repository, and signed addresses of xorbs."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from ..names import RepoId

Scope = Literal["read", "write"]
TOKEN_SECONDS = 900  # clients ask for a new one when less than a minute is left


@dataclass(frozen=True)
class Grant:
    """What a token allows: to write into a repository, or to read the files of one commit of it."""

    scope: Scope
    repository: RepoId
    commit: str = ""


class XetTokens:
    """Makes and checks tokens with a secret `key`. clock: seconds since the epoch."""

    def __init__(self, key: str, clock: Callable[[], float] = time.time) -> None:
        self._key = key.encode()
        self._clock = clock

    @property
    def storage(self) -> str:
        """A name for this storage. Clients remember by the address what they have sent to it."""
        return hashlib.sha256(self._key).hexdigest()[:16]

    def issue(self, grant: Grant) -> tuple[str, int]:
        """A token and the second in which it ends."""
        expires = self._expiry()
        claims = base64.urlsafe_b64encode(json.dumps(asdict(grant) | {"expires": expires}).encode()).decode()
        return f"xet_{claims}.{self._signature('token', claims)}", expires

    def check(self, token: str) -> Grant | None:
        """What a token allows; None where it is not ours or has ended."""
        claims, _, signature = token.removeprefix("xet_").partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature("token", claims).encode()):
            return None
        fields = json.loads(base64.urlsafe_b64decode(claims))
        if fields.pop("expires") <= self._clock():
            return None
        return Grant(**fields | {"repository": RepoId(**fields["repository"])})

    def sign(self, xorb: str) -> dict[str, str]:
        """Query with which a xorb can be read for some time, without a token, as clients do."""
        expires = str(self._expiry())
        return {"expires": expires, "signature": self._signature("xorb", xorb, expires)}

    def signed(self, xorb: str, expires: str, signature: str) -> bool:
        """Whether that query still holds for this xorb."""
        expected = self._signature("xorb", xorb, expires)
        return hmac.compare_digest(signature.encode(), expected.encode()) and int(expires) > self._clock()

    def _expiry(self) -> int:
        return int(self._clock()) + TOKEN_SECONDS

    def _signature(self, *words: str) -> str:
        return hmac.new(self._key, ":".join(words).encode(), hashlib.sha256).hexdigest()
