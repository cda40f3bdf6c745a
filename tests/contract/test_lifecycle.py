# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud comes up over whatever is left, and goes down without a trace."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from localcloud.config import CloudConfig
from localcloud.process import ServerProcess
from tests.contract.conftest import localcloud

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the local cloud needs root")

NODE = {"acceleratorType": "v5litepod-4", "runtimeVersion": "v2-alpha-tpuv5-lite"}


class Host:
    """A cloud of the test's own, and what it has on this host."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.config = CloudConfig(state_dir)

    def command(self, *arguments: str) -> str:
        return localcloud(self.state_dir, *arguments)

    @property
    def port(self) -> int:
        return int(json.loads((self.state_dir / "localcloud.json").read_text(encoding="utf-8"))["port"])

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.command("status", "--json"))
        return found

    def call(self, method: str, path: str, body: Any = None, **query: str) -> dict[str, Any]:
        token = (self.state_dir / "access-token").read_text(encoding="utf-8")
        headers = {"Authorization": f"Bearer {token}"}
        url = f"http://127.0.0.1:{self.port}{path}"
        response = requests.request(method, url, json=body, params=query, headers=headers, timeout=60)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def machine_pids(self) -> list[int]:
        marks = f"--machine=tpuops-{self.config.instance_id}-"
        return [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if marks in path.read_text(errors="replace")
        ]

    def server_pid(self) -> int:
        pid = ServerProcess(self.config).pid()
        assert pid is not None
        return pid

    def traces(self) -> list[str]:
        """Lines of the host's tables that name this cloud."""
        commands = (
            ["ip", "-oneline", "link"],
            ["ip", "netns"],
            ["nft", "list", "tables"],
            ["losetup", "--all"],
            ["findmnt", "--raw"],
            ["ps", "-eo", "pid,args"],
        )
        names = (self.config.instance_id, str(self.state_dir))
        lines = []
        for command in commands:
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            lines += [line for line in output.splitlines() if any(name in line for name in names)]
        return lines


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A cloud that is up, with a disk and a node."""
    host = Host(tmp_path_factory.mktemp("lifecycle") / "cloud")
    host.command("up")
    try:
        project = "projects/local-tpu-project"
        services = {"serviceIds": ["compute.googleapis.com", "tpu.googleapis.com"]}
        host.call("POST", f"/v1/{project}/services:batchEnable", services)
        zone = f"/compute/v1/{project}/zones/us-west1-c"
        operation = host.call("POST", f"{zone}/disks", {"name": "data", "sizeGb": "10"})
        host.call("POST", f"{zone}/operations/{operation['name']}/wait")
        disks = [{"sourceDisk": f"{project}/zones/us-west1-c/disks/data"}]
        host.call(
            "POST", f"/v2/{project}/locations/us-west1-c/nodes", {**NODE, "dataDisks": disks}, nodeId="node"
        )
        host.command("up")  # waits for the node
        yield host
    finally:
        host.command("down")


def node_state(host: Host) -> tuple[str, str]:
    """State and address of the node, whose machine runs."""
    node = host.call("GET", "/v2/projects/local-tpu-project/locations/us-west1-c/nodes/node")
    (machine,) = host.status()["machines"]
    assert machine["running"]
    assert len(host.machine_pids()) == 1
    return node["state"], node["networkEndpoints"][0]["ipAddress"]


@pytest.mark.parametrize("killed", [(), ("server",), ("machine",), ("server", "machine")], ids=str)
def test_up_heals(host: Host, killed: tuple[str, ...]) -> None:
    before = node_state(host)
    server, machines = host.server_pid(), host.machine_pids()
    if "server" in killed:
        os.kill(server, signal.SIGKILL)
    for pid in machines if "machine" in killed else ():
        os.kill(pid, signal.SIGKILL)
    host.command("up")
    assert node_state(host) == before == ("READY", before[1])
    assert (host.server_pid() == server) is ("server" not in killed)
    assert (host.machine_pids() == machines) is ("machine" not in killed)
    assert {disk["size_gb"] for disk in host.status()["disks"]} == {10}


def test_down_leaves_nothing_even_without_the_state(host: Host) -> None:
    assert host.traces()
    for name in ("state.db", "server.pid", "localcloud.json"):
        (host.state_dir / name).unlink()
    host.command("down")
    assert host.traces() == []
    assert not host.state_dir.exists()
    host.command("down")
    assert not host.state_dir.exists()
