# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of armed faults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localcloud.faults import KINDS, SELECTORS, Faults
from localcloud.state import Store

CREATE = {"api": "tpu", "method": "tpu.projects.locations.nodes.create", "zone": "us-west1-c"}


@pytest.fixture
def faults() -> Faults:
    return Faults(Store())


def test_a_fault_strikes_as_often_as_asked(faults: Faults) -> None:
    faults.arm("error-503", {}, count=2)
    assert [bool(faults.meet("call", **CREATE)) for _ in range(3)] == [True, True, False]
    assert faults.armed() == []


def test_a_fault_without_a_count_strikes_until_it_is_cleared(faults: Faults) -> None:
    fault = faults.arm("error-503", {})
    assert [faults.meet("call", **CREATE) for _ in range(3)] == [
        fault,
        replace(fault, struck=1),
        replace(fault, struck=2),
    ]
    assert faults.clear([fault.name]) == [replace(fault, struck=3)]
    assert faults.meet("call", **CREATE) is None


@pytest.mark.parametrize(
    ("where", "struck"),
    [
        ({}, True),
        ({"api": "tpu"}, True),
        ({"api": "compute"}, False),
        ({"method": "*.nodes.create"}, True),
        ({"method": "*.nodes.delete"}, False),
        ({"zone": "us-west1-*", "method": "tpu.projects.locations.nodes.create"}, True),
        ({"zone": "us-west4-a", "api": "tpu"}, False),
    ],
)
def test_limits_are_globs_that_must_all_match(faults: Faults, where: dict[str, str], struck: bool) -> None:
    faults.arm("error-500", where)
    assert bool(faults.meet("call", **CREATE)) is struck


def test_a_fault_strikes_only_at_its_place_and_its_methods(faults: Faults) -> None:
    faults.arm("quota", {})
    assert faults.meet("call", **{**CREATE, "method": "tpu.projects.locations.nodes.get"}) is None
    assert faults.meet("answer", **CREATE) is None
    assert faults.meet("call", **CREATE) is not None


def test_the_first_armed_strikes_first(faults: Faults) -> None:
    first, second = faults.arm("error-500", {}, count=1), faults.arm("error-503", {})
    assert [fault.name for fault in faults.armed()] == [first.name, second.name]
    assert faults.meet("call", **CREATE) == first
    assert faults.meet("call", **CREATE) == second


def test_a_lasting_fault_stays_until_it_is_cleared(faults: Faults) -> None:
    fault = faults.arm("stuck-operation", {}, count=1)
    assert faults.meet("operation", **CREATE) == fault
    assert faults.meet("operation", **CREATE) is None
    spent = faults.get(fault.name)
    assert spent is not None
    assert spent.left == 0
    faults.clear()
    assert faults.get(fault.name) is None


def test_faults_are_cleared_by_kind(faults: Faults) -> None:
    faults.arm("error-500", {})
    kept = faults.arm("slow", {})
    faults.arm("error-500", {})
    assert [fault.kind for fault in faults.clear(["error-500"])] == ["error-500", "error-500"]
    assert faults.armed() == [kept]


def test_faults_outlive_the_server(tmp_path: Path) -> None:
    store = Store(tmp_path / "state.db")
    fault = Faults(store).arm("slow", {"zone": "us-west1-c"}, count=3, seconds=0.5)
    store.close()
    assert Faults(Store(tmp_path / "state.db")).armed() == [fault]


def test_what_makes_no_sense_is_refused(faults: Faults) -> None:
    with pytest.raises(ValueError, match="there is no fault 'storm'; there are error-500"):
        faults.arm("storm", {})
    with pytest.raises(ValueError, match="stockout cannot be limited by api"):
        faults.arm("stockout", {"api": "tpu"})
    with pytest.raises(ValueError, match="error-500 has no duration"):
        faults.arm("error-500", {}, seconds=1.0)
    with pytest.raises(ValueError, match="no fault is armed under fault-9"):
        faults.clear(["fault-9"])
    assert faults.armed() == []


def test_all_selectors_are_explained() -> None:
    assert {selector for kind in KINDS.values() for selector in kind.selectors} <= set(SELECTORS)
