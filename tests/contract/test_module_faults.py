# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of Google's at all that a module does: what the user is told, what is left, the second run.

The table is the product of `ACTIONS` and of the kinds of faults of the local cloud, so that no cell is
missing. A cell that makes no sense says why.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcloud.catalog import DEFAULT_PROJECT
from localcloud.faults import KINDS
from localcloud.google.logins import PROFILE
from tests.contract.served import RESOURCES, Served

ROOT = Path(__file__).resolve().parents[2]

ZONE = "us-west4-a"
HERE = {"name": "faults", "zone": ZONE}
NODES, QUEUE = "tpu.projects.locations.nodes", "tpu.projects.locations.queuedResources"
Json = dict[str, Any]
Run = Callable[..., Json]

NODE = {**HERE, "accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite"}
DISK = {**HERE, "size_gb": 10, "type": "hyperdisk-balanced", "labels": {"team": "a"}}
ABSENT = {**HERE, "state": "absent"}


@dataclass(frozen=True)
class Action:
    """Something that a module does, by one method of an API.

    before: modules and options that make what it starts from; made: whether it makes something; waits:
    whether an operation follows its call.
    """

    name: str
    module: str
    method: str
    options: Json
    before: tuple[tuple[str, Json], ...] = ()
    made: bool = False
    waits: bool = True

    @property
    def reads(self) -> bool:
        return self.module.endswith("_info")

    def where(self, kind: str) -> dict[str, str]:
        """What limits a fault of a kind to it."""
        return {"method": self.method} if "method" in KINDS[kind].selectors else {"zone": ZONE}


def read(module: str, method: str, **options: Any) -> Action:
    return Action(f"read with {module}", module, method, options, waits=False)


A_DISK, A_NODE, QUEUED = ("gcp_disk", DISK), ("tpu_vm", NODE), ("tpu_queued_resource", NODE)
STOPPED = ("tpu_vm", {**NODE, "state": "stopped"})
SERVICES = {"services": ["storage.googleapis.com"]}
#: Of the form that OpenSSH gives it: the type's name and 32 bytes, each with its length before it.
BLOB = b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
KEY = {"key": f"ssh-ed25519 {BLOB}", "ttl": 3600}
A_KEY = ("gcp_oslogin_key", KEY)
CHANGED_DISK: dict[str, Json] = {
    "resize": {**DISK, "size_gb": 12},
    "setLabels": {**DISK, "labels": {"team": "b"}},
    "update": {**DISK, "provisioned_iops": 4000},
}
ACTIONS = [
    Action("make a disk", "gcp_disk", "compute.disks.insert", DISK, made=True),
    *(
        Action(f"{verb} of a disk", "gcp_disk", f"compute.disks.{verb}", options, (A_DISK,))
        for verb, options in CHANGED_DISK.items()
    ),
    Action("delete a disk", "gcp_disk", "compute.disks.delete", ABSENT, (A_DISK,)),
    Action("make a node", "tpu_vm", f"{NODES}.create", NODE, made=True),
    Action("change a node", "tpu_vm", f"{NODES}.patch", {**NODE, "labels": {"team": "b"}}, (A_NODE,)),
    Action("stop a node", "tpu_vm", f"{NODES}.stop", {**NODE, "state": "stopped"}, (A_NODE,)),
    Action("start a node", "tpu_vm", f"{NODES}.start", {**NODE, "state": "started"}, (A_NODE, STOPPED)),
    Action("delete a node", "tpu_vm", f"{NODES}.delete", ABSENT, (A_NODE,)),
    Action("queue", "tpu_queued_resource", f"{QUEUE}.create", NODE, made=True),
    Action("leave the queue", "tpu_queued_resource", f"{QUEUE}.delete", {**ABSENT, "force": True}, (QUEUED,)),
    Action("enable an API", "gcp_services", "serviceusage.services.batchEnable", SERVICES, waits=False),
    Action("add a key", "gcp_oslogin_key", "oslogin.users.importSshPublicKey", KEY, waits=False),
    Action(
        "delete a key",
        "gcp_oslogin_key",
        "oslogin.users.sshPublicKeys.delete",
        {**KEY, "state": "absent"},
        (A_KEY,),
        waits=False,
    ),
    read("tpu_vm_info", f"{NODES}.list"),
    read("tpu_queued_resource_info", f"{QUEUE}.list"),
    read("tpu_types_info", "tpu.projects.locations.acceleratorTypes.list", zones=[ZONE]),
    read("gcp_disk_info", "compute.disks.aggregatedList"),
    read("gcp_project_info", "cloudresourcemanager.projects.get"),
]

