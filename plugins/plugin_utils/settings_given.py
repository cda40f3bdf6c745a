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
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.setting_names import Given

#: Groups that the inventory plugin makes. They have no host before there is a node.
OURS = ("tpu_vm", "workers")


def variables(loader: DataLoader, hostvars: Any, play_vars: Mapping[str, Any]) -> list[Given]:
    """All variables of the command line, of the play and of the inventory, in the order of their precedence.

    The value of the inventory is left out where the command line or the play sets the variable.
    hostvars: of the task. Its inventory is asked, and no variable of a host is evaluated: there may be many
    hosts.
    """
    found: dict[str, Given] = {}
    for name, value in load_extra_vars(loader).items():
        found[str(name)] = Given(str(name), "set with -e", command_line=True, value=value)
    for name, value in play_vars.items():
        found.setdefault(str(name), Given(str(name), "set in a playbook", value=value))
    inventory = [each for each in _of_inventory(loader, hostvars._inventory) if each.name not in found]
    return [*found.values(), *inventory]


def _of_inventory(loader: DataLoader, inventory: Any) -> Iterator[Given]:
    for kind, entities in (("group", inventory.groups), ("host", inventory.hosts)):
        for entity in list(entities.values()):
            source = f"set for the {kind} {entity.name}"
            hosts = entity.get_hosts() if kind == "group" else [entity]
            # The inventory plugin says of each worker which node it belongs to.
            ours = _above_workers(entity) if kind == "group" else False
            ours = ours or any("tpu_node" in host.vars for host in hosts)
            # Files win over what stands beside the hosts.
            for name, value in {**entity.vars, **_of_files(loader, inventory, entity)}.items():
                yield Given(str(name), source, value=value, ours=ours)


def _above_workers(group: Any) -> bool:
    """Whether the workers will be in this group; in `all` everybody is."""
    names = {group.name, *(each.name for each in group.get_descendants())}
    return group.name != "all" and not names.isdisjoint(OURS)


def _of_files(loader: DataLoader, inventory: Any, entity: Any) -> Mapping[str, Any]:
    """What group_vars/ and host_vars/ say, beside the inventory and beside the playbook."""
    found: dict[str, Any] = {}
    for stage in ("inventory", "task"):
        found.update(get_vars_from_inventory_sources(loader, inventory._sources, [entity], stage))
        found.update(get_vars_from_path(loader, loader.get_basedir(), [entity], stage))
    return found
