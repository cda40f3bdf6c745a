# SPDX-License-Identifier: GPL-3.0-or-later
"""The TPU VM of the scenarios, over plain SSH with the address, user and host key of the inventory plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

INVENTORY = Path(__file__).resolve().parent.parent / "inventories" / "local"
MOUNT_POINT = "/mnt/disks/checkpoints"


@pytest.fixture(scope="session")
def vm() -> Host:
    """The worker of the node tpu-v5e-8."""
    return testinfra.get_host(f"ansible://tpu-v5e-8?ansible_inventory={INVENTORY}")


@pytest.fixture(scope="session")
def mount_point() -> str:
    return MOUNT_POINT
