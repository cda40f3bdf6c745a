# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines' network: a bridge a cloud, a namespace a machine, masquerade and the metadata address.

Names follow from the cloud's instance id, so that what a killed cloud left can be found with its state gone.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from . import firewall
from .commands import MachineError, run, succeeds

_RUN = Path("/run/tpuops")  # shared by all local clouds of the host
_NETNS = Path("/run/netns")
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_TABLE_PREFIX = "tpuops_"


@dataclass(frozen=True)
class Names:
    """Names of a cloud's network objects on the host."""

    instance_id: str

    @property
    def bridge(self) -> str:
        return f"tpu{self.instance_id}"

    @property
    def table(self) -> str:
        return f"{_TABLE_PREFIX}{self.instance_id}"

    @property
    def namespace_prefix(self) -> str:
        return f"tpuops-{self.instance_id}-"

    @property
    def link_prefix(self) -> str:
        return f"v{self.instance_id[:6]}-"

    def namespace(self, number: int) -> str:
        """Network namespace of the machine with this host number in the subnet."""
        return f"{self.namespace_prefix}{number}"

    def link(self, number: int) -> str:
        """The host's end of the machine's cable; 15 characters at most in any subnet up to a /13."""
        return f"{self.link_prefix}{number}"


def free_number(subnet: IPv4Network, taken: Iterable[int]) -> int:
    """Lowest host number of the subnet that no machine has; the first host is the bridge.

    Raises MachineError when the subnet is full.
    """
    used = set(taken)
    for number in range(2, subnet.num_addresses - 1):
        if number not in used:
            return number
    raise MachineError(f"all addresses of {subnet} are in use: delete a machine, or choose a larger subnet")


def hardware_address(address: IPv4Address) -> str:
    """MAC address as Google makes it: 42:01 and the four octets of the address."""
    return "42:01:" + ":".join(f"{octet:02x}" for octet in address.packed)


def connect_commands(names: Names, number: int, subnet: IPv4Network) -> tuple[str, str]:
    """Batches for `ip`, on the host and inside the namespace, that join a machine to the bridge."""
    namespace, link = names.namespace(number), names.link(number)
    address = subnet[number]
    host = (
        f"link add {link} type veth peer name eth0 address {hardware_address(address)} netns {namespace}\n"
        f"link set {link} master {names.bridge} up\n"
    )
    inside = (
        "link set lo up\n"
        f"address add {address}/{subnet.prefixlen} dev eth0\n"
        "link set eth0 up\n"
        f"route add default via {subnet[1]}\n"
    )
    return host, inside


def routes() -> list[dict[str, str]]:
    """The host's routes, as `ip -json` has them."""
    found: list[dict[str, str]] = json.loads(run(["ip", "-json", "-4", "route"]))
    return found


def overlapping(routes: Iterable[dict[str, str]], subnet: IPv4Network, bridge: str) -> str:
    """The route (as in `ip -json route`) that has part of the subnet on another interface; "" for none."""
    for route in routes:
        if (
            route["dst"] != "default"
            and route.get("dev") != bridge
            and IPv4Network(route["dst"]).overlaps(subnet)
        ):
            return f"{route['dst']} on {route.get('dev', 'no interface')}"
    return ""


