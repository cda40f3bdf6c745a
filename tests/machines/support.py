# SPDX-License-Identifier: GPL-3.0-or-later
"""A local cloud's machines as a test uses them: SSH with strict host keys, and a search for what is left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

from localcloud.config import CloudConfig
from localcloud.machines import Machine, Machines, MachineSpec

USER = "tpu"


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@dataclass(frozen=True)
class Cloud:
    """A prepared cloud and a key pair that its machines let in."""

    config: CloudConfig
    machines: Machines
    key: Path

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    def again(self) -> Machines:
        """What a server sees that was started after the last one was killed."""
        machines = Machines(self.config)
        machines.prepare(lambda _: None)
        return machines

    def boot(self, spec: MachineSpec) -> Machine:
        """A machine that lets USER in."""
        machine = self.machines.boot(spec)
        self.machines.set_authorized_keys(spec.name, {USER: [self.public_key]})
        return machine

    def try_ssh(
        self, machine: Machine, command: str, user: str = USER, more: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command over SSH, or none where it is empty.

        With the host key that the machine was announced with and no other.
        """
        known = self.config.state_dir / "known_hosts"
        known.write_text(
            "".join(f"{machine.address} {kind} {key}\n" for kind, key in machine.host_keys.items())
        )
        options = {
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
        }
        argv = ["ssh", "-F", "none", "-i", str(self.key)]
        argv += [f"-o{name}={value}" for name, value in options.items()]
        argv += [*more, f"{user}@{machine.address}", *([command] if command else [])]
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def ssh(self, machine: Machine, command: str) -> str:
        """Standard output of a command that must succeed."""
        result = self.try_ssh(machine, command)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()


class CloudFactory(Protocol):
    """Makes a cloud on a subnet, by default one that is free."""

    def __call__(self, subnet: IPv4Network | None = None) -> Cloud: ...


def traces(config: CloudConfig) -> dict[str, list[str]]:
    """Everything on the host that bears the name of a cloud or lies in its directory, by kind."""
    names = (config.instance_id, f"v{config.instance_id[:6]}-", str(config.state_dir.resolve()))

    def ours(text: str) -> list[str]:
        return [line for line in text.splitlines() if any(name in line for name in names)]

    nft = json.dumps(json.loads(output("nft", "-json", "list", "ruleset")), indent=1)
    found = {
        "processes": ours(output("ps", "-eww", "-o", "args")),
        "namespaces": ours(output("ip", "netns")),
        "links": ours(output("ip", "link")),
        "rules": ours(nft),
        "mounts": ours(Path("/proc/self/mountinfo").read_text()),
        "loops": ours(output("losetup", "--list", "--noheadings")),
        "groups": ours("\n".join(map(str, Path("/sys/fs/cgroup").glob("**/tpuops-*")))),
        "nspawn": ours("\n".join(map(str, Path("/run/systemd/nspawn").glob("*/*")))),
    }
    return {kind: lines for kind, lines in found.items() if lines}
