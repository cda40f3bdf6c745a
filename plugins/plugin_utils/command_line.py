# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the running command's arguments another one needs, to find the same machine."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from ansible import constants, context
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars

#: Extra variables that say where a job is. No other is repeated: it may be a secret.
PLACE = ("tpu_vm_name", "data_disk_mount_point")
# Ansible splits, unquotes and expands other values of NAME=VALUE.
PLAIN = re.compile(r"[A-Za-z0-9_.:@/-]+")


def same_place(loader: DataLoader) -> str:
    """The inventory that was given and the variables that say where, to be put behind a command."""
    inventory = list(context.CLIARGS.get("inventory") or [])
    given = [] if inventory == constants.DEFAULT_HOST_LIST else inventory
    variables = load_extra_vars(loader)
    parts = [f"-i {shlex.quote(source)}" for source in given]
    parts += [extra_variable(name, variables[name]) for name in PLACE if name in variables]
    return " ".join(parts)


def extra_variable(name: str, value: Any) -> str:
    """The argument that sets the variable, quoted for a shell."""
    text = f"{name}={value}" if PLAIN.fullmatch(str(value)) else json.dumps({name: value}, ensure_ascii=False)
    return f"-e {shlex.quote(text)}"
