# SPDX-License-Identifier: GPL-3.0-or-later
"""The capacity ladder on modules that the test plays itself."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.candidate import Candidate
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.climb import Climb
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.descent import Descent
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.ladder import LadderError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.capacity.survey import Play
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.module_action import ModuleFailed

from .fakes import LATER, MADE, OURS, FakeCloud, operation

A, B, C = "us-west1-c", "us-west4-a", "us-central1-a"


def candidate(zone: str, provisioning: str = "on-demand", **more: Any) -> Candidate:
    return Candidate(zone, "v5litepod-8", "v2-alpha-tpuv5-lite", provisioning, **more)


def playing(cloud: FakeCloud) -> Play:
    def play(module: str, arguments: dict[str, Any], check: bool = False) -> dict[str, Any]:
        result = cloud(module, arguments, check)
        if result.get("failed"):
            raise ModuleFailed(result)
        return result

    return play


def ladder(cloud: FakeCloud, *candidates: Candidate, said: list[str] | None = None, **more: Any) -> Climb:
    lines = [] if said is None else said
    options: dict[str, Any] = {
        "disk": {"name": "d", "size_gb": 10},
        "labels": OURS,
        "check": cloud.check,
        **more,
    }
    return Climb("n", candidates, playing(cloud), lines.append, **options)


def descent(cloud: FakeCloud, *candidates: Candidate, said: list[str] | None = None, **more: Any) -> Descent:
    lines = [] if said is None else said
    options: dict[str, Any] = {"labels": OURS, "check": cloud.check, **more}
    return Descent("n", candidates, playing(cloud), lines.append, **options)


def kinds(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(refusal["candidate"]["zone"], refusal["kind"]) for refusal in result["refusals"]]


def test_the_first_that_has_capacity_wins_and_nobody_else_is_asked() -> None:
    cloud = FakeCloud()
    result = ladder(cloud, candidate(A), candidate(B)).climb()
    assert (result["changed"], result["candidate"]["zone"], result["refusals"]) == (True, A, [])
    assert (list(cloud.nodes), list(cloud.disks)) == ([A], [A])
    assert result["changes"] == [f"create the disk d in {A}", f"create the TPU VM n in {A}"]
    assert cloud.disks[A]["labels"] == OURS


@pytest.mark.parametrize("kind", ["stockout", "quota", "preempted"])
def test_a_refusal_moves_on_and_takes_its_blank_disk_back(kind: str) -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): kind, (B, "spot"): "stockout"})
    result = ladder(cloud, candidate(A), candidate(B, "spot"), candidate(C)).climb()
    assert result["candidate"]["zone"] == C
    assert kinds(result) == [(A, kind), (B, "stockout")]
    assert (list(cloud.nodes), list(cloud.disks)) == ([C], [C])
    assert result["changes"] == [f"create the disk d in {C}", f"create the TPU VM n in {C}"]


@pytest.mark.parametrize("kind", ["permission", "invalid_argument", "transport", "unavailable"])
def test_what_would_come_again_elsewhere_stops(kind: str) -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): kind})
    with pytest.raises(LadderError, match=f"{A} v5litepod-8 on-demand: Google said {kind}") as stopped:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert stopped.value.failure["kind"] == kind
    assert (cloud.nodes, cloud.disks, cloud.asked("tpu_vm")) == ({}, {}, [A])


def test_a_disk_that_was_there_before_is_never_deleted() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "stockout", (A, "spot"): "permission"})
    cloud.add_disk(A)
    with pytest.raises(LadderError):
        ladder(cloud, candidate(A), candidate(A, "spot")).climb()
    assert list(cloud.disks) == [A]
    assert not [call for call in cloud.calls if call[0] == "gcp_disk" and call[1].get("state") == "absent"]


def test_a_disk_that_there_is_no_quota_for_moves_on() -> None:
    cloud = FakeCloud(refuses={(A, "disk"): "quota"})
    result = ladder(cloud, candidate(A), candidate(B)).climb()
    assert (result["candidate"]["zone"], kinds(result)) == (B, [(A, "quota")])
    assert cloud.asked("tpu_vm") == [B]


def test_all_refused_is_one_error_with_every_reason() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "quota", (B, "spot"): "stockout"})
    with pytest.raises(LadderError) as failed:
        ladder(cloud, candidate(A), candidate(B, "spot")).climb()
    message = str(failed.value)
    assert f"{A} v5litepod-8 on-demand: Google said quota" in message
    assert f"{B} v5litepod-8 spot: Google said stockout" in message
    assert [refusal["kind"] for refusal in failed.value.refusals] == ["quota", "stockout"]
    assert failed.value.failure["kind"] == "stockout"
    assert (cloud.nodes, cloud.disks) == ({}, {})


def test_all_are_checked_before_anything_is_made() -> None:
    cloud = FakeCloud(bad={B: "invalid_argument"})
    with pytest.raises(ModuleFailed):
        ladder(cloud, candidate(A), candidate(A, "spot"), candidate(B)).climb()
    checks = [(arguments["zone"], check) for name, arguments, check in cloud.calls if name == "tpu_vm"]
    assert checks == [(A, True), (B, True)]
    assert (cloud.nodes, cloud.disks) == ({}, {})


def test_a_second_run_keeps_the_node_and_asks_little() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "stockout"})
    places = (candidate(A), candidate(B, "spot"))
    ladder(cloud, *places).climb()
    cloud.calls.clear()
    result = ladder(cloud, *places).climb()
    assert (result["changed"], result["candidate"]["zone"], result["there"]) == (False, B, True)
    assert [name for name, _arguments, _check in cloud.calls] == ["tpu_vm_info", "gcp_disk", "tpu_vm"]
    assert cloud.calls[-1][1]["spot"] is True


def test_a_fallback_in_the_same_zone_keeps_what_it_made() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, spot=True)
    result = ladder(cloud, candidate(A), candidate(A, "spot")).climb()
    assert (result["changed"], result["candidate"]["provisioning"]) == (True, "spot")  # the disk was missing


def test_another_node_of_the_name_is_told() -> None:
    cloud = FakeCloud()
    cloud.add_node(B)
    cloud.add_node(A)
    rungs = ladder(cloud, candidate(A), candidate(B))
    assert rungs.climb()["candidate"]["zone"] == A
    assert [B in warning for warning in rungs.warnings] == [True]


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED", "DELETING"])
def test_a_dead_node_is_deleted_first(state: str) -> None:
    cloud = FakeCloud()
    cloud.add_node(B, state)
    result = ladder(cloud, candidate(A), candidate(B)).climb()
    assert (list(cloud.nodes), result["candidate"]["zone"]) == ([A], A)
    assert f"delete the TPU VM n in {B}" in result["changes"]


def test_a_stopped_node_is_started() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, "STOPPED")
    cloud.add_disk(A)
    result = ladder(cloud, candidate(A)).climb()
    assert (result["node"]["state"], result["changes"]) == ("READY", [f"change the TPU VM n in {A}"])
    assert ladder(cloud, candidate(A)).climb()["changed"] is False


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED"])
def test_a_dead_queued_resource_is_deleted_first(state: str) -> None:
    cloud = FakeCloud()
    cloud.add_queued(B, state)
    result = ladder(cloud, candidate(A), candidate(B, "queued")).climb()
    assert (cloud.queued, list(cloud.nodes), result["candidate"]["zone"]) == ({}, [A], A)


def test_a_preempted_node_of_a_queued_resource_goes_with_it() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "SUSPENDED")
    cloud.add_node(A, "PREEMPTED", queuedResource=f"projects/p/locations/{A}/queuedResources/n")
    ladder(cloud, candidate(A)).climb()  # its candidate is no longer in the list
    assert (cloud.queued, cloud.nodes[A]["state"]) == ({}, "READY")


WAITING = [
    pytest.param(A, {}, id="its candidate asks for a node at once now"),
    pytest.param(B, {}, id="its candidate asks for spot capacity now"),
    pytest.param(C, {}, id="there is no candidate in its zone any more"),
    pytest.param(B, {"spot": True, "acceleratorType": "v5litepod-16"}, id="its candidate has another type"),
]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("zone", "more"), WAITING)
def test_what_waits_for_a_candidate_that_is_off_the_list_is_deleted(
    zone: str, more: dict[str, Any], check: bool
) -> None:
    cloud = FakeCloud(check=check)
    cloud.add_queued(zone, "WAITING_FOR_RESOURCES", **more)
    said: list[str] = []
    result = ladder(cloud, candidate(A), candidate(B, "queued", spot=True), said=said).climb()
    assert result["candidate"]["zone"] == A
    assert f"delete the queued resource n in {zone}" in result["changes"]
    assert said[0] == (
        f"n  {'would delete' if check else 'deleted'} the queued resource in {zone}: "
        "WAITING_FOR_RESOURCES, which no candidate asks for any more"
    )
    assert (list(cloud.queued), list(cloud.nodes)) == (([zone], []) if check else ([], [A]))


def test_a_check_run_predicts_another_request_in_place_of_what_waits() -> None:
    cloud = FakeCloud(check=True)
    cloud.add_queued(A, "WAITING_FOR_RESOURCES")
    result = ladder(cloud, candidate(A, "queued", spot=True), disk=None).climb()
    queued = f"the queued resource n in {A}"
    assert result["changes"] == [f"delete {queued}", f"create {queued}"]


def test_queued_resources_of_all_zones_are_one_question() -> None:
    cloud = FakeCloud()
    ladder(cloud, candidate(A), candidate(B, "queued"), candidate(C, "queued")).climb()
    asked = [arguments for name, arguments, _ in cloud.calls if name == "tpu_queued_resource_info"]
    assert asked == [{"name": "n"}]


def test_what_waits_in_another_zone_than_the_data_is_deleted() -> None:
    cloud = FakeCloud()
    cloud.add_disk(A)
    cloud.add_queued(B, "WAITING_FOR_RESOURCES")
    result = ladder(cloud, candidate(A), candidate(B, "queued")).climb()
    assert (cloud.queued, list(cloud.nodes), result["candidate"]["zone"]) == ({}, [A], A)


def test_what_waits_beside_a_node_that_is_made_is_deleted() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, "CREATING")
    cloud.add_queued(B, "WAITING_FOR_RESOURCES")
    ladder(cloud, candidate(A), candidate(B, "queued")).climb()
    assert (cloud.queued, list(cloud.nodes)) == ({}, [A])


def test_a_queued_resource_that_makes_its_node_is_left_to_it() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "PROVISIONING")
    cloud.add_node(A, "CREATING", queuedResource=f"projects/p/locations/{A}/queuedResources/n")
    ladder(cloud, candidate(A)).climb()  # its candidate is no longer in the list
    assert (list(cloud.queued), list(cloud.nodes)) == ([A], [A])


def test_a_queued_resource_elsewhere_that_has_its_node_is_told() -> None:
    cloud = FakeCloud()
    cloud.add_queued(C, "ACTIVE")
    rungs = ladder(cloud, candidate(A))
    rungs.climb()
    assert [f"leftovers_delete=queued:{C}/n" in warning for warning in rungs.warnings] == [True]
    assert list(cloud.queued) == [C]


def test_a_queued_resource_of_somebody_else_in_another_zone_is_of_no_concern() -> None:
    cloud = FakeCloud()
    cloud.add_queued(C, "WAITING_FOR_RESOURCES", labels={**OURS, "owner": "you"})
    rungs = ladder(cloud, candidate(A))
    assert (rungs.climb()["candidate"]["zone"], rungs.warnings, list(cloud.queued)) == (A, [], [C])


OTHERS = [
    ({"created-by": "tpuops-maxtext", "owner": "you"}, "it has created-by=tpuops-maxtext and owner=you"),
    ({"owner": "me"}, "it has no created-by and owner=me"),
    ({}, "it has no created-by and no owner"),
]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(("labels", "said"), OTHERS)
def test_a_dead_node_that_is_not_ours_stops_the_ladder(
    labels: dict[str, str], said: str, check: bool
) -> None:
    cloud = FakeCloud(check=check)
    cloud.add_node(B, "PREEMPTED", labels=labels)
    with pytest.raises(LadderError, match=f"The TPU VM n in {B}, PREEMPTED, is not ours") as stopped:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert said in str(stopped.value)
    assert f"gcloud compute tpus tpu-vm delete n --zone={B} --project=p;" in str(stopped.value)
    assert (stopped.value.failure["kind"], stopped.value.failure["reason"]) == ("precondition", "notOurs")
    assert (list(cloud.nodes), cloud.disks) == ([B], {})


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED", "WAITING_FOR_RESOURCES", "ACTIVE"])
def test_a_queued_resource_that_is_not_ours_stops_the_ladder(state: str) -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, state, labels={"owner": "you"})
    with pytest.raises(LadderError, match=f"The queued resource n in {A}, {state}, is not ours") as stopped:
        ladder(cloud, candidate(A, "queued")).climb()
    assert f"gcloud compute tpus queued-resources delete n --zone={A} --force --project=p;" in str(
        stopped.value
    )
    assert (list(cloud.queued), cloud.nodes, cloud.disks) == ([A], {}, {})


@pytest.mark.parametrize("state", ["READY", "CREATING", "STOPPED"])
@pytest.mark.parametrize(("labels", "said"), OTHERS)
def test_a_living_node_that_is_not_ours_is_left_alone(labels: dict[str, str], said: str, state: str) -> None:
    cloud = FakeCloud()
    cloud.add_node(B, state, labels=labels)
    with pytest.raises(LadderError, match=f"The TPU VM n in {B}, {state}, is not ours") as stopped:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert said in str(stopped.value)
    ours = "created-by=tpuops-maxtext,owner=me"
    command = f"gcloud compute tpus tpu-vm update n --zone={B} --project=p --update-labels={ours}"
    assert f"{command}; else name another TPU VM" in str(stopped.value)
    assert stopped.value.failure["reason"] == "notOurs"
    assert (cloud.nodes[B]["labels"], cloud.disks, cloud.asked("tpu_vm")) == (labels, {}, [])


def test_a_node_of_ours_is_kept_beside_one_of_somebody_else() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, labels={**OURS, "owner": "you"})
    cloud.add_node(B)
    rungs = ladder(cloud, candidate(A), candidate(B))
    assert (rungs.climb()["candidate"]["zone"], rungs.warnings) == (B, [])


def test_a_queued_resource_with_its_node_is_one_thing_that_is_not_ours() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "ACTIVE", labels={})
    cloud.add_node(A, queuedResource=f"projects/p/locations/{A}/queuedResources/n", labels={})
    with pytest.raises(LadderError) as stopped:
        ladder(cloud, candidate(A, "queued")).climb()
    assert str(stopped.value).count("is not ours") == 1


def test_a_disk_that_is_not_ours_stops_the_ladder() -> None:
    cloud = FakeCloud()
    cloud.add_disk(B, {**OURS, "owner": "you"})
    with pytest.raises(LadderError, match=f"The disk d in {B} is not ours") as stopped:
        ladder(cloud, candidate(A), candidate(B)).climb()
    ours = "created-by=tpuops-maxtext,owner=me"
    assert f"gcloud compute disks update d --zone={B} --project=p --update-labels={ours}; else" in str(
        stopped.value
    )
    assert (cloud.nodes, cloud.disks[B]["labels"]["owner"]) == ({}, "you")


def test_a_disk_that_is_not_ours_is_not_attached_to_a_node_that_is_there() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, dataDisks=[{"sourceDisk": f"projects/p/zones/{A}/disks/another"}])
    cloud.add_disk(A, {})
    with pytest.raises(LadderError, match=f"The disk d in {A} is not ours"):
        ladder(cloud, candidate(A)).climb()
    assert (cloud.asked("tpu_vm"), cloud.asked("gcp_disk")) == ([], [])


def test_a_disk_of_ours_is_taken_and_that_of_somebody_else_in_another_zone_is_not() -> None:
    cloud = FakeCloud()
    cloud.add_disk(A, {})
    cloud.add_disk(B)
    assert ladder(cloud, candidate(A), candidate(B)).climb()["candidate"]["zone"] == B


def test_what_is_not_ours_is_only_in_the_way_where_a_candidate_is_tried() -> None:
    cloud = FakeCloud()
    cloud.add_disk(A)
    cloud.add_node(B, "PREEMPTED", labels={})
    cloud.add_queued(B, "FAILED", labels={})
    assert ladder(cloud, candidate(A), candidate(B)).climb()["candidate"]["zone"] == A
    assert (sorted(cloud.nodes), list(cloud.queued)) == ([A, B], [B])


def test_a_node_of_somebody_else_that_goes_already_is_waited_for() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, "DELETING", labels={})
    assert ladder(cloud, candidate(A)).climb()["node"]["state"] == "READY"


def test_an_api_that_is_off_has_nothing_in_a_check_run_and_on_the_way_down() -> None:
    off = {"failed": True, "msg": "off", "failure": {"kind": "api_disabled"}}
    cloud = FakeCloud(check=True)
    cloud.tpu_vm_info = cloud.tpu_queued_resource_info = lambda *_: off  # type: ignore[method-assign]
    cloud.gcp_disk_info = lambda *_: off  # type: ignore[method-assign]
    assert ladder(cloud, candidate(A)).climb()["candidate"]["zone"] == A
    cloud.check = False
    assert descent(cloud, candidate(A)).descend("d")["changed"] is False
    with pytest.raises(ModuleFailed, match="off"):
        ladder(cloud, candidate(A)).climb()


def test_what_a_dead_node_of_ours_comes_from_is_ours_too() -> None:
    cloud = FakeCloud()
    cloud.add_queued(
        A, "SUSPENDED", labels={**OURS, "owner": "you"}
    )  # who asked for it, before we took it on
    cloud.add_node(A, "PREEMPTED", queuedResource=f"projects/p/locations/{A}/queuedResources/n")
    ladder(cloud, candidate(A)).climb()
    assert (cloud.queued, cloud.nodes[A]["state"]) == ({}, "READY")


def test_data_pin_the_ladder_to_their_zone() -> None:
    cloud = FakeCloud(refuses={(B, "on-demand"): "stockout"})
    cloud.add_disk(B)
    rungs = ladder(cloud, candidate(A), candidate(B), candidate(B, "spot"))
    result = rungs.climb()
    assert (result["candidate"]["zone"], result["candidate"]["provisioning"]) == (B, "spot")
    assert result["pinned"] == {"disk": "d", "zone": B}
    assert ["The disk d" in warning and B in warning for warning in rungs.warnings] == [True]
    assert (cloud.asked("tpu_vm"), list(cloud.disks)) == ([B, B], [B])
    pinned = [arguments for name, arguments, _ in cloud.calls if name == "gcp_disk"]
    assert all("type" not in arguments for arguments in pinned)  # it has one


def test_data_where_no_candidate_is_are_an_error() -> None:
    cloud = FakeCloud()
    cloud.add_disk(C)
    with pytest.raises(LadderError, match=f"The disk d, with its data, is in {C}, where no candidate is"):
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert cloud.nodes == {}


def test_a_disk_of_somebody_else_in_another_zone_is_of_no_concern() -> None:
    cloud = FakeCloud()
    cloud.add_disk(C, {**OURS, "owner": "you"})
    assert ladder(cloud, candidate(A)).climb()["candidate"]["zone"] == A


def test_two_disks_of_the_name_are_an_error() -> None:
    cloud = FakeCloud()
    cloud.add_disk(A)
    cloud.add_disk(B)
    with pytest.raises(LadderError, match=f"in each of {A}, {B}"):
        ladder(cloud, candidate(A), candidate(B)).climb()


def test_each_candidate_has_its_own_time() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "timeout"})
    result = ladder(cloud, candidate(A, timeout=60), candidate(B, timeout=90)).climb()
    assert (result["candidate"]["zone"], kinds(result)) == (B, [(A, "timeout")])
    assert (list(cloud.nodes), list(cloud.disks)) == ([B], [B])
    times = [
        arguments["wait_timeout"]
        for name, arguments, _ in cloud.calls
        if name == "tpu_vm" and "labels" in arguments
    ]
    assert times == [60, 90, 60, 90]  # checked, then asked for
    gone = [name for name, arguments, _ in cloud.calls if arguments.get("state") == "absent"]
    assert gone == ["tpu_vm", "gcp_disk"]


def test_the_last_one_goes_on_when_its_time_is_up_and_is_waited_for_again() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "stockout", (B, "queued"): "timeout"})
    places = (candidate(A), candidate(B, "queued"))
    with pytest.raises(LadderError) as failed:
        ladder(cloud, *places).climb()
    assert failed.value.failure["kind"] == "timeout"
    assert (list(cloud.queued), list(cloud.disks)) == ([B], [B])
    cloud.calls.clear()
    cloud.refuses = {}
    result = ladder(cloud, *places).climb()
    assert (result["candidate"]["zone"], result["refusals"], cloud.asked("tpu_vm")) == (B, [], [B])


def test_a_queued_one_that_is_given_up_is_deleted() -> None:
    cloud = FakeCloud(refuses={(A, "queued"): "timeout"})
    result = ladder(cloud, candidate(A, "queued", spot=True, valid_for=3600), candidate(B)).climb()
    assert (cloud.queued, list(cloud.disks), result["candidate"]["zone"]) == ({}, [B], B)
    [asked] = [
        arguments
        for name, arguments, _ in cloud.calls
        if name == "tpu_queued_resource" and "labels" in arguments
    ]
    assert (asked["spot"], asked["valid_until_duration"]) == (True, "3600s")


def test_a_queued_one_ends_in_its_node() -> None:
    cloud = FakeCloud()
    result = ladder(cloud, candidate(A, "queued")).climb()
    assert (result["node"]["state"], len(result["workers"])) == ("READY", 1)
    assert "spot" not in [arguments for name, arguments, _ in cloud.calls if name == "tpu_vm"][-1]
    assert ladder(cloud, candidate(A, "queued")).climb()["changed"] is False


def test_what_cannot_be_taken_back_stops_the_ladder() -> None:
    cloud = FakeCloud(refuses={(A, "on-demand"): "stockout"})
    cloud._gone = lambda *_: {"failed": True, "msg": "no", "failure": {"kind": "transport"}}  # type: ignore[method-assign]
    with pytest.raises(LadderError, match="could not be deleted: no") as stopped:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert stopped.value.failure["kind"] == "transport"
    assert cloud.asked("tpu_vm") == [A]


@pytest.mark.parametrize("provisioning", ["on-demand", "queued"])
def test_a_check_run_predicts_the_first_and_makes_nothing(provisioning: str) -> None:
    cloud = FakeCloud(check=True)
    cloud.add_node(B, "PREEMPTED")
    result = ladder(cloud, candidate(A, provisioning), candidate(B)).climb()
    assert (result["changed"], result["candidate"]["zone"]) == (True, A)
    assert (list(cloud.nodes), cloud.disks, cloud.queued) == ([B], {}, {})
    assert [change.split()[0] for change in result["changes"]] == ["delete", "create", "create"]


def test_a_node_without_a_disk() -> None:
    cloud = FakeCloud()
    result = ladder(cloud, candidate(A), disk=None).climb()
    assert (result["changes"], cloud.disks) == ([f"create the TPU VM n in {A}"], {})
    assert "data_disks" not in cloud.calls[-1][1]


def test_hyperdisk_for_what_takes_nothing_else() -> None:
    cloud = FakeCloud()
    ladder(cloud, Candidate(A, "v6e-8", "v2-alpha-tpuv6e")).climb()
    assert cloud.disks[A]["type"] == "hyperdisk-balanced"


def test_down_finds_the_node_wherever_it_is_and_keeps_the_disk() -> None:
    cloud = FakeCloud()
    cloud.add_node(B)
    cloud.add_disk(B)
    cloud.add_queued(C, "WAITING_FOR_RESOURCES")
    rungs = descent(cloud, candidate(A), candidate(B), candidate(C, "queued"))
    assert rungs.descend()["changed"] is True
    assert (cloud.nodes, cloud.queued, list(cloud.disks)) == ({}, {}, [B])
    assert descent(cloud, candidate(A), candidate(B)).descend()["changed"] is False


def test_down_finds_what_waits_for_a_candidate_that_is_off_the_list() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "WAITING_FOR_RESOURCES")
    cloud.add_queued(B, "FAILED")
    cloud.add_queued(C, "WAITING_FOR_RESOURCES", labels={**OURS, "owner": "you"})
    rungs = descent(cloud, candidate(A))
    assert rungs.descend()["changed"] is True
    assert (list(cloud.queued), rungs.warnings) == ([C], [])
    assert [name for name, _, _ in cloud.calls if name.endswith("_info")] == [
        "tpu_vm_info",
        "tpu_queued_resource_info",
        "tpu_vm_info",  # where no candidate is
    ]


def test_down_leaves_a_queued_resource_that_is_not_ours_and_says_so() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "WAITING_FOR_RESOURCES", labels={})
    rungs = descent(cloud, candidate(A))
    assert rungs.descend()["changed"] is False
    assert list(cloud.queued) == [A]
    assert ["is not ours" in warning and "--force" in warning for warning in rungs.warnings] == [True]


def test_down_leaves_what_is_not_ours_and_says_so() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, labels={**OURS, "owner": "you"})
    cloud.add_disk(A, {})
    rungs = descent(cloud, candidate(A))
    result = rungs.descend("d")
    assert (result["changed"], result["kept"]) == (False, rungs.warnings)
    assert (list(cloud.nodes), list(cloud.disks)) == ([A], [A])
    node, disk = result["kept"]
    assert node.startswith(f"The TPU VM n in {A}, READY, is not ours")
    assert node.endswith(
        f"If nobody needs it, delete it with gcloud compute tpus tpu-vm delete n --zone={A} --project=p"
    )
    assert disk.startswith(f"The disk d in {A} is not ours")
    assert disk.endswith(f"delete it with gcloud compute disks delete d --zone={A} --project=p")


def test_down_deletes_the_queued_resource_of_a_node_with_it() -> None:
    cloud = FakeCloud()
    cloud.add_queued(A, "ACTIVE", labels={})
    cloud.add_node(A, queuedResource=f"projects/p/locations/{A}/queuedResources/n")
    rungs = descent(cloud, candidate(A))
    assert (rungs.descend()["changed"], rungs.warnings) == (True, [])
    assert (cloud.queued, cloud.nodes) == ({}, {})


def test_down_leaves_the_queued_resource_of_a_node_that_somebody_took_over() -> None:
    """Its labels still say that it is ours, as they cannot change."""
    cloud = FakeCloud()
    cloud.add_queued(A, "ACTIVE")
    maker = f"projects/p/locations/{A}/queuedResources/n"
    cloud.add_node(A, queuedResource=maker, labels={**OURS, "owner": "you"})
    rungs = descent(cloud, candidate(A))
    assert rungs.descend()["changed"] is False
    assert (list(cloud.queued), list(cloud.nodes)) == ([A], [A])
    assert "owner=you" in rungs.warnings[0]


def test_a_node_is_stopped_wherever_it_is_and_once() -> None:
    cloud = FakeCloud()
    cloud.add_node(B)
    cloud.add_queued(C, "WAITING_FOR_RESOURCES")
    cloud.check = True
    assert descent(cloud, candidate(A), candidate(B)).stop()["changed"] is True
    assert cloud.nodes[B]["state"] == "READY"
    cloud.check = False
    stopped = descent(cloud, candidate(A), candidate(B)).stop()
    assert (stopped["changed"], cloud.nodes[B]["state"], list(cloud.queued)) == (True, "STOPPED", [C])
    assert [diff["after_header"] for diff in stopped["diff"]] == [f"TPU VM n in {B}"]
    assert descent(cloud, candidate(A), candidate(B)).stop()["changed"] is False


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED", "DELETING"])
def test_what_no_longer_runs_is_not_stopped(state: str) -> None:
    cloud = FakeCloud()
    cloud.add_node(A, state)
    with pytest.raises(LadderError, match=f"no TPU VM n of yours to stop in {A}, {B}") as error:
        descent(cloud, candidate(A), candidate(B)).stop()
    assert (error.value.failure["kind"], cloud.nodes[A]["state"]) == ("not_found", state)


def test_a_node_that_is_not_ours_is_not_stopped() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, labels={**OURS, "owner": "you"})
    rungs = descent(cloud, candidate(A))
    with pytest.raises(LadderError, match="no TPU VM n of yours"):
        rungs.stop()
    assert (cloud.nodes[A]["state"], len(rungs.warnings)) == ("READY", 1)
    assert rungs.warnings[0].startswith(f"The TPU VM n in {A}, READY, is not ours")


def test_a_node_to_stop_where_no_candidate_is_is_named() -> None:
    cloud = FakeCloud()
    cloud.add_node(C)
    with pytest.raises(
        LadderError, match=f"Your TPU VM n is in {C}, READY, where no candidate is, and stays"
    ):
        descent(cloud, candidate(A)).stop()
    cloud.add_node(A)
    rungs = descent(cloud, candidate(A))
    assert rungs.stop()["left"] == []
    assert [f"is in {C}, READY, where no candidate is" in each for each in rungs.warnings] == [True]


def test_what_may_run_beside_a_node_that_is_stopped_is_left() -> None:
    cloud = FakeCloud(silent={B: "unavailable"})
    cloud.add_node(A)
    result = descent(cloud, candidate(A), candidate(B)).stop()
    assert result["told"] == f"Stopped: TPU VM n in {A}."
    assert result["left"] == [
        f"Whether there is a TPU VM n in {B} is not known: no answer. If there is, it costs money: run again."
    ]
    cloud = FakeCloud()
    cloud.add_node(A, "STOPPED")
    assert (
        descent(cloud, candidate(A)).stop()["told"] == f"Stopped nothing: TPU VM n in {A} is stopped already."
    )


def test_down_deletes_the_disk_that_is_named() -> None:
    cloud = FakeCloud()
    cloud.add_disk(B)
    assert descent(cloud, candidate(A), candidate(B)).descend("d")["changed"] is True
    assert cloud.disks == {}


def test_down_does_not_choose_between_two_disks() -> None:
    cloud = FakeCloud()
    cloud.add_disk(A)
    cloud.add_disk(B)
    with pytest.raises(LadderError, match=f"in each of {A}, {B}"):
        descent(cloud, candidate(A), candidate(B)).descend("d")
    assert list(cloud.disks) == [A, B]


# ---- zones that do not answer


def test_a_zone_without_an_answer_is_passed_over_and_told() -> None:
    cloud = FakeCloud(silent={A: "unavailable"})
    rungs = ladder(cloud, candidate(A), candidate(B))
    result = rungs.climb()
    assert (result["candidate"]["zone"], kinds(result)) == (B, [(A, "unavailable")])
    assert (list(cloud.nodes), list(cloud.disks)) == ([B], [B])
    assert any(f"candidates in {A} are not tried" in warning for warning in rungs.warnings)


def test_a_node_is_kept_beside_a_zone_without_an_answer() -> None:
    cloud = FakeCloud(silent={A: "transport"})
    cloud.add_node(B)
    assert ladder(cloud, candidate(A), candidate(B), disk=None).climb()["candidate"]["zone"] == B


def test_data_in_a_zone_without_an_answer_are_waited_for() -> None:
    """Another zone would get a blank disk, and the run would begin anew."""
    cloud = FakeCloud(silent={A: "unavailable"})
    cloud.add_disk(A)
    with pytest.raises(LadderError, match="no answer"):
        ladder(cloud, candidate(A), candidate(B)).climb()
    cloud = FakeCloud(lost=[A])
    cloud.add_disk(A)
    with pytest.raises(LadderError, match=f"d was not found, and Google could not ask {A}") as error:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert (error.value.failure["kind"], cloud.nodes, list(cloud.disks)) == ("unavailable", {}, [A])


def test_data_in_a_zone_that_answers_need_no_other() -> None:
    cloud = FakeCloud(lost=[A])
    cloud.add_disk(B)
    assert ladder(cloud, candidate(A), candidate(B)).climb()["candidate"]["zone"] == B


@pytest.mark.parametrize("kind", ["location", "permission"])
def test_a_zone_that_would_fail_again_stops_the_ladder(kind: str) -> None:
    cloud = FakeCloud(silent={A: kind})
    with pytest.raises(LadderError, match=f"{A}: no answer") as error:
        ladder(cloud, candidate(A), candidate(B)).climb()
    assert (error.value.failure["kind"], cloud.nodes, cloud.disks) == (kind, {}, {})


@pytest.mark.parametrize("kind", ["unavailable", "location"])
def test_down_deletes_in_the_zones_that_answer_and_names_the_others(kind: str) -> None:
    cloud = FakeCloud(silent={A: kind})
    cloud.add_node(A)
    cloud.add_node(B)
    result = descent(cloud, candidate(A), candidate(B)).descend()
    assert (result["changed"], list(cloud.nodes)) == (True, [A])
    assert result["told"] == f"Deleted: TPU VM n in {B}."
    assert result["left"] == [
        f"Whether there is a TPU VM n in {A} is not known: no answer. If there is, it costs money: run again."
    ]


# ---- what teardown says


def test_down_says_what_it_deleted_and_what_it_would_delete() -> None:
    cloud = FakeCloud(check=True)
    cloud.add_node(A)
    cloud.add_disk(A)
    everything = f"TPU VM n in {A}, disk d in {A}."
    predicted = descent(cloud, candidate(A)).descend("d")
    assert (predicted["told"], predicted["left"]) == (f"Would delete: {everything}", [])
    cloud.check = False
    done = descent(cloud, candidate(A)).descend("d")
    assert (done["told"], done["left"]) == (f"Deleted: {everything}", [])
    assert predicted["diff"] == done["diff"]


def test_down_says_that_there_is_nothing_at_all() -> None:
    cloud = FakeCloud()
    cloud.add_node(C, name="another", labels={**OURS, "owner": "you"})
    cloud.add_node(B, labels={**OURS, "owner": "you"})  # where no candidate is, it is of no concern
    result = descent(cloud, candidate(A)).descend()
    told = "Deleted nothing: there is no TPU VM n of yours in any zone, and no other that has owner=me."
    assert result["told"] == told
    assert (result["changed"], result["left"], result["doubt"]) == (False, [], "")


def test_a_second_time_down_says_that_the_node_is_gone() -> None:
    """What one owns besides makes the name no wrong one: Google remembers that there was such a node."""
    cloud = FakeCloud()
    cloud.add_node(A)
    cloud.add_node(C, name="another")
    assert descent(cloud, candidate(A)).descend()["left"] == []
    again = descent(cloud, candidate(A)).descend()
    assert (again["changed"], again["left"], again["doubt"]) == (False, [], "")
    told = f"Google remembers that it was deleted in {A} at {LATER}. You have: another in {C}, READY."
    assert again["told"] == f"Deleted nothing: there is no TPU VM n of yours in any zone. {told}"


def test_a_name_that_was_somebody_elses_is_doubted() -> None:
    cloud = FakeCloud()
    cloud.add_node(C, name="another")
    cloud.history = [operation(A, "create", MADE, {**OURS, "owner": "you"}), operation(A, "delete", LATER)]
    assert descent(cloud, candidate(A)).descend()["doubt"] == (
        f"tpu_vm_name: Google has no TPU VM n of yours in {A}. Google remembers a TPU VM n in {A} until "
        f"{LATER}. It was not yours: it had owner=you, yours have owner=me. You have: another in {C}, "
        "READY. Name the one to delete with -e tpu_vm_name=NAME."
    )


def test_a_name_that_nobody_knows_is_doubted_where_one_has_other_nodes() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, name="another")
    cloud.add_node(C, "PREEMPTED", name="third")
    cloud.add_node(B, name="strange", labels={**OURS, "owner": "you"})
    result = descent(cloud, candidate(A), candidate(B)).descend()
    assert (result["changed"], result["left"], sorted(cloud.nodes)) == (False, [], sorted([A, B, C]))
    assert result["told"] == "Deleted nothing: there is no TPU VM n of yours in any zone."
    assert result["doubt"] == (
        f"tpu_vm_name: Google has no TPU VM n in {A}, {B}, and remembers none. "
        f"You have: another in {A}, READY; third in {C}, PREEMPTED. "
        "Name the one to delete with -e tpu_vm_name=NAME."
    )


@pytest.mark.parametrize("state", ["READY", "CREATING", "STOPPED", "PREEMPTED"])
def test_a_node_of_ours_where_no_candidate_is_is_left_and_named(state: str) -> None:
    cloud = FakeCloud()
    cloud.add_node(C, state)
    result = descent(cloud, candidate(A), candidate(B)).descend()
    assert (result["changed"], list(cloud.nodes)) == (False, [C])
    assert result["told"] == f"Deleted nothing: there is no TPU VM n of yours in {A}, {B}."
    assert result["left"] == [
        f"Your TPU VM n is in {C}, {state}, where no candidate is, and stays. Delete it: ansible-playbook "
        f"tpuops.maxtext.leftovers -e leftovers_delete=node:{C}/n"
    ]


def test_a_node_that_goes_elsewhere_already_is_not_left() -> None:
    cloud = FakeCloud()
    cloud.add_node(C, "DELETING")
    assert descent(cloud, candidate(A)).descend()["left"] == []


def test_a_node_elsewhere_is_told_beside_one_that_is_deleted() -> None:
    """It may well be another run's, so what was asked for is done."""
    cloud = FakeCloud()
    cloud.add_node(A)
    cloud.add_node(C)
    rungs = descent(cloud, candidate(A))
    result = rungs.descend()
    assert (result["changed"], result["left"], list(cloud.nodes)) == (True, [], [C])
    assert ["is in us-central1-a, READY, where no candidate is" in each for each in rungs.warnings] == [True]


