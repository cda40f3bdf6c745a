# SPDX-License-Identifier: GPL-3.0-or-later
"""Every fault of Google's at all that a module does: what the user is told, what is left, the second run.

The table is the product of `ACTIONS` and of the kinds of faults of the local cloud, and must end every action
in every kind of error that the modules know. What makes no sense is excepted, with its reason.
"""

from __future__ import annotations

import functools
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from urllib3.util.retry import Retry

from localcloud.catalog import DEFAULT_PROJECT
from localcloud.cloud import SERVICE_KIND
from localcloud.faults import KINDS
from localcloud.google.logins import PROFILE
from tests.contract.served import RESOURCES, Served
from tests.json_types import Json

ROOT = Path(__file__).resolve().parents[2]

ZONE = "us-west4-a"
HERE = {"name": "faults", "zone": ZONE}
NODES, QUEUE = "tpu.projects.locations.nodes", "tpu.projects.locations.queuedResources"
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

    @property
    def deletes(self) -> bool:
        return self.options.get("state") == "absent"

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
    Action("enable an API", "gcp_services", "serviceusage.services.batchEnable", SERVICES),
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


@dataclass(frozen=True)
class Failure:
    """How a fault ends a module's run.

    kind: of `failure`; said: a part of what the user reads; codes: what `failure.code` may be; count: how
    often the fault strikes, None where it would pass by itself.
    """

    kind: str
    said: str
    codes: tuple[int, ...]
    count: int | None = 1


FAILING = {
    "permission": Failure("permission", "roles/tpu.admin", (403,)),
    "service-disabled": Failure("api_disabled", "tpuops.maxtext.gcp_services", (403,)),
    "location": Failure("location", "Give a zone that offers TPUs", (403,)),
    "not-found": Failure("not_found", "Check the names", (404,)),
    "precondition": Failure("precondition", "into a state that allows this", (400,)),
    "quota": Failure("quota", "Ask for more quota", (429,)),
    "disk-quota": Failure("quota", "Ask for more quota", (403,)),
    "stockout": Failure("stockout", "another zone", (8,)),
    "disk-stockout": Failure("stockout", "another zone", (503,)),
    "preempted-while-creating": Failure("preempted", "Run the same command again", (0, 3)),
    "failing-operation": Failure("unavailable", "Run again later", (13, 500)),
    "stuck-operation": Failure("timeout", "Run again to wait for it, with a longer wait_timeout", (0,)),
    "conflict": Failure("conflict", "Run again, or choose another name", (409,), None),
    "unauthorized": Failure("unauthenticated", "Log in again", (401,), None),
    "drop-before": Failure("transport", "Check the network", (0,), None),
    "rate-limit": Failure("rate_limited", "Run again in a minute", (429,), None),
    "error-500": Failure("unavailable", "Run again later", (500,), None),
    "error-503": Failure("unavailable", "Run again later", (503,), None),
}
#: Faults that strike the nodes of a queued resource, not the call that asks for it.
OF_ITS_NODES = ("preempted-while-creating",)
#: Kinds of errors that no fault of the cloud's can cause, and what shows them.
ELSEWHERE = {
    "api": "what Google says in no words that are known: unit tests make up such answers",
    "missing_library": "it lacks on the machine that runs the module: a unit test takes the library away",
    "invalid_argument": "the user's own: `test_what_is_wrong_is_told_before_anything_is_asked`",
}
#: Kinds of errors in which some actions cannot end: why, and which.
EXCEPTED: dict[str, tuple[str, Callable[[Action], bool]]] = {
    "stockout": (
        "only what is made or started takes room, and a queued resource waits for it",
        lambda action: action.name not in ("make a disk", "make a node", "start a node"),
    ),
    "quota": ("only what is made counts", lambda action: not action.made),
    "preempted": (
        "only nodes are taken back while they are made",
        lambda action: action.name not in ("make a node", "queue"),
    ),
    "location": (
        "only the TPU API has locations, and a list of all of them names none",
        lambda action: (
            not action.method.startswith("tpu.") or (action.reads and "zones" not in action.options)
        ),
    ),
    "not_found": ("what is not there is deleted", lambda action: action.deletes),
    "conflict": ("what only reads is in nobody's way", lambda action: action.reads),
    "precondition": ("what only reads can be done in every state", lambda action: action.reads),
    "timeout": ("what only reads, and a key, begin no operation", lambda action: not action.waits),
}


def strikes(fault: str, action: Action) -> bool:
    """Whether a fault can strike an action as `FAILING` and `PASSING` have it."""
    if fault == "stockout" and action.method == f"{QUEUE}.create":
        return False  # a queued resource waits it out: a test of its own
    if fault == "not-found" and action.deletes:
        return False  # likewise
    if fault == "location" and action.reads and "zones" not in action.options:
        return False
    if KINDS[fault].place == "operation" and not action.waits:
        return False
    nodes_of_it = fault in OF_ITS_NODES and action.method == f"{QUEUE}.create"
    begun = f"{NODES}.create" if nodes_of_it else action.method
    return any(fnmatchcase(begun, form) for form in KINDS[fault].methods)


