# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a stage fails: whether its node is lost, and what the user reads, which is why and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.node_loss import (
    LOST,
    OFF,
    UNHEALTHY,
    UNKNOWN,
    NodeLost,
    condition,
)

#: The node is there, comes back by itself, or may be there.
THERE = frozenset({"READY", "REPAIRING", UNKNOWN})
SILENT = "The machine did not answer in time. Jobs on it go on. Run the same command again."
STOP = (
    "If it is, it costs money. ansible-playbook playbooks/status.yml shows it, and ansible-playbook "
    "playbooks/teardown.yml deletes it and keeps the disk."
)


def why(failure: Mapping[str, Any], seen: Mapping[str, Any] | None, node: str, ended: str) -> str:
    """failure: of the task; seen: what tpu_vm_info returned, None where nobody asked Google; ended: what
    became of the node of an ephemeral run."""
    # Of a loop the item that failed says why, the task itself only that one did.
    items = [each for each in failure.get("results", []) if each.get("failed")]
    cause = items[0] if items else failure
    message = str(cause.get("msg", "A task failed; its error stands above."))
    state = None if seen is None else condition_of(seen)
    more = []
    if silent(cause, message) and (state is None or state in THERE):
        more.append(SILENT)
    if state == "REPAIRING":
        more.append(
            f"The TPU VM {node} is REPAIRING: Google brings it back by itself. Run the same command again in "
            "some minutes."
        )
    elif state == UNKNOWN and seen is not None:
        reason = unknown(seen).rstrip(". ")
        more.append(f"Google did not say whether the node is there: {reason}. {as_started(STOP)}")
    elif state is not None and state not in THERE and f"is {state}" not in message:
        if state in DEAD | OFF | UNHEALTHY:
            more.append(f"T{str(NodeLost(node, state))[1:]}")
        else:
            more.append(
                f"The TPU VM {node} is {state}: Google works on it. Run the same command again in "
                "some minutes."
            )
    more += [ended] if ended else []
    return " ".join([f"{message.rstrip('.: ')}.", *more]) if more else message


def loss(failures: Sequence[Mapping[str, Any]], seen: Mapping[str, Any]) -> dict[str, Any]:
    """{state, losses, unhealthy}: whether a stage lost its node, and why.

    failures: of the tasks that failed, one for each worker; seen: what tpu_vm_info returned.
    state: the node's, see state_of.
    losses: {reason} for each loss, empty where the node is not lost.
    unhealthy: whether Google keeps an unhealthy node, which has to be deleted before another one is created.
    """
    told = [
        each["failure"]
        for each in failures
        if (each.get("failure") or {}).get("kind") in ("preempted", "lost")
    ]
    # The user who stops a job may stop or delete its node next, and does not want it again.
    stopped = any((each.get("job") or {}).get("status") == "stopped" for each in failures)
    state = state_of(seen)
    lost = [] if stopped or state in THERE else [{"reason": state}]
    nodes = seen.get("nodes") or []
    return {
        "state": state,
        "losses": told or lost,
        "unhealthy": bool(nodes) and condition(nodes[0]) in UNHEALTHY,
    }


def silent(cause: Mapping[str, Any], message: str) -> bool:
    """What Ansible has of a machine that falls silent between the login and sudo, or kills a module as it
    shuts down: no "unreachable"."""
    killed = "module_stdout" in cause and int(cause.get("rc") or 0) > 128
    return killed or "waiting for privilege escalation prompt" in message


def state_of(seen: Mapping[str, Any]) -> str:
    """The node's state in Google's words, LOST, or UNKNOWN."""
    if seen.get("nodes"):
        return str(seen["nodes"][0]["state"])
    return LOST if "nodes" in seen and not seen.get("unreachable_zones") else UNKNOWN


def condition_of(seen: Mapping[str, Any]) -> str:
    """The same, but the node's health where it is READY and unhealthy: it does not come back by itself."""
    return condition(seen["nodes"][0]) if seen.get("nodes") else state_of(seen)


def unknown(seen: Mapping[str, Any]) -> str:
    """Why Google did not say whether there is a node."""
    reasons = [str(failure.get("msg", "")) for failure in seen.get("zone_failures", {}).values()]
    return str(seen.get("msg") or next(filter(None, reasons), "no reason was given"))
