# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the node of a run with tpu_vm_ephemeral is deleted at the end of the run, and what the user reads.

A node is deleted only where no job can run on it. A node that is kept is always told, with the command that
deletes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import DEAD
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.command_line import as_started
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.found import is_ours
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.node_loss import OFF, UNHEALTHY, condition
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.run_end import unknown

#: No job runs on a node in these states, or it is lost with its machine.
IDLE = DEAD | OFF | UNHEALTHY | {"CREATING", "STARTING"}
FORCE = "ansible-playbook playbooks/teardown.yml -e tpu_vm_force=true stops what runs and deletes the node."


@dataclass(frozen=True)
class Decision:
    """keep: why the node is kept, "" where it is deleted; note: what Google says about a lost machine."""

    keep: str = ""
    note: str = ""


@dataclass(frozen=True)
class Google:
    """What Google says about our nodes with the name. states: one each; unknown: why it did not say all."""

    states: Sequence[str] = ()
    unknown: str = ""

    @property
    def lost(self) -> bool:
        return not self.unknown and all(state in IDLE for state in self.states)

    def __str__(self) -> str:
        if self.unknown:
            return f"Google did not say whether the node is there: {sentence(self.unknown)}"
        return f"Google says that the node is {', '.join(dict.fromkeys(self.states))}." if self.states else ""


def said(seen: Mapping[str, Any], labels: Mapping[str, str]) -> Google:
    """What the module tpu_vm_info returned, of the nodes that have our labels."""
    if "nodes" not in seen:
        return Google(unknown=str(seen.get("msg", "it was not asked")))
    states = [condition(node) for node in seen["nodes"] if is_ours(node, labels)]
    return Google(states, unknown(seen) if seen.get("unreachable_zones") else "")


def decide(
    jobs: Sequence[Mapping[str, Any]],
    google: Google,
    made: Mapping[str, Any],
    reached: Sequence[Mapping[str, Any]],
) -> Decision:
    """Whether the node is deleted.

    jobs:    what job_info returned for each machine that the inventory lists.
    made:    what tpu_capacity returned in this run, {} where it did not run.
    reached: what became of the wait for each new machine.
    """
    running = [
        job["name"]
        for read in jobs
        for job in read.get("jobs", [])
        if job["status"] == "running" and not job.get("background")
    ]
    if running:
        return Decision(f"a job runs on it: {', '.join(running)}.")
    unread = [read for read in jobs if "jobs" not in read and not read.get("unreachable")]
    if unread:
        return Decision(
            f"its jobs could not be read: {sentence(unread[0].get('msg', 'no reason was given'))}"
        )
    silent = [read for read in jobs if read.get("unreachable")]
    if jobs and not silent:
        return Decision()
    if google.lost or created(made, reached, listed=bool(jobs)):
        return Decision(note=str(google) if jobs and google.lost else "")
    if silent:
        reason = sentence(silent[0].get("msg", "no reason was given"))
        return Decision(f"its machine cannot be reached over SSH and may run a job: {reason} {google}")
    return Decision(f"the inventory does not list its machine, so its jobs could not be read. {google}")


def created(made: Mapping[str, Any], reached: Sequence[Mapping[str, Any]], listed: bool) -> bool:
    """Whether this run created the node, and nobody has reached it since: no job can have been started.

    A creation that took too long goes on at Google. The inventory does not list the node then.
    """
    if any(not wait.get("failed") and not wait.get("skipped") for wait in reached):
        return False
    if made.get("failed"):
        return not listed and made.get("failure", {}).get("kind") == "timeout"
    return made.get("there") is False


def told(decision: Decision, gone: Mapping[str, Any] | None, check: bool = False) -> tuple[str, bool]:
    """What the user reads, and whether the node may still cost money. gone: what the deletion returned."""
    force = as_started(FORCE)
    if decision.keep:
        keep = f"The node is kept, although tpu_vm_ephemeral is set, as {decision.keep}"
        return f"{keep} It costs money. {force}", True
    if gone is None:
        return "", False
    if "left" not in gone:
        reason = sentence(gone.get("msg", "no reason was given"))
        return (
            f"The node could not be deleted, although tpu_vm_ephemeral is set: {reason} It may still be "
            f"there and cost money. {force}",
            True,
        )
    deleted = "would be deleted" if check else "is deleted"
    done = f"The node {deleted}, as tpu_vm_ephemeral says; its disk is kept."
    parts = [decision.note, done if gone.get("changed") else gone["told"], *gone["left"]]
    return " ".join(filter(None, parts)), bool(gone["left"])


def sentence(text: Any) -> str:
    return f"{str(text).rstrip('. ')}."
