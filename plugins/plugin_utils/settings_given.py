# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The variables that the user of this run has set, as Ansible has them.

The variables of a task do not tell: Ansible's own and the results of earlier tasks are among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from ansible.vars.plugins import get_vars_from_inventory_sources, get_vars_from_path
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings import Given


def variables(loader: DataLoader, hostvars: Any, play_vars: Mapping[str, Any]) -> list[Given]:
    """All variables of the command line, of the play and of the inventory, each once.

    hostvars: of the task. Its inventory is asked, and no variable of a host is evaluated: there may be many
    hosts.
    """
    found: dict[str, Given] = {}
    for name in load_extra_vars(loader):
        found[str(name)] = Given(str(name), "set with -e", command_line=True)
    for name in play_vars:
        found.setdefault(str(name), Given(str(name), "set in a playbook"))
    for name, source in _of_inventory(loader, hostvars._inventory):
        found.setdefault(name, Given(name, source))
    return list(found.values())


def _of_inventory(loader: DataLoader, inventory: Any) -> Iterator[tuple[str, str]]:
    groups = list(inventory.groups.values())
    for kind, entities in (("group", groups), ("host", list(inventory.hosts.values()))):
        for entity in entities:
            source = f"set for the {kind} {entity.name}"
            yield from ((str(name), source) for name in entity.vars)
            yield from ((str(name), source) for name in _of_files(loader, inventory, entity))


def _of_files(loader: DataLoader, inventory: Any, entity: Any) -> Mapping[str, Any]:
    """What group_vars/ and host_vars/ say, beside the inventory and beside the playbook."""
    found: dict[str, Any] = {}
    for stage in ("inventory", "task"):
        found.update(get_vars_from_inventory_sources(loader, inventory._sources, [entity], stage))
        found.update(get_vars_from_path(loader, loader.get_basedir(), [entity], stage))
    return found
