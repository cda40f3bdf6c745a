# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of error at each module that writes: what the user is told, what is left, and the second run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Description, localcloud

ZONE = "us-west4-a"
SERVICES = ["compute.googleapis.com", "tpu.googleapis.com"]
NODE = {"accelerator_type": "v5litepod-1", "runtime_version": "v2-alpha-tpuv5-lite", "wait_timeout": 60}
MODULES: dict[str, tuple[str, dict[str, Any]]] = {
    "gcp_disk": ("compute.disks.insert", {"size_gb": 10, "wait_timeout": 60}),
    "tpu_vm": ("tpu.projects.locations.nodes.create", NODE),
    "tpu_queued_resource": ("tpu.projects.locations.queuedResources.create", NODE),
}
RESULTS = {"gcp_disk": "disk", "tpu_vm": "node", "tpu_queued_resource": "queued_resource"}
Json = dict[str, Any]
Run = Callable[..., Json]


@pytest.fixture
def run(cloud: Description, run_module: Run) -> Iterator[Run]:
    """Runs a module. Both APIs are on; nothing is left."""
    run_module("gcp_services", services=SERVICES)
    yield run_module
    localcloud(Path(cloud["state_dir"]), "fault", "clear")
    run_module("tpu_queued_resource", name="faults", zone=ZONE, state="absent", force=True)
    for name in ("tpu_vm", "gcp_disk"):
        run_module(name, name="faults", zone=ZONE, state="absent")


@pytest.fixture
def fault(cloud: Description) -> Callable[..., None]:
    def arm(kind: str, *options: str) -> None:
        localcloud(Path(cloud["state_dir"]), "fault", kind, *options)

    return arm


def keep(run: Run, module: str) -> Json:
    return run(module, name="faults", zone=ZONE, **MODULES[module][1])


def is_there(run: Run, module: str) -> bool:
    """Whether anything of the name exists: a check run of its deletion would change something."""
    force = {"force": True} if module == "tpu_queued_resource" else {}
    gone = run(module, name="faults", zone=ZONE, state="absent", _ansible_check_mode=True, **force)
    return bool(gone["changed"])


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("permission", "roles/tpu.admin"),
        ("service-disabled", "tpuops.maxtext.gcp_services"),
    ],
)
def test_what_google_refuses_is_told_and_leaves_nothing(
    run: Run, fault: Callable[..., None], module: str, kind: str, said: str
) -> None:
    fault(kind, "--method", MODULES[module][0], "--count", "1")
    refused = keep(run, module)
    assert (refused["failed"], refused["failure"]["code"]) == (True, 403)
    assert refused["failure"]["kind"] == kind.replace("service-disabled", "api_disabled")
    assert said in refused["msg"]
    assert not is_there(run, module)
    assert keep(run, module)["changed"] is True
    assert keep(run, module)["changed"] is False


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    "kind", ["error-500", "error-503", "rate-limit", "drop-before", "drop", "unauthorized"]
)
def test_what_passes_by_itself_is_not_even_seen(
    run: Run, fault: Callable[..., None], module: str, kind: str
) -> None:
    fault(kind, "--method", MODULES[module][0], "--count", "1")
    made = keep(run, module)
    assert (made["changed"], bool(made[RESULTS[module]])) == (True, True)
    assert keep(run, module)["changed"] is False


@pytest.mark.parametrize(
    ("module", "kind", "failure", "said"),
    [
        ("tpu_vm", "stockout", "stockout", "another zone"),
        ("tpu_vm", "quota", "quota", "Ask for more quota"),
        ("tpu_queued_resource", "quota", "quota", "Ask for more quota"),
        ("tpu_vm", "preempted-while-creating", "preempted", "run again"),
        *((module, "failing-operation", "unavailable", "later") for module in MODULES),
    ],
)
def test_a_creation_that_fails_leaves_nothing(
    run: Run, fault: Callable[..., None], module: str, kind: str, failure: str, said: str
) -> None:
    fault(kind, "--count", "1")
    failed = keep(run, module)
    assert (failed.get("failed"), failed["failure"]["kind"]) == (True, failure)
    assert said in failed["msg"]
    assert not is_there(run, module)
    assert keep(run, module)["changed"] is True


@pytest.mark.parametrize("module", MODULES)
def test_a_wait_that_ends_names_what_goes_on_and_is_taken_up(
    run: Run, cloud: Description, fault: Callable[..., None], module: str
) -> None:
    fault("stuck-operation", "--count", "1")
    stuck = run(module, name="faults", zone=ZONE, **{**MODULES[module][1], "wait_timeout": 3})
    assert stuck["failure"]["kind"] == "timeout"
    assert stuck["failure"]["operation"]
    localcloud(Path(cloud["state_dir"]), "fault", "clear")
    taken_up = keep(run, module)
    assert (taken_up["changed"], bool(taken_up[RESULTS[module]])) == (False, True)
