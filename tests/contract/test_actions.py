# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that play others, tpu_capacity and tpu_leftovers, when Google fails: all in this process.

What a playbook shows of them is in test_capacity.py and test_leftovers.py; the faults of the modules that
they play are in test_module_faults.py.
"""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail

from localcloud.catalog import DEFAULT_PROJECT
from localcloud.faults import KINDS
from tests.advice import advised
from tests.contract.served import Served
from tests.contract.test_gcloud import at
from tests.contract.test_module_faults import FAILING, PASSING, quick
from tests.json_types import Json
from tests.unit.plugins.capacity.fakes import Playing

__all__ = ["quick"]

ROOT = Path(__file__).resolve().parents[2]
A, B, NOWHERE = "us-west1-c", "us-west4-a", "us-nowhere1-z"
NAME, DISK = "actions", "actions-disk"
NODES, QUEUE = "tpu.projects.locations.nodes", "tpu.projects.locations.queuedResources"
OURS = {"created-by": "tpuops-maxtext", "owner": "me"}
Run = Callable[..., Json]

#: Faults of the making of a node or of its disk in one zone that let the next candidate be tried.
MOVES_ON = (
    *("stockout", "quota", "preempted-while-creating", "stuck-operation"),
    *("disk-stockout", "disk-quota"),
)
#: Other faults that do not pass.
STOPS = (
    *("permission", "service-disabled", "location", "conflict", "precondition", "failing-operation"),
    *("error-503", "rate-limit", "unauthorized", "drop-before"),
)


NODE = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite"}


def place(zone: str, **more: Any) -> Json:
    return {"zone": zone, "accelerator_type": "v5litepod-1", **more}


def action(name: str, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs an action plugin on the modules as they are, not as Ansible would pack each; its result."""
    plugin: Any = importlib.import_module(f"ansible_collections.tpuops.maxtext.plugins.action.{name}")
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})
    monkeypatch.setattr(plugin.display, "display", lambda _line, **_how: None)

    class Action(Playing, plugin.ActionModule):  # type: ignore[misc]
        """The task."""

    def modules(module: str, arguments: Json, check: bool) -> Json:
        return run_module(module, **arguments, check=check)

    def run(check: bool = False, **options: Any) -> Json:
        result: Json = Action(modules, options, check).run()
        return result

    return run


