# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node that SSH cannot reach any more is lost: what Google says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import connect, gcp_argument_spec
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.worker import NODE
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD, Tpus, workers
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started

LOST = "lost"  # our word for a node that Google does not have any more
UNKNOWN = "unknown"  # and for one of which Google says nothing
# It does not come back from these without being asked.
STOPPED = frozenset({"STOPPING", "STOPPED"})
OFF = frozenset({LOST, "DELETING", "HIDING", "HIDDEN"}) | STOPPED
# Of a machine that Google has, and that is unhealthy: Node.health, and Node.state after a failed repair.
UNHEALTHY = frozenset({"TIMEOUT", "UNHEALTHY_TENSORFLOW", "UNHEALTHY_MAINTENANCE", "UNKNOWN"})
DELETE = "delete it with ansible-playbook playbooks/teardown.yml, which keeps the disk"


class NodeLost(Exception):
    """The machine is lost, and with it what ran on it; its data disk is not.

    kind:  preempted, where Google took it, else lost.
    state: the node's, as `Watch.state` tells it.
    """

    def __init__(self, name: str, state: str) -> None:
        self.name, self.state = name, state
        self.kind = "preempted" if state in DEAD else "lost"
        first = f"{DELETE[0].upper()}{as_started(DELETE[1:])}, and run" if state in UNHEALTHY else "Run"
        verb = "starts" if state in STOPPED else "creates"
        super().__init__(
            f"the TPU VM {name} is {state}. {first} the same command again: it {verb} the TPU VM again, with "
            "the same disk, and goes on from what is there."
        )

    @property
    def failure(self) -> Json:
        return {"kind": self.kind, "code": 0, "reason": self.state, "details": []}


class Watch:
    """Asks Google about a node, from the controller; a node that nobody asks about costs nothing."""

    def __init__(self, node: Mapping[str, Any]) -> None:
        self._node = validated(NODE, node)
        self._options = validated(gcp_argument_spec(), self._node["auth"])
        self.name = str(self._node["name"])

    def _tpus(self) -> Tpus:
        return Tpus(connect(self._options), self._node["project"], self._node["zone"])

    def state(self) -> str:
        """The node's state in Google's words, LOST, or UNKNOWN where Google does not answer.

        Of a node that is READY and unhealthy it is the health, which tells more.
        """
        try:
            node = self._tpus().get_node(self.name)
        except GcpError:
            return UNKNOWN
        if node is None:
            return LOST
        return condition(node)

    def check(self, patient: bool = True) -> str:
        """Raise NodeLost if the node is lost; its state else. `patient`: one that may recover is not."""
        state = self.state()
        if state in DEAD | OFF or not (patient or state in ("READY", UNKNOWN)):
            raise NodeLost(self.name, state)
        return state

    def renew_host_keys(self) -> list[str]:
        """Have SSH trust the keys that the workers publish now; the names of those whose key is another one.

        The keys of a machine that Google has moved or repaired are new, and only published ones are trusted.
        """
        file = self._node["known_hosts_file"]
        if not file:
            return []
        try:
            tpus = self._tpus()
            node = tpus.get_node(self.name)
            if node is None:
                return []
            known = known_hosts.read(file)
            every = workers(node, tpus.host_keys(self.name))
            aliases = {each["host_key_alias"]: each for each in every if each["host_key_alias"] in known}
            new = {
                alias: each["host_key"]
                for alias, each in aliases.items()
                if each["host_key"] not in ("", known[alias])
            }
            known_hosts.add(file, new)
        except GcpError:  # asked again, as long as the machine is waited for
            return []
        return [aliases[alias]["name"] for alias in new]

    def silent(self) -> str:
        """What to do when the machine does not answer and Google calls the node READY."""
        return (
            f"Google says that the TPU VM {self.name} is READY. If it stays unreachable, "
            f"{as_started(DELETE)}, and run the same command again"
        )


def condition(node: Mapping[str, Any]) -> str:
    """The state of a node, and its health where it is READY and unhealthy."""
    state, health = str(node.get("state", UNKNOWN)), str(node.get("health"))
    return health if state == "READY" and health in UNHEALTHY else state


def validated(spec: Json, given: Mapping[str, Any]) -> Json:
    """The options with their defaults, also from the environment, as a module would have them."""
    result = ArgumentSpecValidator(spec).validate(dict(given))
    if result.error_messages:
        raise AnsibleActionFail(f"node: {result.error_messages[0]}")
    values: Json = result.validated_parameters
    return values
