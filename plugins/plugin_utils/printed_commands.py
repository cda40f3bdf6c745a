# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of this collection as the user of the running one types them: the one place that writes them.

A command names its playbook as the user named theirs (a path of a checkout, or a full name of the
collection), and has the inventory and those variables that say which cloud, node and run it is about.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable

from ansible import constants, context
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import extra_variable

#: Extra variables that say which cloud, node and run. No other is repeated: it may be a secret.
PLACE = (
    "project",
    "zone",
    "tpu_vm_name",
    "tpu_vm_owner",
    "data_disk_mount_point",
    "model",
    "run_name",
    "serve_port",
)
FULL_NAME = re.compile(r"tpuops\.maxtext\.[a-z_]+")


class Commands:
    """loader: finds the files of extra variables."""

    def __init__(self, loader: DataLoader) -> None:
        inventory = list(context.CLIARGS.get("inventory") or [])
        given = [] if inventory == constants.DEFAULT_HOST_LIST else inventory
        variables = load_extra_vars(loader)
        self._inventory = [f"-i {shlex.quote(source)}" for source in given]
        self._place = {name: variables[name] for name in PLACE if name in variables}
        self._books = books(next(iter(context.CLIARGS.get("args") or []), ""))

    def playbook(self, name: str, *arguments: str, **variables: str) -> str:
        """The command that runs a playbook of this collection; variables: more of them, which outweigh."""
        values = {**self._place, **variables}
        parts = ["ansible-playbook", *self._inventory, self._books(name), *arguments]
        return " ".join([*parts, *(extra_variable(key, value) for key, value in values.items())])

    def site(self, tags: str = "") -> str:
        return self.playbook("site", *([f"--tags {tags}"] if tags else []))


def books(running: str) -> Callable[[str], str]:
    """How the playbooks are called by whoever called `running`, by name."""
    if not running or FULL_NAME.fullmatch(running):
        return in_checkout if not running else in_collection
    directory = os.path.dirname(running)
    if os.path.basename(directory) == "playbooks":
        directory = os.path.dirname(directory)
    elif not os.path.isdir(os.path.join(directory, "playbooks")):
        return in_collection  # a playbook of the user's own
    return lambda name: os.path.join(directory, in_checkout(name))


def in_checkout(name: str) -> str:
    return "site.yml" if name == "site" else f"playbooks/{name}.yml"


def in_collection(name: str) -> str:
    return f"tpuops.maxtext.{name}"