#: Faults that pass by themselves: the module asks again, and the user sees none of it.
PASSING = (
    *("error-500", "error-503", "rate-limit", "unauthorized", "drop-before", "drop", "slow", "unreachable"),
)
#: Other faults: the `kind` of the failure, and a part of what the user reads.
FAILING = {
    "permission": ("permission", "roles/tpu.admin"),
    "service-disabled": ("api_disabled", "tpuops.maxtext.gcp_services"),
    "quota": ("quota", "Ask for more quota"),
    "stockout": ("stockout", "another zone"),
    "preempted-while-creating": ("preempted", "run again"),
    "failing-operation": ("unavailable", "run again later"),
    "stuck-operation": ("timeout", "run again to wait for it further"),
}
#: Faults that strike the nodes of a queued resource, not the call that asks for it.
OF_ITS_NODES = ("preempted-while-creating",)


def no_sense(action: Action, kind: str) -> str:
    """Why a fault cannot strike an action as `FAILING` and `PASSING` have it; empty when it can."""
    struck = KINDS[kind].methods
    if action.method == f"{QUEUE}.create" and kind == "stockout":
        return "a queued resource waits it out"
    begun = (
        f"{NODES}.create" if action.method == f"{QUEUE}.create" and kind in OF_ITS_NODES else action.method
    )
    if not any(fnmatchcase(begun, form) for form in struck):
        return f"{kind} strikes {' and '.join(struck)} only"
    if KINDS[kind].place == "operation" and not action.waits:
        return "what is only read begins no operation" if action.reads else "it is done at once"
    return ""


def cells(kinds: Any) -> list[Any]:
    """The cells of some kinds of faults that make sense."""
    return [
        pytest.param(action, kind, id=f"{action.name}: {kind}")
        for kind in kinds
        for action in ACTIONS
        if not no_sense(action, kind)
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, collection: None) -> None:
    """Operations are looked at ten times as often: none of them takes long here."""
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import operations

    monkeypatch.setattr(operations, "FIRST_PAUSE", 0.05)


@pytest.fixture
def run(served: Served, run_module: Run) -> Iterator[Run]:
    """Runs a module. Both APIs are on; nothing is left."""
    for service in ("compute", "tpu", "oslogin"):
        served.server.cloud.set_service(DEFAULT_PROJECT, f"{service}.googleapis.com", True)
    served.server.cloud.set_service(DEFAULT_PROJECT, SERVICES["services"][0], False)
    assert served.records() == []
    yield run_module
    served.clear()
    served.settle()
    for kind, module, options in (
        ("queued-resource", "tpu_queued_resource", {**ABSENT, "force": True}),
        ("node", "tpu_vm", ABSENT),
        ("disk", "gcp_disk", ABSENT),
        (PROFILE, "gcp_oslogin_key", {**KEY, "state": "absent"}),
    ):
        if served.server.cloud.store.items(kind):
            run_module(module, **options)


def prepare(run: Run, action: Action) -> None:
    for module, options in action.before:
        assert run(module, **options)["changed"] is True


def snapshot(served: Served) -> dict[str, Json]:
    """All nodes, disks and queued resources, as they are."""
    served.settle()
    store = served.server.cloud.store
    return {name: record for kind in RESOURCES for name, record in store.items(kind)}


def succeeds(run: Run, action: Action, **more: Any) -> Json:
    result = run(action.module, **{**action.options, **more})
    assert not result.get("failed"), result["msg"]
    return result


