# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud with many nodes and no machines, in a process of its own, as Google's is.

`python -m bench.cloud STATE_DIR NODES` serves it until SIGTERM.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
#: Loopback, for without machines there is no bridge.
LOOPBACK = IPv4Network("127.129.0.0/24")
#: Of all calls of an API, whether it answered well or not; the log has one line a request.
REQUEST = re.compile(r" INFO ([A-Z]+ /\S+) [0-9]{3} ")
SECONDS_TO_START = 60


@dataclass(frozen=True)
class Cloud:
    """A cloud that serves. description: the content of its localcloud.json; log: its server's log."""

    description: dict[str, Any]
    log: Path

    def requests(self) -> Counter[str]:
        """How often each method and path was asked for until now."""
        return Counter(REQUEST.findall(self.log.read_text(encoding="utf-8")))

    def environment(self) -> dict[str, str]:
        """That of a shell which has evaluated `localcloud env`, and nothing else of this one's."""
        command = [sys.executable, "-m", "localcloud", "--state-dir", self.description["state_dir"], "env"]
        exports = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
        clean = {name: os.environ[name] for name in ("PATH", "LC_ALL", "LANG") if name in os.environ}
        words = (
            line.removeprefix("export ").partition("=")
            for line in exports.splitlines()
            if line.startswith("export ")
        )
        return {**clean, **{name: shlex.split(value)[0] for name, _, value in words}}


@contextmanager
def serving(directory: Path, nodes: int) -> Iterator[Cloud]:
    """A cloud with so many nodes while the block runs."""
    state_dir = directory / "cloud"
    state_dir.mkdir(mode=0o700)
    log = directory / "server.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "bench.cloud", str(state_dir), str(nodes)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while " INFO serving on " not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the cloud did not start:\n{log.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        description = json.loads((state_dir / "localcloud.json").read_text(encoding="utf-8"))
        yield Cloud(description, log)
    finally:
        process.terminate()
        process.wait()


def serve(state_dir: Path, nodes: int) -> None:
    from localcloud import hub, places
    from localcloud.config import CloudConfig
    from localcloud.google.seed import seed_nodes
    from localcloud.machines import Machines
    from localcloud.server import Server
    from localcloud.state import Store
    from tests.unit.localcloud.google_client import FakeMachines

    store = Store(state_dir / "state.db")
    # Without waiting for the disk at each of them: 10,000 are there in a second.
    store._database.execute("BEGIN")
    seed_nodes(store, nodes)
    store._database.execute("COMMIT")
    store.close()
    config = CloudConfig(state_dir, places.free_port(), LOOPBACK)
    Server(config, cast(Machines, FakeMachines()), hub.HubStore(state_dir / "hub")).run()


if __name__ == "__main__":
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO
    )
    serve(Path(sys.argv[1]), int(sys.argv[2]))
