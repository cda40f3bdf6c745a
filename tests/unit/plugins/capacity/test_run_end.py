# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user reads where a stage ends a run."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.node_loss import node_loss
from ansible_collections.tpuops.maxtext.plugins.filter.why_ended import why_ended

from tests.json_types import Json

FULL = {"msg": "the disk is full"}
KILLED = {"msg": "MODULE FAILURE", "module_stdout": "", "rc": 137}
SUDO = {"msg": "Timeout (32s) waiting for privilege escalation prompt: "}
CREATES = (
    "Run the same command again: it creates the TPU VM again, "
    "with the same disk, and goes on from what is there."
)
STARTS = CREATES.replace("creates", "starts")
SILENT = "The machine did not answer in time. Jobs on it go on. Run the same command again."
STOP = (
    "If it is, it costs money. ansible-playbook tpuops.maxtext.status shows it, and ansible-playbook "
    "tpuops.maxtext.teardown deletes it and keeps the disk."
)


def seen(state: str = "") -> Json:
    nodes = [{"name": "n", "state": state}] if state else []
    return {"nodes": nodes, "unreachable_zones": [], "zone_failures": {}}


UNHEALTHY = {
    "nodes": [{"name": "n", "state": "READY", "health": "TIMEOUT"}],
    "unreachable_zones": [],
    "zone_failures": {},
}
PARTLY = {"nodes": [], "unreachable_zones": ["a"], "zone_failures": {"a": {"msg": "a does not answer."}}}

#: case -> the task's failure, what Google said (None: nobody asked), what is told.
CASES: dict[str, tuple[Json, Json | None, str]] = {
    "nobody asked Google": (FULL, None, "the disk is full"),
    "the node runs": (FULL, seen("READY"), "the disk is full"),
    "the cause is that of an item": (
        {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "full"}]},
        None,
        "full",
    ),
    "a task without words": ({}, None, "A task failed; its error stands above."),
    "the node is preempted": (
        FULL,
        seen("PREEMPTED"),
        f"the disk is full. The TPU VM n is PREEMPTED. {CREATES}",
    ),
    "the node is stopped": (
        FULL,
        seen("STOPPED"),
        f"the disk is full. The TPU VM n is STOPPED. {STARTS}",
    ),
    "the node is deleted": (
        FULL,
        seen(),
        f"the disk is full. The TPU VM n is lost. {CREATES}",
    ),
    "Google restarts the node": (
        FULL,
        seen("RESTARTING"),
        "the disk is full. The TPU VM n is RESTARTING: Google works on it. Run the same command again in "
        "some minutes.",
    ),
    "a repair of the node failed": (
        FULL,
        seen("UNKNOWN"),
        "the disk is full. The TPU VM n is UNKNOWN. Delete it with ansible-playbook "
        "tpuops.maxtext.teardown, which keeps the disk, and run the same command again: it creates the TPU "
        "VM again, with the same disk, and goes on from what is there.",
    ),
    "the node is unhealthy, and its machine did not answer": (
        SUDO,
        UNHEALTHY,
        f"{SUDO['msg'].rstrip('.: ')}. The TPU VM n is TIMEOUT. Delete it with ansible-playbook "
        "tpuops.maxtext.teardown, which keeps the disk, and run the same command again: it creates the TPU "
        "VM again, with the same disk, and goes on from what is there.",
    ),
    "the failure says so already": ({"msg": "n is PREEMPTED."}, seen("PREEMPTED"), "n is PREEMPTED."),
    "Google repairs the node": (
        FULL,
        seen("REPAIRING"),
        "the disk is full. The TPU VM n is REPAIRING: Google brings it back by itself. Run the same command "
        "again in some minutes.",
    ),
    "Google does not answer": (
        FULL,
        {"msg": "503."},
        f"the disk is full. Google did not say whether the node is there: 503. {STOP}",
    ),
    "Google could not ask the zone": (
        FULL,
        PARTLY,
        f"the disk is full. Google did not say whether the node is there: a does not answer. {STOP}",
    ),
    "a module was killed with its machine": (KILLED, seen("READY"), f"MODULE FAILURE. {SILENT}"),
    "sudo did not answer": (SUDO, None, f"{SUDO['msg'].rstrip('.: ')}. {SILENT}"),
    "a module was killed, and the node is lost": (
        KILLED,
        seen("PREEMPTED"),
        f"MODULE FAILURE. The TPU VM n is PREEMPTED. {CREATES}",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_why_a_run_ended(case: str) -> None:
    failure, google, told = CASES[case]
    assert why_ended(failure, google, "n") == told


def test_what_became_of_the_node_of_an_ephemeral_run_is_told_last() -> None:
    assert why_ended(FULL, None, "n", "The node is kept.") == "the disk is full. The node is kept."


TOLD = {"failure": {"kind": "preempted", "reason": "PREEMPTED"}}
STOPPED_JOB = {"job": {"status": "stopped"}}
SICK = {"nodes": [{"name": "n", "state": "READY", "health": "UNHEALTHY_MAINTENANCE"}]}

#: case -> the failures of the workers, what Google said, the reasons of the losses, whether it is unhealthy.
LOSSES: dict[str, tuple[list[Json], Json, list[str], bool]] = {
    "the node runs": ([FULL], seen("READY"), [], False),
    "the node comes back by itself": ([FULL], seen("REPAIRING"), [], False),
    "Google does not answer": ([FULL], {"msg": "no answer"}, [], False),
    "a zone does not answer": ([FULL], PARTLY, [], False),
    "the node is preempted": ([FULL], seen("PREEMPTED"), ["PREEMPTED"], False),
    "the node is deleted": ([FULL], seen(), ["lost"], False),
    "the job was told": ([TOLD], seen("READY"), ["PREEMPTED"], False),
    "one of two jobs was told": ([FULL, TOLD], seen("READY"), ["PREEMPTED"], False),
    "a user stopped the job, and stops the node": ([STOPPED_JOB], seen("STOPPING"), [], False),
    "a user stopped the job, and deleted the node": ([STOPPED_JOB], seen(), [], False),
    "a user stopped one of two jobs": ([FULL, STOPPED_JOB], seen("STOPPED"), [], False),
    "a job failed, and the node is lost": ([{"job": {"status": "failed"}}], seen(), ["lost"], False),
    "the node is unhealthy": ([FULL], SICK, [], True),
    "the job was told that the node is unhealthy": ([TOLD], SICK, ["PREEMPTED"], True),
    "a repair failed": ([FULL], seen("UNKNOWN"), ["UNKNOWN"], True),
}


@pytest.mark.parametrize("case", LOSSES)
def test_the_node_is_lost_only_where_google_took_it(case: str) -> None:
    failures, said, reasons, unhealthy = LOSSES[case]
    found = node_loss(failures, said)
    assert ([each["reason"] for each in found["losses"]], found["unhealthy"]) == (reasons, unhealthy)