def cells(faults: Any) -> list[Any]:
    """The cells of some kinds of faults that make sense."""
    return [
        pytest.param(action, fault, id=f"{action.name}: {fault}")
        for fault in faults
        for action in ACTIONS
        if strikes(fault, action)
    ]


#: Reading a private key takes longer than all else that a module does here.
load_key = functools.cache(serialization.load_pem_private_key)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, collection: None) -> None:
    """Operations are looked at ten times as often, as none takes long here, and no module waits to try again.

    That it waits, and how long, is for unit tests.
    """
    from ansible_collections.tpuops.maxtext.plugins.module_utils import resource
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import operations

    monkeypatch.setattr(operations, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(Retry, "get_backoff_time", lambda retry: 0.0)
    monkeypatch.setattr(resource, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(serialization, "load_pem_private_key", load_key)


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
    """All that modules change, as it is."""
    served.settle()
    store = served.server.cloud.store
    return {
        name: record for kind in (*RESOURCES, PROFILE, SERVICE_KIND) for name, record in store.items(kind)
    }


def succeeds(run: Run, action: Action, **more: Any) -> Json:
    result = run(action.module, **{**action.options, **more})
    assert not result.get("failed"), result["msg"]
    return result


@pytest.mark.parametrize(("action", "fault"), cells(PASSING))
def test_what_passes_by_itself_is_not_even_seen(run: Run, served: Served, action: Action, fault: str) -> None:
    prepare(run, action)
    # Later than the module waits for an answer: for the module, that is an answer which was lost.
    late = {"rate-limit": 0.0, "slow": 0.8}
    served.fault(fault, action.where(fault), count=1, seconds=late.get(fault))
    result = succeeds(run, action, **({"timeout": 0.5} if fault == "slow" else {}))
    assert result["changed"] is not action.reads
    assert served.server.cloud.faults.armed() == [], "the fault met nothing"
    served.settle()
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize(("action", "fault"), cells(fault for fault in FAILING if fault != "stuck-operation"))
def test_what_fails_is_told_and_leaves_nothing(run: Run, served: Served, action: Action, fault: str) -> None:
    prepare(run, action)
    before, ending = snapshot(served), FAILING[fault]
    seconds = 0.0 if fault == "rate-limit" else None
    served.fault(fault, action.where(fault), ending.count, seconds)
    failed = run(action.module, **action.options)
    failure = failed.get("failure", {})
    assert (failed.get("failed"), failure.get("kind")) == (True, ending.kind), failed
    assert failure["code"] in ending.codes
    assert ending.said in failed["msg"]
    assert snapshot(served) == before
    served.clear()
    assert succeeds(run, action)["changed"] is not action.reads
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_what_is_wrong_is_told_before_anything_is_asked(run: Run, served: Served, action: Action) -> None:
    prepare(run, action)
    mark = len(served.exchanges)
    failed = run(action.module, **{**action.options, "project": "No"})
    assert (failed.get("failed"), failed["failure"]["kind"]) == (True, "invalid_argument"), failed
    assert "project: 'No' is not valid. Give a project's id" in failed["msg"]
    assert served.since(mark) == []
    assert succeeds(run, action)["changed"] is not action.reads


@pytest.mark.parametrize(
    "action", [cell.values[0] for cell in cells(["stuck-operation"])], ids=lambda action: action.name
)
def test_a_wait_that_ends_names_what_goes_on_and_is_taken_up(
    run: Run, served: Served, action: Action
) -> None:
    prepare(run, action)
    served.fault("stuck-operation", action.where("stuck-operation"), count=1)
    stuck = run(action.module, **{**action.options, "wait_timeout": 1})
    ending = FAILING["stuck-operation"]
    assert stuck["failure"]["kind"] == ending.kind
    assert stuck["failure"]["operation"]
    assert ending.said in stuck["msg"]
    served.clear()
    if not action.made:
        # Google refuses a second change meanwhile. A busy machine may outlast the attempts of the module.
        served.settle()
    taken_up = succeeds(run, action)
    if action.made:
        assert taken_up["changed"] is False
    assert succeeds(run, action)["changed"] is False


@pytest.mark.parametrize("kind", ["stockout", "preempted-while-creating"])
def test_what_fails_behind_a_lost_answer_is_told(run: Run, served: Served, kind: str) -> None:
    before = snapshot(served)
    served.fault("drop", {"method": f"{NODES}.create"}, count=1)
    served.fault(kind, {"zone": ZONE})
    assert run("tpu_vm", **NODE)["failure"]["kind"] == FAILING[kind].kind
    assert [fault.kind for fault in served.server.cloud.faults.armed()] == [kind]
    assert snapshot(served) == before


@pytest.mark.parametrize(
    "action", [action for action in ACTIONS if action.deletes], ids=lambda action: action.name
)
def test_what_is_gone_when_it_is_to_be_deleted_is_no_error(run: Run, served: Served, action: Action) -> None:
    prepare(run, action)
    served.fault("not-found", action.where("not-found"), count=1)
    assert succeeds(run, action)["changed"] is True
    assert served.server.cloud.faults.armed() == [], "the fault met nothing"


#: What the server alone decides, so that a check run cannot know it, or tells its own time.
UNFORESEEN = ("health", "labelFingerprint", "expirationTimeUsec")


def unlike(foreseen: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where what was foreseen is not in what came to be."""
    if isinstance(foreseen, dict) and isinstance(found, dict):
        for key in foreseen.keys() - {*UNFORESEEN}:
            yield from unlike(foreseen[key], found.get(key), f"{path}.{key}")
    elif isinstance(foreseen, list) and isinstance(found, list) and len(foreseen) == len(found):
        for index, pair in enumerate(zip(foreseen, found, strict=True)):
            yield from unlike(*pair, path=f"{path}.{index}")
    elif path == ".type" and str(found).endswith(f"/{foreseen}"):
        return  # Compute Engine answers a path as an address
    elif foreseen != found:
        yield f"{path}: {foreseen!r} was foreseen, {found!r} came"


@pytest.mark.parametrize(
    "action", [action for action in ACTIONS if not action.reads], ids=lambda action: action.name
)
def test_a_check_changes_nothing_and_foresees_what_comes(run: Run, served: Served, action: Action) -> None:
    prepare(run, action)
    before, mark = snapshot(served), len(served.exchanges)
    checked = succeeds(run, action, check=True)
    assert checked["changed"] is True
    assert [str(exchange) for exchange in served.since(mark) if exchange.verb != "GET"] == []
    assert snapshot(served) == before
    done = succeeds(run, action)
    assert checked["diff"]["before"] == done["diff"]["before"]
    assert list(unlike(checked["diff"]["after"], done["diff"]["after"])) == []
    assert bool(checked["diff"]["after"]) == bool(done["diff"]["after"])
    assert succeeds(run, action, check=True)["changed"] is False


@pytest.mark.parametrize("module", ["tpu_vm", "tpu_queued_resource"])
def test_what_hangs_as_it_is_made_is_deleted_at_once(run: Run, served: Served, module: str) -> None:
    served.fault("stuck-operation", {"method": f"{NODES}.create"})
    assert run(module, **NODE, wait=False)["changed"] is True
    while not served.server.cloud.store.items("node"):
        time.sleep(0.01)  # the queued resource asks for it in a moment
    absent = {**ABSENT, **({"force": True} if module == "tpu_queued_resource" else {})}
    assert run(module, **absent, check=True)["changed"] is True
    assert run(module, **absent, wait_timeout=30)["changed"] is True
    assert served.records() == []


def test_a_queued_resource_waits_a_stock_out_out(run: Run, served: Served) -> None:
    served.fault("stockout", {"zone": ZONE}, count=3)
    assert run("tpu_queued_resource", **NODE)["queued_resource"]["state"]["state"] == "ACTIVE"
    assert served.server.cloud.faults.armed() == []


def test_no_cell_is_missing() -> None:
    """The table has every module of Google's APIs, every kind of fault of theirs and every kind of error."""
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import errors

    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    # An action plugin plays the other modules, and has scenarios of its own.
    plays = {plugin.stem for plugin in (ROOT / "plugins" / "action").glob("*.py")}
    assert {*runtime["action_groups"]["gcp"]} - plays == {action.module for action in ACTIONS}
    google = {name for name, kind in KINDS.items() if not kind.place.startswith("hub")}
    assert google == {*PASSING, *FAILING}
    everywhere = {kind for kind in PASSING if KINDS[kind].methods == ("*",)}
    assert all(strikes(kind, action) for action in ACTIONS for kind in everywhere)
    assert len(everywhere) == 7

    known = {error.kind for error in vars(errors).values() if hasattr(error, "kind")}
    assert known == {*ELSEWHERE, *(ending.kind for ending in FAILING.values())}
    tested = {
        (ending.kind, action.name)
        for fault, ending in FAILING.items()
        for action in ACTIONS
        if strikes(fault, action)
    }
    excepted = {
        (kind, action.name) for kind, (_, cannot) in EXCEPTED.items() for action in ACTIONS if cannot(action)
    }
    all_of_them = {(kind, action.name) for kind in known - {*ELSEWHERE} for action in ACTIONS}
    assert all_of_them - tested == excepted
