# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete the node that this machine is a worker of, once its time is up; a systemd timer runs it there.

It asks nobody but the metadata server, for the token of the VM's own service account, and the TPU API. The
data disk stays. Needs Python 3.9 and its standard library.

    tpu_guard.py ENDPOINT NODE DEADLINE     NODE: projects/P/locations/Z/nodes/N; DEADLINE: seconds since 1970
    tpu_guard.py ENDPOINT NODE check        only whether it could: a token, and an answer about the node
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any

METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
TIMEOUT = 60.0  # seconds for an answer
# No proxy of the environment: the metadata server is this machine's own.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class GuardError(Exception):
    """The node cannot be deleted now; the text says why."""


def token() -> str:
    request = urllib.request.Request(METADATA, headers={"Metadata-Flavor": "Google"})
    try:
        with OPENER.open(request, timeout=TIMEOUT) as answer:
            return str(json.load(answer)["access_token"])
    except (OSError, ValueError, KeyError) as error:
        raise GuardError(
            f"the metadata server gives no token of the VM's service account: {error}"
        ) from error


def call(method: str, url: str) -> dict[str, Any] | None:
    """The answer of the TPU API; None for what is not there (any more)."""
    request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {token()}"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        reason = error.read(2000).decode(errors="replace")
        raise GuardError(f"{method} {url}: {error.code} {' '.join(reason.split())}") from error
    except (OSError, ValueError) as error:
        raise GuardError(f"{method} {url}: {error}") from error


def delete(endpoint: str, node: str) -> str:
    """Delete the node, with the queued resource that it came from; what was done."""
    found = call("GET", f"{endpoint}/v2/{node}")
    if found is None:
        return f"{node} is deleted already"
    queued = found.get("queuedResource")
    call("DELETE", f"{endpoint}/v2/{queued}?force=true" if queued else f"{endpoint}/v2/{node}")
    return f"its time is up: deleting {queued or node}; its data disk stays"


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    endpoint, node, deadline = arguments[0].rstrip("/"), arguments[1], arguments[2]
    try:
        if deadline == "check":
            if call("GET", f"{endpoint}/v2/{node}") is None:
                raise GuardError(f"{endpoint} knows no {node}")
        elif time.time() >= float(deadline):
            print(delete(endpoint, node))
    except GuardError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