def test_a_queued_resource_elsewhere_that_has_its_node_is_one_thing_with_it() -> None:
    cloud = FakeCloud()
    cloud.add_queued(C, "ACTIVE")
    cloud.add_node(C, queuedResource=f"projects/p/locations/{C}/queuedResources/n")
    rungs = descent(cloud, candidate(A))
    (left,) = rungs.descend()["left"]
    assert f"leftovers_delete=node:{C}/n" in left
    assert rungs.warnings == []


@pytest.mark.parametrize("there", [True, False])
def test_google_may_not_say_what_is_in_the_other_zones(there: bool) -> None:
    """What the candidates' zones had is deleted all the same; else nobody knows whether something is left."""
    cloud = FakeCloud(silent={"-": "unavailable"})
    if there:
        cloud.add_node(A)
    rungs = descent(cloud, candidate(A))
    result = rungs.descend()
    told = f"Whether there is a TPU VM n of yours outside {A} is not known: no answer."
    told += " If there is, it costs money."
    assert (result["changed"], result["left"]) == (there, [] if there else [f"{told} Run again."])
    assert [told in warning for warning in rungs.warnings] == ([True] if there else [])


def test_a_node_of_somebody_else_that_stays_alone_is_left() -> None:
    cloud = FakeCloud()
    cloud.add_node(A, labels={**OURS, "owner": "you"})
    cloud.add_node(B)
    assert descent(cloud, candidate(A), candidate(B)).descend()["left"] == []
    (left,) = descent(cloud, candidate(A), candidate(B)).descend()["left"]
    assert left.startswith(f"The TPU VM n in {A}, READY, is not ours")


@pytest.mark.parametrize(
    ("where", "labels", "said"),
    [
        ("", OURS, "There is no disk d of yours to delete"),
        (A, {}, "The disk d in us-west1-c is not ours"),
        (C, OURS, "-e leftovers_delete=disk:us-central1-a/d"),
        (C, {}, "There is no disk d of yours to delete"),
    ],
)
def test_a_disk_that_is_named_and_not_deleted_is_left(where: str, labels: dict[str, str], said: str) -> None:
    cloud = FakeCloud()
    cloud.add_node(A)
    if where:
        cloud.add_disk(where, labels)
    result = descent(cloud, candidate(A), candidate(B)).descend("d")
    assert (cloud.nodes, list(cloud.disks)) == ({}, [where] if where else [])
    (left,) = result["left"]
    assert said in left


def test_a_disk_where_google_does_not_look_is_left() -> None:
    cloud = FakeCloud(lost=[B])
    cloud.add_disk(B)
    (left,) = descent(cloud, candidate(A), candidate(B)).descend("d")["left"]
    assert f"Google could not ask {B}: run again" in left
