# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it is a program of its own, and no module
"""The program that looks with the rights of a job: runs inside a sandbox like a job's, as the jobs' user.

Reads JSON from its standard input: devices (paths), endpoint (of the Hub; "" not to ask) and environment (of
the jobs). Prints JSON: devices (path -> error number or null) and hub: error (text or null) and clock
(seconds by which the machine's is ahead of the Hub's, or null). Needs Python 3.9 and its standard library.
"""

from __future__ import annotations

import email.utils
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

ATTEMPTS = 3
PAUSE = 1.0  # seconds between them
ANSWER_WITHIN = 10.0
#: OpenSSL's codes for a certificate that is not valid yet, or no more: the clock may be the reason.
OUT_OF_TIME = (9, 10)


def error_of(path: str) -> int | None:
    """The number of the error with which a device cannot be opened; None where it can."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        return error.errno
    return None


def trust(environment: Mapping[str, str]) -> ssl.SSLContext:
    """The certificates that the Hub's client trusts in this environment."""
    context = ssl.create_default_context()
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if environment.get(name):
            context.load_verify_locations(environment[name])
    return context


def ahead(date: str | None) -> float | None:
    """By how many seconds this machine's clock is ahead of a Date header; None where there is none."""
    try:
        return time.time() - email.utils.parsedate_to_datetime(date or "").timestamp()
    except (TypeError, ValueError):
        return None


def ask(endpoint: str, context: ssl.SSLContext) -> dict[str, Any]:
    """One request without a token. A refusal is an answer, too; what a proxy says for the Hub is none."""
    request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "tpuops.maxtext"})
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=ANSWER_WITHIN) as answer:
            return {"error": None, "clock": ahead(answer.headers["Date"])}
    except urllib.error.HTTPError as error:
        with error:
            bad = error.code >= 500 or error.code == 407
            told = f"it answers {error.code} {error.reason}"
            return {"error": told if bad else None, "clock": ahead(error.headers["Date"])}


def look_at_hub(endpoint: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Whether the Hub answers, and how far this clock is off."""
    told: dict[str, Any] = {"error": "it was not asked", "clock": None}
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE if attempt else 0)
        try:
            told = ask(endpoint, trust(environment))
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            told = {"error": str(reason), "clock": None}
            if getattr(reason, "verify_code", None) in OUT_OF_TIME:
                return {**told, "clock": clock_of_stranger(endpoint)}
        if told["error"] is None:
            break
    return told


def clock_of_stranger(endpoint: str) -> float | None:
    """The same clock from an answer that nobody vouches for, which is good for a message and nothing else."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        found = ask(endpoint, context)["clock"]
    except (OSError, ValueError):
        return None
    return found if isinstance(found, float) else None


def main() -> None:
    wanted = json.load(sys.stdin)
    os.environ.update(wanted["environment"])  # proxies and certificates
    unasked: dict[str, Any] = {"error": None, "clock": None}
    found = {
        "devices": {path: error_of(path) for path in wanted["devices"]},
        "hub": look_at_hub(wanted["endpoint"], os.environ) if wanted["endpoint"] else unasked,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