@pytest.mark.parametrize(("action", "kind"), cells(PASSING))
def test_what_passes_by_itself_is_not_even_seen(run: Run, served: Served, action: Action, kind: str) -> None:
    prepare(run, action)
    # Later than the module waits for an answer: for the module, that is an answer which was lost.
    late = {"rate-limit": 0.0, "slow": 0.8}
    served.fault(kind, action.where(kind), count=1, seconds=late.get(kind))
    result = succeeds(run, action, **({"timeout": 0.5} if kind == "slow" else {}))
    assert result["changed"] is not action.reads
    assert served.server.cloud.faults.armed() == [], "the fault met nothing"
    served.settle()
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize(("action", "kind"), cells(kind for kind in FAILING if kind != "stuck-operation"))
def test_what_fails_is_told_and_leaves_nothing(run: Run, served: Served, action: Action, kind: str) -> None:
    prepare(run, action)
    before = snapshot(served)
    served.fault(kind, action.where(kind), count=1)
    failed = run(action.module, **action.options)
    failure, said = FAILING[kind]
    assert (failed.get("failed"), failed.get("failure", {}).get("kind")) == (True, failure), failed
    assert said in failed["msg"]
    if KINDS[kind].place == "call":
        assert failed["failure"]["code"] in (403, 429)
    assert snapshot(served) == before
    assert succeeds(run, action)["changed"] is not action.reads
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize(
    "action", [cell.values[0] for cell in cells(["stuck-operation"])], ids=lambda a: a.name
)
def test_a_wait_that_ends_names_what_goes_on_and_is_taken_up(
    run: Run, served: Served, action: Action
) -> None:
    prepare(run, action)
    served.fault("stuck-operation", action.where("stuck-operation"), count=1)
    stuck = run(action.module, **{**action.options, "wait_timeout": 1})
    failure, said = FAILING["stuck-operation"]
    assert stuck["failure"]["kind"] == failure
    assert stuck["failure"]["operation"]
    assert said in stuck["msg"]
    served.clear()
    taken_up = succeeds(run, action)
    if action.made:
        assert taken_up["changed"] is False
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize("kind", ["stockout", "preempted-while-creating"])
def test_what_fails_behind_a_lost_answer_is_told(run: Run, served: Served, kind: str) -> None:
    served.fault("drop", {"method": f"{NODES}.create"}, count=1)
    served.fault(kind, {"zone": ZONE})
    assert run("tpu_vm", **NODE)["failure"]["kind"] == FAILING[kind][0]
    assert [fault.kind for fault in served.server.cloud.faults.armed()] == [kind]
    assert snapshot(served) == {}


def test_a_queued_resource_waits_a_stock_out_out(run: Run, served: Served) -> None:
    served.fault("stockout", {"zone": ZONE}, count=3)
    assert run("tpu_queued_resource", **NODE)["queued_resource"]["state"]["state"] == "ACTIVE"
    assert served.server.cloud.faults.armed() == []


def test_no_cell_is_missing() -> None:
    """Every kind of fault of Google's is in the table, and every module of Google's APIs."""
    google = {name for name, kind in KINDS.items() if not kind.place.startswith("hub")}
    assert google == {*PASSING, *FAILING}
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    # An action plugin plays the other modules, and has scenarios of its own.
    plays = {plugin.stem for plugin in (ROOT / "plugins" / "action").glob("*.py")}
    assert {*runtime["action_groups"]["gcp"]} - plays == {action.module for action in ACTIONS}
    reasons = {no_sense(action, kind) for action in ACTIONS for kind in google}
    assert reasons == {
        "",
        *(
            f"{kind} strikes {' and '.join(KINDS[kind].methods)} only"
            for kind in ("quota", "stockout", "preempted-while-creating", "unreachable")
        ),
        "what is only read begins no operation",
        "it is done at once",
        "a queued resource waits it out",
    }
    everywhere = {kind for kind in PASSING if KINDS[kind].methods == ("*",)}
    assert all(no_sense(action, kind) == "" for action in ACTIONS for kind in everywhere)
    assert len(everywhere) == 7
