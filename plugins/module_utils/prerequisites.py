# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage needs on the TPU VM, and which of it is missing. Runs on the TPU VM."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd

#: In the order in which the stages create them.
NEEDS = ("disk", "environment", "model", "checkpoints", "server")


@dataclass(frozen=True)
class Wanted:
    """What a stage needs; what it does not need is None.

    mount_point: of the data disk. environment: directory with bin/python. model: directory of the converted
    model. checkpoints: directory of a run's checkpoints. server: systemd unit that serves the model.
    """

    mount_point: str | None = None
    environment: str | None = None
    model: str | None = None
    checkpoints: str | None = None
    server: str | None = None


def missing(wanted: Wanted) -> list[str]:
    """The names in NEEDS of what is not there.

    Without the disk nothing else can be seen: a directory of the same name is on the boot disk.
    Raises SystemdError when the disk cannot be mounted.
    """
    if wanted.mount_point is not None:
        systemd.mount(wanted.mount_point)  # a machine that has just started may not have done so yet
        if not os.path.ismount(wanted.mount_point):
            return ["disk"]
    lacks = []
    if wanted.environment is not None and not os.path.exists(
        os.path.join(wanted.environment, "bin", "python")
    ):
        lacks.append("environment")
    for need, directory in (("model", wanted.model), ("checkpoints", wanted.checkpoints)):
        if directory is not None and not os.path.isdir(directory):
            lacks.append(need)
    if wanted.server is not None and not systemd.is_active(wanted.server):
        lacks.append("server")
    return lacks
