# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user makes go wrong with the machines of a node: `localcloud machine COMMAND TARGET`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from localcloud.cloud import Cloud
from localcloud.google.nodes import NODE, machine_name
from localcloud.machines import MachineError, Machines

#: Command -> what it does to a machine, by name, with the command's settings.
ACTIONS: dict[str, Callable[..., Any]] = {
    "reboot": Machines.reboot,
    "kill": Machines.kill,
    "cut": Machines.cut,
    "slow": Machines.slow,
    "fill-disk": Machines.fill_disk,
    "io-error": Machines.fail_disk,
    "heal": Machines.heal,
}


def strike(cloud: Cloud, action: str, target: str, **settings: Any) -> list[str]:
    """Do `action` to each machine of `target`; a line about each. ValueError says why it cannot be done."""
    lines = []
    for name in _machines(cloud, target):
        try:
            result = ACTIONS[action](cloud.machines, name, **settings)
        except MachineError as error:
            raise ValueError(str(error)) from error
        lines.append(f"{name}  {_shown(action, result)}".rstrip())
    return lines


def _shown(action: str, result: Any) -> str:
    match action:
        case "kill":
            return f"killed {', '.join(result)}"
        case "fill-disk":
            return f"took {result} bytes"
    return ""


def _machines(cloud: Cloud, target: str) -> Sequence[str]:
    """Names of the machines that `target` means: one by its name, or all workers of a node, by id or path."""
    names = [machine.name for machine in cloud.machines.list()]
    if target in names:
        return [target]
    nodes = [node for node, _ in cloud.store.items(NODE) if target in (node, node.split("/")[5])]
    if len(nodes) > 1:
        raise ValueError(f"several nodes are called {target}: {', '.join(nodes)}")
    prefixes = tuple(machine_name(node, 0).removesuffix("0") for node in nodes)
    found = [name for name in names if prefixes and name.startswith(prefixes)]
    if not found:
        raise ValueError(f"there is no machine or node {target!r} here: see `localcloud status`")
    return found
