# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session to Google's APIs: authenticated, patient, paged, and with typed errors.

What is asked again, and why that is safe: rate limits, 5xx and lost answers, for every method. A read changes
nothing; every write that this collection sends names its resource (a repeated create is refused as a
conflict, which the resource layer adopts), sets absolute values, or carries a `requestId`.
"""

from __future__ import annotations

import copy
import math
import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.auth import Authenticator, AuthSettings
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.deadline import Deadline
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import (
    GcpError,
    MissingLibrary,
    Retryable,
    TransportError,
    Unauthenticated,
    from_response,
)

if TYPE_CHECKING:
    import requests

ENDPOINTS: Mapping[str, str] = {
    "tpu": "https://tpu.googleapis.com",
    "compute": "https://compute.googleapis.com/compute/v1",
    "serviceusage": "https://serviceusage.googleapis.com",
    "resourcemanager": "https://cloudresourcemanager.googleapis.com",
    "oslogin": "https://oslogin.googleapis.com",
}
CONNECT_TIMEOUT = 10.0
DEFAULT_TIMEOUT = 60.0
RETRIES = 4
LONGEST_RETRY_AFTER = 120.0


class Client:
    """A connection to the APIs of one cloud.

    auth:      how to authenticate.
    endpoints: base URL by API (the keys of ENDPOINTS) where it differs from Google's.
    timeout:   seconds without an answer until a request counts as lost.
    session:   a requests session to use; a new one by default.
    """

    def __init__(
        self,
        auth: AuthSettings,
        endpoints: Mapping[str, str | None] | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        session: requests.Session | None = None,
    ) -> None:
        try:
            import requests
            from urllib3.util.retry import Retry
        except ImportError as error:
            raise MissingLibrary("requests") from error
        self._lost = requests.exceptions.RequestException
        self._session = session or requests.Session()
        self._session.headers["User-Agent"] = "tpuops.maxtext"
        self._auth = Authenticator(auth, self._session)
        self._timeout = timeout
        overrides = {api: url.rstrip("/") for api, url in (endpoints or {}).items() if url}
        self._endpoints = {**ENDPOINTS, **overrides}
        # No more than what urllib3 1.26 has as well, which distributions ship.
        self._retry = Retry(total=RETRIES, backoff_factor=0.5)
        self._deadline = Deadline(math.inf)

    def within(self, deadline: Deadline) -> Client:
        """The same connection, which asks again no later than the deadline."""
        bounded = copy.copy(self)
        bounded._deadline = deadline
        return bounded

    @property
    def email(self) -> str:
        """E-mail address of the account in use, "" where its credentials do not tell it."""
        return self._auth.email()

    def get(self, api: str, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self.request("GET", api, path, params=params)

    def post(
        self,
        api: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        return self.request("POST", api, path, params=params, body=body or {}, timeout=timeout)

    def patch(
        self, api: str, path: str, body: Mapping[str, Any], params: Mapping[str, Any]
    ) -> dict[str, Any]:
        return self.request("PATCH", api, path, params=params, body=body)

    def delete(self, api: str, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self.request("DELETE", api, path, params=params)

    def pages(self, api: str, path: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Every page of a list, as the API gives it; nothing is asked before it is needed."""
        query = dict(params or {})
        while True:
            page = self.get(api, path, query)
            yield page
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def items(
        self, api: str, path: str, key: str, params: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Every item of a list; `key` is the field of a page that holds them."""
        for page in self.pages(api, path, params):
            yield from page.get(key, [])

    def request(
        self,
        method: str,
        api: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The decoded answer of one call, asked again where that helps. Raises GcpError.

        timeout: seconds to wait for this answer, where the call is known to take longer than others.
        """
        url = f"{self._endpoints[api]}/{path}"
        options = {"params": params, "json": body, "timeout": (CONNECT_TIMEOUT, timeout or self._timeout)}
        retry = self._retry
        while True:
            try:
                return self._authenticated(method, url, options)
            except Retryable as error:
                retry = _next(retry, method, url, error, self._deadline)

    def _authenticated(self, method: str, url: str, options: Mapping[str, Any]) -> dict[str, Any]:
        headers = self._auth.headers()
        try:
            return self._once(method, url, options, headers)
        except Unauthenticated as refused:
            try:
                headers = self._auth.refresh(headers)
            except Unauthenticated:
                # Static tokens cannot be refreshed: what the API said is the better message.
                raise refused from None
            return self._once(method, url, options, headers)

    def _once(
        self, method: str, url: str, options: Mapping[str, Any], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        try:
            response = self._session.request(method, url, headers=headers, allow_redirects=False, **options)
        except self._lost as error:
            raise TransportError(f"No answer to {method} {url}: {error}") from error
        return _decoded(response, f"{method} {url}")


def _decoded(response: requests.Response, call: str) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if response.status_code >= 400:
        raise from_response(response.status_code, body, response.text, response.headers.get("Retry-After"))
    if not isinstance(body, dict):
        raise GcpError(
            f"HTTP {response.status_code} to {call} is not a JSON object",
            code=response.status_code,
            remedy="Check that the endpoint option leads to the API.",
        )
    return body


def _next(retry: Any, method: str, url: str, error: Retryable, deadline: Deadline) -> Any:
    """The retry policy after `error`, its pause taken; raises `error` when policy or time is used up."""
    from urllib3.exceptions import MaxRetryError

    try:
        retry = retry.increment(method, url)
    except MaxRetryError:
        raise error from None
    if not deadline.left:
        raise error
    pause = max(_asked(retry, error), retry.get_backoff_time())
    time.sleep(min(deadline.left, pause * random.uniform(1, 1.25)))
    return retry


def _asked(retry: Any, error: Retryable) -> float:
    """The pause that the answer asks for; none where its Retry-After makes no sense."""
    from urllib3.exceptions import InvalidHeader

    try:
        asked = retry.parse_retry_after(error.retry_after) if error.retry_after else 0.0
    except (InvalidHeader, ValueError, OverflowError):  # the latter of dates that no calendar has
        return 0.0
    return float(min(LONGEST_RETRY_AFTER, asked))