class Network:
    """The network of one cloud."""

    def __init__(self, instance_id: str, subnet: IPv4Network, metadata_port: int) -> None:
        self.names = Names(instance_id)
        self._subnet = subnet
        self._metadata_port = metadata_port

    def prepare(self) -> None:
        """Bridge, firewall and forwarding; idempotent. MachineError where the subnet is in use elsewhere."""
        bridge = self.names.bridge
        if conflict := overlapping(routes(), self._subnet, bridge):
            raise MachineError(
                f"the machines' subnet {self._subnet} overlaps {conflict}: choose another with "
                f"LOCALCLOUD_SUBNET, or stop the local cloud that uses it"
            )
        with _host_lock():
            _remember_host()
            _IP_FORWARD.write_text("1")
            if not _exists(bridge):
                run(["ip", "link", "add", bridge, "type", "bridge"])
            run(["ip", "address", "replace", f"{self._subnet[1]}/{self._subnet.prefixlen}", "dev", bridge])
            run(["ip", "link", "set", bridge, "up"])
            table, ruleset = self.names.table, _ruleset()
            rules = (
                firewall.closings(ruleset, table),
                firewall.openings(ruleset, table, bridge),
                firewall.own_table(table, bridge, self._subnet, self._metadata_port),
            )
            run(["nft", "-f", "-"], stdin="".join(rules))
            for link in _links(self.names.link_prefix):  # of machines that outlived their bridge
                run(["ip", "link", "set", link, "master", bridge, "up"])

    def connect(self, number: int) -> Path:
        """Join a machine to the bridge, anew where something was left; returns its namespace's path."""
        namespace = self.names.namespace(number)
        host, inside = connect_commands(self.names, number, self._subnet)
        with _host_lock():
            self._disconnect(number)
            run(["ip", "netns", "add", namespace])
            run(["ip", "-batch", "-"], stdin=host)
            run(["ip", "-netns", namespace, "-batch", "-"], stdin=inside)
        return _NETNS / namespace

    def disconnect(self, number: int) -> None:
        """Take a machine's namespace and cable away; idempotent."""
        with _host_lock():
            self._disconnect(number)

    def plug(self, number: int, *, in_: bool) -> None:
        """Plug a machine's cable in, or pull it out."""
        run(["ip", "link", "set", self.names.link(number), "up" if in_ else "down"])
        if in_:  # the host may be about to give up the address, on questions that were asked before
            run(["ip", "neighbour", "flush", "to", str(self._subnet[number]), "dev", self.names.bridge])

    def limit(self, number: int, rate: int | None) -> None:
        """Let a machine's network carry `rate` kbit/s each way; None: all that it can."""
        ends = (
            ["tc", "qdisc", "replace", "dev", self.names.link(number)],
            ["tc", "-netns", self.names.namespace(number), "qdisc", "replace", "dev", "eth0"],
        )
        # Of queues the kernel needs no more than this one; a bucket smaller than a packet would pass nothing.
        queue = ["tbf", "rate", f"{rate}kbit", "burst", "64kb", "latency", "1s"] if rate else ["noqueue"]
        for end in ends:
            run([*end, "root", *queue])

    def _disconnect(self, number: int) -> None:
        # The cable first: with the namespace it would go only later, when the kernel finds the time.
        if _exists(self.names.link(number)):
            run(["ip", "link", "delete", self.names.link(number)])
        _delete_namespace(self.names.namespace(number))

    def teardown(self) -> None:
        """Take away everything of this cloud; restore the host's settings if it was the last. Idempotent."""
        with _host_lock():
            for link in _links(self.names.link_prefix):
                run(["ip", "link", "delete", link])
            for namespace in _NETNS.glob(f"{self.names.namespace_prefix}*"):
                _delete_namespace(namespace.name)
            if _exists(self.names.bridge):
                run(["ip", "link", "delete", self.names.bridge])
            table, ruleset = self.names.table, _ruleset()
            delete = f"add table ip {table}\ndelete table ip {table}\n"
            run(["nft", "-f", "-"], stdin=firewall.closings(ruleset, table) + delete)
            if not any(other.startswith(_TABLE_PREFIX) for other in firewall.tables(ruleset) - {table}):
                _restore_host()


def _exists(link: str) -> bool:
    return Path("/sys/class/net", link).exists()


def _links(prefix: str) -> list[str]:
    return sorted(path.name for path in Path("/sys/class/net").glob(f"{prefix}*"))


def _ruleset() -> firewall.Ruleset:
    ruleset: firewall.Ruleset = json.loads(run(["nft", "-json", "list", "ruleset"]))["nftables"]
    return ruleset


def _delete_namespace(name: str) -> None:
    path = _NETNS / name
    if path.exists() and not succeeds(["ip", "netns", "delete", name]):
        path.unlink()  # a plain file: its mount was taken away already


@contextmanager
def _host_lock() -> Iterator[None]:
    """One change of the host's network at a time, over all local clouds."""
    _RUN.mkdir(mode=0o700, exist_ok=True)
    with (_RUN / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remember_host() -> None:
    """Write down once what the first cloud found, for the last one to restore."""
    memory = _RUN / "host.json"
    if not memory.exists():
        found = {"ip_forward": _IP_FORWARD.read_text().strip(), "netns_mounted": _NETNS.is_mount()}
        memory.write_text(json.dumps(found))


def _restore_host() -> None:
    memory = _RUN / "host.json"
    if not memory.exists():
        return
    found = json.loads(memory.read_text())
    _IP_FORWARD.write_text(found["ip_forward"])
    if not found["netns_mounted"] and _NETNS.is_mount() and not any(_NETNS.iterdir()):
        run(["umount", str(_NETNS)])
    memory.unlink()
