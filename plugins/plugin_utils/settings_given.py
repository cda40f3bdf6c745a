# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user of this run has set, as Ansible has it: variables, and tags.

The variables of a task do not tell: Ansible's own and the results of earlier tasks are among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.playbook import Playbook
from ansible.playbook.block import Block
from ansible.utils.collection_loader._collection_finder import _get_collection_playbook_path
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


def tags_of(playbooks: Iterable[str], loader: DataLoader, variable_manager: Any) -> set[str]:
    """The tags of all tasks of the playbooks that the command names, as --list-tags has them."""
    basedir = loader.get_basedir()
    found: set[str] = set()
    try:
        for name in playbooks:
            collection = _get_collection_playbook_path(name)
            playbook = Playbook.load(collection[1] if collection else name, variable_manager, loader)
            for play in playbook.get_plays():
                found.update(play.tags)
                for block in play.compile():
                    found.update(_tags_of_block(block))
    finally:
        loader.set_basedir(basedir)
    return found


def _tags_of_block(block: Any) -> set[str]:
    found: set[str] = set(block.tags)
    each: Sequence[Any] = [*block.block, *block.rescue, *block.always]
    for task in each:
        found.update(_tags_of_block(task) if isinstance(task, Block) else task.tags)
    return found
