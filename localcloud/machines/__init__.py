# SPDX-License-Identifier: GPL-3.0-or-later
"""TPU VM workers on this machine: systemd, sshd, a network and block devices of their own, no hypervisor."""

from .commands import SYSTEM_PACKAGES, MachineError, missing_packages
from .disk import DiskAttachment
from .machine import Machine, Machines, MachineSpec

__all__ = [
    "SYSTEM_PACKAGES",
    "DiskAttachment",
    "Machine",
    "MachineError",
    "MachineSpec",
    "Machines",
    "missing_packages",
]
