# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a TPU VM would make a run fail, in words. The decisions alone: look.py and probe.py look."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators

GIB = 1 << 30
#: Bytes of memory and of a disk without which no stage works. What a stage needs in all is its own affair.
MEMORY = {"tpu": 8 * GIB, "cpu": GIB // 2}
DISK = 256 << 20
CLOCK = 60.0  # seconds that the clock may be wrong: certificates and tokens bear that
#: Generations for which JAX does not ask for transparent huge pages.
OLD = ("v2", "v3", "v4")
NEW_NODE = (
    "Delete the node and create it again; its data disk stays: ansible-playbook playbooks/teardown.yml, then "
    "ansible-playbook site.yml."
)


@dataclass(frozen=True)
class Owner:
    """A process that has a chip open. unit: of systemd; "" for none."""

    pid: int
    name: str
    unit: str
    device: str

    @property
    def ours(self) -> bool:
        """Whether it is a job or the server: the jobs themselves wait for these, or refuse."""
        return self.unit.startswith("tpuops-") or self.unit == "vllm.service"


@dataclass(frozen=True)
class Wanted:
    """What a run expects. accelerator_type: "" where it is not known. user: whom the jobs run as."""

    platform: str
    accelerator_type: str
    user: str
    endpoint: str

    @property
    def chips(self) -> int | None:
        """How many chips this worker has; None where the type does not tell."""
        count = accelerators.chips(self.accelerator_type)
        workers = accelerators.workers(self.accelerator_type)
        return count // workers if count and workers else None

    @property
    def huge_pages(self) -> bool:
        """Whether JAX asks for transparent huge pages."""
        kind = accelerators.generation(self.accelerator_type)
        return self.platform == "tpu" and (kind is None or kind.name not in OLD)


@dataclass(frozen=True)
class Seen:
    """What the machine has.

    devices: of the chips. owners: who has them open. memory: bytes that are free. disks: path -> free bytes;
    None: nobody can write there. probed: what probe.py found; None where it was found already in this boot.
    """

    devices: Sequence[str] = ()
    owners: Sequence[Owner] = ()
    memory: int = 0
    disks: Mapping[str, int | None] = field(default_factory=dict)
    probed: Mapping[str, Any] | None = None


def problems(wanted: Wanted, seen: Seen) -> list[str]:
    """A sentence or two for each problem; none when all is well."""
    found = [*of_disks(seen.disks), *of_memory(wanted, seen.memory)]
    if wanted.platform == "tpu":
        found += of_chips(wanted, seen)
    if seen.probed is not None:
        found += of_clock(seen.probed["hub"])
    return found


def of_disks(disks: Mapping[str, int | None]) -> list[str]:
    found = []
    for path, free in disks.items():
        if free is None:
            found.append(
                f"disk: the file system of {path} is read-only, as after an error of the disk. Look at "
                "`sudo dmesg` on the machine, restart it (sudo reboot), and run the same command again."
            )
        elif free < DISK:
            found.append(
                f"disk: {free >> 20} MiB of {path} are free, and {DISK >> 20} MiB are needed. Delete what is "
                "not needed there."
            )
    return found


def of_memory(wanted: Wanted, free: int) -> list[str]:
    least = MEMORY[wanted.platform]
    if free >= least:
        return []
    return [
        f"memory: {free / GIB:.1f} GiB are free, and {least / GIB:g} GiB are needed. Stop what uses it "
        "(top -o %MEM on the machine shows that), or restart the machine (sudo reboot)."
    ]


def of_chips(wanted: Wanted, seen: Seen) -> list[str]:
    kind, count = wanted.accelerator_type or "a TPU VM", wanted.chips
    if not seen.devices:
        return [
            f"chips: there is no {devices_of(wanted.accelerator_type)}, so no program finds the TPU of "
            f"{kind}. The driver is part of the node's image (runtime_version). {NEW_NODE}"
        ]
    found = []
    if count is not None and len(seen.devices) != count:
        found.append(
            f"chips: the machine has {len(seen.devices)} ({', '.join(seen.devices)}), and {kind} has {count} "
            f"a worker. {NEW_NODE}"
        )
    for owner in {owner.pid: owner for owner in seen.owners if not owner.ours}.values():
        unit = f" of {owner.unit}" if owner.unit else ""
        stop = f"sudo systemctl stop {owner.unit}" if owner.unit else f"sudo kill {owner.pid}"
        found.append(
            f"chips: {owner.name} (process {owner.pid}{unit}) has {owner.device} open, and a chip belongs to "
            f"one process at a time. Stop it on the machine: {stop}"
        )
    if seen.owners:  # no other process can open them for that reason
        return found
    return found + [
        closed(wanted.user, path, number)
        for path, number in ((seen.probed or {}).get("devices") or {}).items()
        if number is not None
    ]


def closed(user: str, path: str, number: int) -> str:
    """The problem of a device that a job cannot open, with this error."""
    if number == errno.EBUSY:
        return (
            f"chips: {path} is in use, and no process of the machine has it open. Restart the machine "
            "(sudo reboot)."
        )
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"chips: the user {user} of the jobs cannot open {path}: {os.strerror(number)}. Open it on the "
            f"machine (sudo chmod a+rw {path}); a udev rule keeps that over a restart."
        )
    return f"chips: {path} cannot be opened: {os.strerror(number)}. {NEW_NODE}"


def devices_of(accelerator_type: str) -> str:
    """How Google's images name the devices of this generation."""
    kind = accelerators.generation(accelerator_type)
    if kind is None:
        return "/dev/accel* or /dev/vfio/*"
    return "/dev/accel*" if kind.name in OLD else "/dev/vfio/* (nor /dev/accel*)"


def of_clock(hub: Mapping[str, Any]) -> list[str]:
    wrong = hub["clock"]
    if wrong is None or abs(wrong) <= CLOCK:
        return []
    way = "fast" if wrong > 0 else "slow"
    return [
        f"clock: that of the machine is {abs(wrong):.0f} s {way} against the Hub's. Certificates and tokens "
        "are refused then. Set it on the machine: sudo timedatectl set-ntp true, and wait until "
        "timedatectl says that it is synchronized."
    ]


def of_hub(wanted: Wanted, seen: Seen) -> str | None:
    """Why no file can be downloaded; None where the Hub answers, or a wrong clock is the reason."""
    hub = (seen.probed or {}).get("hub") or {}
    if not hub.get("error") or of_clock(hub):
        return None
    return (
        f"hf_endpoint: the Hub at {wanted.endpoint} does not answer the machine: {hub['error']}. Check the "
        "address, the node's way to the Internet (an external address, or Cloud NAT), and the proxy in "
        "hf_environment."
    )
