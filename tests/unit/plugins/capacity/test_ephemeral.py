# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the node of an ephemeral run is deleted at its end, and what the user reads about it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.filter.ephemeral_end import ephemeral_end

from tests.json_types import Json

from .fakes import OURS

IDLE = {"jobs": [{"name": "sft", "status": "finished"}]}
BUSY = {"jobs": [{"name": "sft", "status": "running"}]}
BROKEN = {"failed": False, "msg": "/r/broken.json: is not the record of a job"}
AHEAD = {"jobs": [{"name": "env-serve", "status": "running", "background": True}]}
SILENT = {"unreachable": True, "msg": "Connection refused"}
FORCE = "teardown -e tpu_vm_force=true stops what runs and deletes the node."
KEPT = "The node is kept, although tpu_vm_ephemeral is set, as "
REFUSED = "its machine cannot be reached over SSH and may run a job: Connection refused."


def seen(*states: str, health: str = "", labels: Json = OURS) -> Json:
    """What Google said: a node in each of these states."""
    path = "projects/p/locations/us-west1-c/nodes/n"
    nodes = [{"name": path, "state": state, "health": health, "labels": labels} for state in states]
    return {"nodes": nodes, "unreachable_zones": []}


UNKNOWN = {"msg": "Google did not answer: 503"}
PARTLY = {
    "nodes": [],
    "unreachable_zones": ["us-west1-c"],
    "zone_failures": {"us-west1-c": {"msg": "us-west1-c does not answer: 503."}},
}
MADE = {"changed": True, "there": False}
REACHED = {"changed": False, "elapsed": 3}
UNREACHED = {"failed": True, "msg": "timed out"}
TIMED_OUT = {"failed": True, "failure": {"kind": "timeout"}}

#: case -> jobs of each worker, what Google said, how the node was made, how its machines were waited for,
#: and why the node is kept; "" where it is deleted.
CASES: dict[str, tuple[list[Json], Json, Json, list[Json], str]] = {
    "nothing runs": ([IDLE], {}, {}, [], ""),
    "only work ahead of its time": ([AHEAD], {}, {}, [], ""),
    "a job runs": ([BUSY], {}, {}, [], "a job runs on it: sft."),
    "a job runs on one of two nodes": ([IDLE, BUSY], {}, {}, [], "a job runs on it: sft."),
    "records unreadable": (
        [BROKEN],
        {},
        {},
        [],
        "its jobs could not be read: /r/broken.json: is not the record of a job.",
    ),
    "unreachable, healthy": (
        [SILENT],
        seen("READY"),
        {},
        [],
        f"{REFUSED} Google says that the node is READY.",
    ),
    "unreachable, on one of two nodes": (
        [IDLE, SILENT],
        seen("READY", "READY"),
        {},
        [],
        f"{REFUSED} Google says that the node is READY.",
    ),
    "unreachable, under repair": (
        [SILENT],
        seen("REPAIRING"),
        {},
        [],
        f"{REFUSED} Google says that the node is REPAIRING.",
    ),
    "unreachable, Google silent": (
        [SILENT],
        UNKNOWN,
        {},
        [],
        f"{REFUSED} Google did not say whether the node is there: Google did not answer: 503.",
    ),
    "unreachable, zone silent": (
        [SILENT],
        PARTLY,
        {},
        [],
        f"{REFUSED} Google did not say whether the node is there: us-west1-c does not answer: 503.",
    ),
    "unreachable, unhealthy": ([SILENT], seen("READY", health="TIMEOUT"), {}, [], ""),
    "lost: preempted": ([SILENT], seen("PREEMPTED"), {}, [], ""),
    "lost: terminated": ([SILENT], seen("TERMINATED"), {}, [], ""),
    "lost: deleted by somebody": ([SILENT], seen(), {}, [], ""),
    "lost: being deleted": ([SILENT], seen("DELETING"), {}, [], ""),
    "lost: stopped": ([SILENT], seen("STOPPED"), {}, [], ""),
    "lost, and somebody else has the name": (
        [SILENT],
        seen("READY", labels={**OURS, "owner": "bob"}),
        {},
        [],
        "",
    ),
    "created now, never reached": ([SILENT], seen("READY"), MADE, [UNREACHED], ""),
    "created now, reached before": (
        [SILENT],
        seen("READY"),
        MADE,
        [REACHED],
        f"{REFUSED} Google says that the node is READY.",
    ),
    "found, and started again": (
        [SILENT],
        seen("READY"),
        {"changed": True, "there": True},
        [UNREACHED],
        f"{REFUSED} Google says that the node is READY.",
    ),
    "there is no node": ([], seen(), {}, [], ""),
    "still being created": ([], seen("CREATING"), TIMED_OUT, [], ""),
    "came after its time": ([], seen("READY"), TIMED_OUT, [], ""),
    "created now, not listed": ([], seen("READY"), MADE, [], ""),
    "not listed, of another run": (
        [],
        seen("READY"),
        {},
        [],
        "the inventory does not list its machine, so its jobs could not be read. "
        "Google says that the node is READY.",
    ),
}


def end(case: str, **more: Any) -> Json:
    reads, google, made, reached, _why = CASES[case]
    jobs = {"results": reads}
    return ephemeral_end(jobs, seen=google, made=made, reached=reached, labels=OURS, owner="me", **more)


GONE = {"changed": True, "left": [], "told": "Deleted: n."}


@pytest.mark.parametrize("case", CASES)
def test_the_node_is_deleted_only_where_no_job_can_run(case: str) -> None:
    why = CASES[case][-1]
    before = end(case)
    assert before["delete"] == (why == "")
    after = end(case, **({"gone": GONE} if before["delete"] else {}))
    assert after["kept"] == (why != "")
    if why:
        assert after["told"].startswith(f"{KEPT}{why} It costs money. ansible-playbook ")
        assert after["told"].endswith(FORCE)
    else:
        assert "The node is deleted, as tpu_vm_ephemeral says; its disk is kept." in after["told"]


def test_a_lost_node_is_told() -> None:
    told = end("lost: preempted", gone=GONE)["told"]
    assert told.startswith("Google says that the node is PREEMPTED. The node is deleted,")


@pytest.mark.parametrize(
    ("gone", "check", "told", "kept"),
    [
        ({"changed": False, "told": "Deleted nothing.", "left": []}, False, "Deleted nothing.", False),
        (
            {**GONE, "left": ["It may be in a."]},
            False,
            "The node is deleted, as tpu_vm_ephemeral says; its disk is kept. It may be in a.",
            True,
        ),
        (GONE, True, "The node would be deleted, as tpu_vm_ephemeral says; its disk is kept.", False),
    ],
)
def test_what_the_deletion_came_to(gone: Json, check: bool, told: str, kept: bool) -> None:
    found = end("nothing runs", gone=gone, check=check)
    assert (found["told"], found["kept"]) == (told, kept)


def test_a_deletion_that_failed_leaves_what_may_cost_money() -> None:
    found = end("nothing runs", gone={"failed": False, "changed": False, "msg": "403: no right to delete"})
    assert found["kept"]
    assert found["told"].startswith(
        "The node could not be deleted, although tpu_vm_ephemeral is set: 403: no right to delete. It may "
        "still be there and cost money. ansible-playbook "
    )
    assert found["told"].endswith(FORCE)
