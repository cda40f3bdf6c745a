# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node that a job's machine is a worker of, as a task tells it; read on the controller only."""

from __future__ import annotations

from typing import Any

#: Options of the node: auth has credentials and endpoints, as the modules of Google's APIs take them;
#: known_hosts_file is where SSH's host keys are, as the inventory plugin keeps them.
NODE: dict[str, Any] = {
    "name": {"type": "str", "required": True},
    "zone": {"type": "str", "required": True},
    "project": {"type": "str", "required": True},
    "auth": {"type": "dict", "default": {}, "no_log": True},
    "known_hosts_file": {"type": "path", "default": "", "no_log": False},
}
