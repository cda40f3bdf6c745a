# SPDX-License-Identifier: GPL-3.0-or-later
"""Where one local cloud lives: all else (names, addresses, ports) follows from these three settings."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parent.parent
DEFAULT_STATE_DIR = PROJECT_ROOT / ".localcloud"
DEFAULT_PORT = 18470
DEFAULT_SUBNET = "10.128.0.0/24"


def default_cache_dir() -> Path:
    """Directory of what takes long to make and is the same for every local cloud: machine image, uv cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tpuops-maxtext"


@dataclass(frozen=True)
class CloudConfig:
    """One local cloud.

    state_dir: directory of its state, 0700; its real path is the cloud's identity.
    port:      the Google APIs listen there; the Hub on port + 1, the metadata server on port + 2.
    subnet:    the machines' network; its first host is the bridge, at least a /29.
    """

    state_dir: Path = DEFAULT_STATE_DIR
    port: int = DEFAULT_PORT
    subnet: IPv4Network = field(default_factory=lambda: IPv4Network(DEFAULT_SUBNET))
    cache_dir: Path = field(default_factory=default_cache_dir)

    @property
    def instance_id(self) -> str:
        """Eight hex digits by which all of this cloud is found on the host, even with its state gone."""
        return hashlib.sha256(str(self.state_dir.resolve()).encode()).hexdigest()[:8]

    @property
    def address(self) -> IPv4Address:
        """The bridge's address: the gateway of the machines, where they reach the servers."""
        return self.subnet[1]

    @property
    def ports(self) -> range:
        """All ports of the cloud."""
        return range(self.port, self.port + 3)

    @property
    def hub_port(self) -> int:
        return self.port + 1

    @property
    def metadata_port(self) -> int:
        return self.port + 2

    @property
    def bridge(self) -> str:
        """Interface names end at 15 characters."""
        return f"tpu{self.instance_id}"
