# SPDX-License-Identifier: GPL-3.0-or-later
"""The task tpu_workers: which hosts are a run's."""

from __future__ import annotations

import importlib
import re
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.json_types import Json

from .fakes import OURS, Task

tpu_workers: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.tpu_workers")

A, B = "us-west1-c", "us-west4-a"
THEIRS = {**OURS, "owner": "you"}


class Action(tpu_workers.ActionModule):  # type: ignore[misc]
    """The task, without an ansible-core around it."""

    def __init__(self, args: Json) -> None:
        self._task = Task(args, check_mode=False)


def worker(node: str = "n-1", zone: str = A, labels: Json = OURS) -> Json:
    return {
        "tpu_node": node,
        "tpu_project": "p",
        "tpu_zone": zone,
        "tpu_state": "READY",
        "tpu_labels": labels,
    }


def find(hostvars: Json, **args: Any) -> Json:
    groups: dict[str, list[str]] = {"tpu_vm": list(hostvars)}
    for host, variables in hostvars.items():
        groups.setdefault("node_" + variables["tpu_node"].replace("-", "_"), []).append(host)
    given = {"owner": "me", **({} if "nodes" in args else {"name": "n-1"}), **args}
    result: Json = Action(given).run(task_vars={"groups": groups, "hostvars": hostvars})
    return result


def test_the_workers_of_ones_own_node_alone() -> None:
    hosts = {
        "n-1-0": worker(),
        "n-1-1": worker(),
        "n-1.b": worker(zone=B, labels=THEIRS),
        "other": worker("other"),
    }
    found = find(hosts)
    assert (found["hosts"], found["missing"], found["changed"]) == (["n-1-0", "n-1-1"], "", False)
    assert [f"The TPU VM n-1 in {B}, READY, is not ours" in told for told in found["others"]] == [True]


FILE = "/inventory/tpu_vm.yml"


def listed(**source: Any) -> Json:
    """A check that a run would find its node n-1, in zone A or B of the project p."""
    given = {"name": "n-1", "project": "p", "zones": [A, B], "owner": "me"}
    sources = [{"file": FILE, "project": "p", "zones": [A, B], "nodes": ["n-1"], **source}]
    variables = {"groups": {}, "hostvars": {}, "_tpu_vm_sources": sources}
    result: Json = Action(given).run(task_vars=variables)
    return result


def test_a_node_that_the_inventory_will_show_may_be_made() -> None:
    sources: list[Json] = [{}, {"zones": [], "nodes": []}, {"nodes": [f"{A}/n-1"]}]
    for source in sources:
        assert not listed(**source).get("failed")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"project": "q"}, f"project: is p, but {FILE} lists the nodes of q."),
        ({"project": ""}, f"project: is p, but {FILE} lists the nodes of no project."),
        ({"zones": [A]}, f"zone: the node may be created in {B}, but {FILE} lists {A}."),
        ({"nodes": ["n-2"]}, f"tpu_vm_name: is n-1, but {FILE} lists n-2."),
        (
            {"unshared": ["access_token"]},
            f"access_token: {FILE} sets it, and the modules of a run would not use that value. Set it in "
            "gcp_auth in group_vars/all.yml beside the inventory, a secret with ansible-vault or as an "
            "environment variable (GCP_ACCESS_TOKEN), and remove it from the file.",
        ),
    ],
)
def test_a_node_that_the_inventory_would_not_show_is_not_paid_for(source: Json, message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=re.escape(message)):
        listed(**source)


def test_an_inventory_of_something_else_is_named() -> None:
    for project, message in (("p", "-i"), ("", "-i")):
        with pytest.raises(AnsibleActionFail, match=f"^inventory: .*{message}"):
            Action({"project": project}).run(task_vars={"groups": {}, "hostvars": {}})
    with pytest.raises(AnsibleActionFail, match=r"^project: is not set\..*GCP_PROJECT"):
        sources = [{"file": FILE, "project": "", "zones": [], "nodes": []}]
        Action({"project": ""}).run(task_vars={"groups": {}, "hostvars": {}, "_tpu_vm_sources": sources})


def test_a_node_whose_name_makes_the_same_group_is_another_one() -> None:
    """Where somebody names hosts by labels, or a queued resource's node has a name that Google takes."""
    found = find({"x": worker("n-1"), "y": {**worker("n-1"), "tpu_node": "n_1"}})
    assert found["hosts"] == ["x"]


@pytest.mark.parametrize("labels", [THEIRS, {}, {"owner": "me"}])
def test_a_node_of_somebody_else_is_no_place_for_a_run(labels: Json) -> None:
    found = find({"n-1": worker(labels=labels)})
    assert found["hosts"] == []
    assert "is not ours: of our labels created-by=tpuops-maxtext and owner=me it has" in found["missing"]
    assert (
        f"update n-1 --zone={A} --project=p --update-labels=created-by=tpuops-maxtext,owner=me"
        in found["missing"]
    )
    assert find({"n-1": worker(labels=THEIRS)}, labels={"owner": "you"})["hosts"] == ["n-1"]


def test_no_node_is_told() -> None:
    assert find({})["missing"].startswith("The inventory has no worker of the node n-1. Create it with")


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("STOPPED", "Start it: ansible-playbook tpuops.maxtext.site --tags tpu_vm -e tpu_vm_name=n-1."),
        (
            "PREEMPTED",
            "Create it again, with the same disk: ansible-playbook tpuops.maxtext.site "
            "--tags tpu_vm,data_disk -e tpu_vm_name=n-1.",
        ),
        ("DELETING", "Create it again"),
        ("REPAIRING", "Run the same command again in some minutes."),
    ],
)
def test_a_node_that_does_not_run_is_told_before_any_stage_waits_for_ssh(state: str, remedy: str) -> None:
    """Its workers are still found: teardown and the end of a run look at them."""
    found = find({"n-1": {**worker(), "tpu_state": state}})
    assert found["hosts"] == ["n-1"]
    assert f"the TPU VM n-1 is {state}. " in found["missing"]
    assert remedy in found["missing"]


def test_nodes_by_their_places() -> None:
    hosts = {"a": worker(), "b": worker(zone=B, labels=THEIRS), "c": worker("c", B)}
    nodes = [{"zone": B, "nodes": ["n-1", "c"]}, {"zone": A, "nodes": ["c"]}]
    assert find(hosts, nodes=nodes)["hosts"] == ["b", "c"]
    assert find(hosts, nodes=[])["hosts"] == []