@pytest.fixture
def made(served: Served, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a module. Both APIs are on, what does not pass is asked once more only; nothing is left."""
    from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import client

    monkeypatch.setattr(client, "RETRIES", 1)
    for service in ("compute", "tpu"):
        served.server.cloud.set_service(DEFAULT_PROJECT, f"{service}.googleapis.com", True)
    assert served.records() == []
    yield run_module
    served.clear()
    served.settle()
    for zone in (A, B):
        here = {"zone": zone, "state": "absent"}
        run_module("tpu_queued_resource", name=NAME, force=True, **here)
        run_module("tpu_vm", name=NAME, **here)
        run_module("gcp_disk", name=DISK, **here)


@pytest.fixture
def climb(made: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs tpu_capacity, by default for a node in A or else in B."""
    run = action("tpu_capacity", made, monkeypatch)
    disk = {"name": DISK, "size_gb": 10}

    def climb(*candidates: Json, **options: Any) -> Json:
        places = list(candidates or (place(A), place(B)))
        return run(name=NAME, candidates=places, owner="me", **{"disk": disk, **options})

    return climb


@pytest.fixture
def leftovers(made: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs tpu_leftovers, where there are a queued resource with its node, and a disk that it uses."""
    for module, options in (
        ("gcp_disk", {"name": DISK, "size_gb": 10}),
        (
            "tpu_queued_resource",
            {
                "name": NAME,
                "accelerator_type": "v5litepod-1",
                "runtime_version": "v2-alpha-tpuv5-lite",
                "data_disks": [{"source": DISK}],
            },
        ),
    ):
        assert made(module, zone=A, labels=OURS, **options)["changed"] is True
    return partial(action("tpu_leftovers", made, monkeypatch), me="me")


@pytest.fixture
def report(leftovers: Run, made: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs run_report over the same."""
    return partial(action("run_report", made, monkeypatch), name=NAME, candidates=[place(A)], owner="me")


def there(served: Served) -> list[str]:
    """Kinds and zones of all that there is."""
    served.settle()
    found = [name.split("/") for name in served.records()]
    return sorted(f"{path[4]} {path[3]}" for path in found)


def where(kind: str, method: str, zone: str) -> dict[str, str]:
    return {"method": method} if "method" in KINDS[kind].selectors else {"zone": zone}


# ---- the ladder


@pytest.mark.parametrize("kind", MOVES_ON)
def test_the_ladder_moves_on_and_leaves_nothing_behind(climb: Run, served: Served, kind: str) -> None:
    method = "compute.disks.insert" if kind.startswith("disk-") else f"{NODES}.create"
    limits = where(kind, method, A)
    served.fault(kind, {**limits, "zone": A}, count=1)
    result = climb(place(A, timeout=2 if kind == "stuck-operation" else 60), place(B))
    assert not result.get("failed"), result["msg"]
    assert [refusal["kind"] for refusal in result["refusals"]] == [FAILING[kind].kind]
    assert result["candidate"]["zone"] == B
    served.clear()
    assert there(served) == [f"disks {B}", f"nodes {B}"]
    assert climb()["changed"] is False


@pytest.mark.parametrize("kind", [*STOPS, "not-found"])
def test_the_ladder_stops_and_leaves_nothing(climb: Run, served: Served, kind: str) -> None:
    served.fault(kind, where(kind, f"{NODES}.create", A), seconds=0.0 if kind == "rate-limit" else None)
    result = climb()
    ending = FAILING[kind]
    assert (result.get("failed"), result.get("failure", {}).get("kind")) == (True, ending.kind), result
    assert ending.said in result["msg"]
    assert result["msg"].startswith(f"{A} v5litepod-1 on-demand: ")
    assert there(served) == []
    served.clear()
    assert climb()["candidate"]["zone"] == A
    assert climb()["changed"] is False


QUESTIONS = (f"{NODES}.get", f"{QUEUE}.list", "compute.disks.aggregatedList")


@pytest.mark.parametrize("method", QUESTIONS)
def test_the_ladder_makes_nothing_while_it_cannot_see(climb: Run, served: Served, method: str) -> None:
    served.fault("permission", {"method": method})
    assert climb()["failure"]["kind"] == "permission"
    assert there(served) == []


def test_a_zone_that_there_is_not_stops_the_ladder_before_anything_is_made(
    climb: Run, served: Served
) -> None:
    result = climb(place(A), place(NOWHERE))
    assert (result["failed"], result["failure"]["kind"]) == (True, "location")
    assert NOWHERE in result["msg"]
    assert "gcloud compute tpus locations list" in result["msg"]
    assert there(served) == []
    assert climb(place(A))["candidate"]["zone"] == A


@pytest.mark.parametrize(
    "first",
    [
        pytest.param([place(A)], id="its candidate asks for a node at once now"),
        pytest.param([], id="there is no candidate in its zone any more"),
        pytest.param([place(A, provisioning="queued", spot=True, timeout=1)], id="its candidate is spot now"),
    ],
)
def test_what_waits_in_a_queue_is_not_forgotten(climb: Run, served: Served, first: list[Json]) -> None:
    served.fault("stockout", {"zone": A})
    waits = climb(place(A, provisioning="queued", timeout=1), disk=None)
    assert (waits["failed"], waits["failure"]["kind"]) == (True, "timeout")
    assert there(served) == [f"queuedResources {A}"]
    change = f"delete the queued resource {NAME} in {A}"
    assert climb(*first, place(B), disk=None, check=True)["changes"][0] == change
    assert there(served) == [f"queuedResources {A}"]
    result = climb(*first, place(B), disk=None)
    assert (result["candidate"]["zone"], result["changes"][0]) == (B, change)
    assert there(served) == [f"nodes {B}"]
    assert climb(*first, place(B), disk=None)["changed"] is False


def test_what_waits_in_a_queue_goes_on_the_way_down(climb: Run, served: Served) -> None:
    served.fault("stockout", {"zone": A})
    climb(place(A, provisioning="queued", timeout=1), disk=None)
    served.fault("permission", {"method": f"{QUEUE}.list"}, count=1)
    assert climb(place(B), state="absent")["failure"]["kind"] == "permission"
    assert climb(place(B), state="absent")["changed"] is True
    assert there(served) == []


def test_a_queued_resource_gives_the_node_and_goes_with_it(climb: Run, served: Served) -> None:
    queued = place(A, provisioning="queued", spot=True, timeout=120)
    assert climb(queued)["candidate"]["zone"] == A
    assert there(served) == [f"disks {A}", f"nodes {A}", f"queuedResources {A}"]
    assert climb(queued)["changed"] is False
    assert climb(queued, state="absent")["changed"] is True
    assert there(served) == [f"disks {A}"]


@pytest.mark.parametrize(
    ("module", "name", "options"), [("tpu_vm", NAME, NODE), ("gcp_disk", DISK, {"size_gb": 10})]
)
def test_what_is_somebody_elses_is_kept_until_it_is_labelled_as_ours(
    climb: Run,
    made: Run,
    served: Served,
    cloud_environment: dict[str, str],
    tmp_path: Path,
    module: str,
    name: str,
    options: Json,
) -> None:
    """Nothing is written, up or down. The command in the error, run as it is printed, is the way out."""
    assert made(module, name=name, zone=A, labels={**OURS, "owner": "somebody"}, **options)["changed"]
    before = len(served.exchanges)
    refused = climb()
    kept = climb(state="absent", delete_disk=DISK)
    assert (refused["failed"], refused["failure"]["reason"]) == (True, "notOurs")
    assert (kept.get("failed"), kept["changed"]) == (None, False)
    for told in (refused["msg"], *kept["warnings"]):
        assert re.search(rf" {name} in {A}(, READY,)? is not ours: ", told)
    asked = [str(each) for each in served.since(before) if re.search("/(nodes|disks)", each.path)]
    assert asked
    assert [each for each in asked if not re.match("GET |POST .*:getGuestAttributes ", each)] == []
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud, whose command the error names, is not on PATH")
    at(cloud_environment, tmp_path)(*shlex.split(advised(refused["msg"], "--update-labels"))[1:])
    assert climb()["candidate"]["zone"] == A
    assert there(served) == [f"disks {A}", f"nodes {A}"]


def test_a_dead_node_of_somebody_else_stays_until_it_is_deleted_by_hand(
    climb: Run, made: Run, served: Served, cloud_environment: dict[str, str], tmp_path: Path
) -> None:
    node = {"name": NAME, "zone": A, "runtime_version": "v2-alpha-tpuv5-lite"}
    made("tpu_vm", **node, accelerator_type="v5litepod-1", spot=True, labels={**OURS, "owner": "you"})
    store = served.server.cloud.store
    [(name, record)] = store.items("node")
    store.put("node", name, {**record, "state": "PREEMPTED"})
    result = climb()
    assert (result["failure"]["kind"], result["failure"]["reason"]) == ("precondition", "notOurs")
    assert "it has created-by=tpuops-maxtext and owner=you" in result["msg"]
    assert there(served) == [f"nodes {A}"]
    assert climb(place(B))["candidate"]["zone"] == B
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud, whose command the error names, is not on PATH")
    at(cloud_environment, tmp_path)(*shlex.split(advised(result["msg"], "tpu-vm delete"))[1:])
    assert f"nodes {A}" not in there(served)


@pytest.mark.parametrize("kind", ["permission", "failing-operation", "error-503"])
def test_a_way_down_that_fails_loses_nothing(climb: Run, served: Served, kind: str) -> None:
    climb()
    served.fault(kind, {"method": f"{NODES}.delete"})
    result = climb(state="absent", delete_disk=DISK)
    assert (result["failed"], result["failure"]["kind"]) == (True, FAILING[kind].kind)
    assert there(served) == [f"disks {A}", f"nodes {A}"]
    served.clear()
    assert climb(state="absent", delete_disk=DISK)["changed"] is True
    assert there(served) == []


# ---- leftovers

NAMED = [f"{A}/{NAME}", f"disk:{A}/{DISK}"]
EVERYTHING = [f"disks {A}", f"nodes {A}", f"queuedResources {A}"]


@pytest.mark.parametrize("kind", STOPS)
def test_leftovers_that_cannot_be_deleted_are_told_and_stay(
    leftovers: Run, served: Served, kind: str
) -> None:
    served.fault(kind, {"method": f"{QUEUE}.delete"}, seconds=0.0 if kind == "rate-limit" else None)
    result = leftovers(delete=NAMED)
    ending = FAILING[kind]
    assert (result.get("failed"), result.get("failure", {}).get("kind")) == (True, ending.kind), result
    assert result["msg"].startswith(f"queued:{A}/{NAME}: ")
    assert ending.said in result["msg"]
    assert (result["changed"], result["deleted"]) == (False, [])
    assert there(served) == EVERYTHING
    served.clear()
    assert leftovers(delete=NAMED)["changed"] is True
    assert there(served) == []


def test_a_deletion_that_takes_long_is_waited_for_again(leftovers: Run, served: Served) -> None:
    served.fault("stuck-operation", {"method": f"{QUEUE}.delete"}, count=1)
    for _ in range(2):
        result = leftovers(delete=NAMED, wait_timeout=1)
        assert result["failure"]["kind"] == "timeout"
        assert "Run again to wait for it, with a longer wait_timeout" in result["msg"]
        assert (result["failure"]["operation"] != "", result["deleted"]) == (True, [])
    served.clear()
    assert there(served) == [f"disks {A}"]
    assert [each["name"] for each in leftovers()["leftovers"]] == [DISK]


@pytest.mark.parametrize("kind", ["permission", "error-503", "unauthorized", "drop-before"])
@pytest.mark.parametrize("method", [f"{NODES}.list", f"{QUEUE}.list", "compute.disks.aggregatedList"])
def test_leftovers_that_cannot_be_listed_are_an_error_and_stay(
    leftovers: Run, served: Served, method: str, kind: str
) -> None:
    served.fault(kind, {"method": method})
    result = leftovers(delete=NAMED)
    assert (result["failed"], result["failure"]["kind"]) == (True, FAILING[kind].kind)
    assert FAILING[kind].said in result["msg"]
    assert there(served) == EVERYTHING
    served.clear()
    assert len(leftovers()["leftovers"]) == 3


def test_an_api_that_is_off_has_no_leftovers(leftovers: Run, served: Served) -> None:
    served.fault("service-disabled", {"api": "tpu"})
    assert [each["name"] for each in leftovers()["leftovers"]] == [DISK]
    with pytest.raises(AnsibleActionFail, match=f"there is no {A}/{NAME} of ours"):
        leftovers(delete=NAMED)
    assert there(served) == EVERYTHING


def test_what_has_not_our_label_is_no_leftover(leftovers: Run, made: Run, served: Served) -> None:
    foreign = {"name": f"{DISK}-foreign", "zone": A}
    made("gcp_disk", **foreign, size_gb=10, labels={"owner": "me"})
    try:
        assert foreign["name"] not in [each["name"] for each in leftovers()["leftovers"]]
        with pytest.raises(AnsibleActionFail, match=f"there is no {DISK}-foreign of ours"):
            leftovers(delete=[foreign["name"]])
        assert there(served) == sorted([*EVERYTHING, f"disks {A}"])
    finally:
        made("gcp_disk", **foreign, state="absent")


def test_of_several_deletions_the_one_that_fails_says_what_is_gone(leftovers: Run, served: Served) -> None:
    served.fault("failing-operation", {"method": "compute.disks.delete"}, count=1)
    result = leftovers(delete=NAMED)
    assert result["msg"].startswith(f"disk:{A}/{DISK}: ")
    assert result["msg"].endswith(f"Deleted before it: queued:{A}/{NAME}. Run again without these names.")
    assert ([each["kind"] for each in result["deleted"]], result["changed"]) == (["queued"], True)
    assert there(served) == [f"disks {A}"]
    assert leftovers(delete=NAMED[1:])["changed"] is True
    assert there(served) == []


# ---- the report


@pytest.mark.parametrize("kind", ["permission", "error-503", "unauthorized", "drop-before"])
@pytest.mark.parametrize("method", [f"{NODES}.list", f"{QUEUE}.list", "compute.disks.aggregatedList"])
def test_a_report_without_an_answer_is_an_error_and_not_that_nothing_is_there(
    report: Run, served: Served, method: str, kind: str
) -> None:
    served.fault(kind, {"method": method})
    result = report()
    assert (result["failed"], result["failure"]["kind"]) == (True, FAILING[kind].kind)
    assert FAILING[kind].said in result["msg"]
    assert "report" not in result
    served.clear()
    told = "\n".join(report()["report"])
    assert f"Node {NAME} in {A}" in told
    assert f"Disk {DISK} in {A}" in told


def test_an_api_that_is_off_has_nothing_to_report(report: Run, served: Served) -> None:
    served.fault("service-disabled", {"api": "tpu"})
    told = "\n".join(report()["report"])
    assert "Node " not in told
    assert f"Disk {DISK} in {A}" in told


def test_no_kind_and_no_action_is_missing() -> None:
    """Each kind of Google's faults has its place, and a new action plugin over its APIs belongs in here."""
    google = {name for name, kind in KINDS.items() if not kind.place.startswith("hub")}
    assert google == {*PASSING, *MOVES_ON, *STOPS, "not-found"}
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    plays = {plugin.stem for plugin in (ROOT / "plugins" / "action").glob("*.py")}
    assert plays & {*runtime["action_groups"]["gcp"]} == {
        "run_report",
        "tpu_capacity",
        "tpu_leftovers",
    }
