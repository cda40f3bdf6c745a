# SPDX-License-Identifier: GPL-3.0-or-later
"""The program behind `make test`: which stages run at once, and that nothing that broke counts as passed."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import run
from tests.run import Count, Stage

PASSED = Count(passed=1, seconds={"test": 1.5})


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Stage]:
    """The stages that there are: none, until a test adds some."""
    found: dict[str, Stage] = {}
    monkeypatch.setattr(run, "STAGES", found)
    monkeypatch.setattr(run, "EXTRA", ("long",))
    monkeypatch.setattr(run, "REPORTS", tmp_path)
    # Its names are those of the real stages.
    monkeypatch.setattr(run.main.params[0], "type", str)
    return found


def test_what_a_stage_waits_for(stages: dict[str, Stage]) -> None:
    for name, heavy, after in (("a", True, ()), ("b", True, ()), ("c", False, ("a",)), ("d", False, ())):
        stages[name] = Stage(lambda: PASSED, heavy, after)
    assert run.next_stage(["a", "b", "c", "d"], []) == "a"
    assert run.next_stage(["b", "c", "d"], ["a"]) == "d"  # b is heavy too, c waits for a
    assert run.next_stage(["b", "c"], ["a", "d"]) is None
    assert run.next_stage(["b", "c"], ["d"]) == "b"
    assert run.next_stage(["c"], ["b"]) == "c"


def test_two_heavy_stages_never_run_at_once(stages: dict[str, Stage]) -> None:
    heavy, others = threading.Lock(), threading.Barrier(2)

    def work() -> Count:
        if not heavy.acquire(blocking=False):
            others.abort()  # else the light ones would wait for ever
            raise AssertionError("two heavy stages run at once")
        others.wait()  # for the light one that runs beside it
        heavy.release()
        return PASSED

    def beside() -> Count:
        others.wait()
        return PASSED

    stages |= {"a": Stage(work, heavy=True), "b": Stage(work, heavy=True)}
    stages |= {"c": Stage(beside), "d": Stage(beside)}
    results = run.play_all(list(stages))
    assert {name: result.count.passed for name, result in results.items()} == dict.fromkeys("abcd", 1)


def test_a_light_stage_leaves_the_cores_to_the_heavy_one(stages: dict[str, Stage], tmp_path: Path) -> None:
    """The heavy ones take the longest. A stage that runs alone has nobody to leave them to."""
    programs: dict[str, int] = {}

    def work(name: str) -> Count:
        own = tmp_path / f"{name}.nice"
        run.run([sys.executable, "-c", f"import os; open({str(own)!r}, 'w').write(str(os.nice(0)))"])
        programs[name] = int(own.read_text())
        return PASSED

    stages |= {"heavy": Stage(lambda: work("heavy"), heavy=True), "light": Stage(lambda: work("light"))}
    run.play_all(["heavy", "light"])
    # These tests are a light stage themselves; 19 is the most that there is.
    here = os.nice(0)
    assert programs == {"heavy": here, "light": min(here + run.NICE, 19)}
    run.play_all(["light"])
    assert programs["light"] == here


def test_a_stage_that_breaks_is_a_failure_and_the_others_go_on(
    stages: dict[str, Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off() -> Count:
        raise OSError("no space left")

    stages |= {"a": Stage(break_off), "b": Stage(lambda: PASSED, after=("a",)), "long": Stage(break_off)}
    done = CliRunner().invoke(run.main)
    assert done.exit_code == 1
    assert "FAILED a: OSError: no space left" in done.output
    assert done.output.endswith("\n1 passed, 1 failed, 0 skipped\n")

    play = run.play_aside
    monkeypatch.setattr(run, "play_aside", lambda name: break_off() if name == "a" else play(name))
    stages["a"] = Stage(lambda: PASSED)
    done = CliRunner().invoke(run.main)
    assert "FAILED a: OSError: no space left" in done.output
    assert done.output.endswith("\n1 passed, 1 failed, 0 skipped\n")

    monkeypatch.setattr(run, "play_all", lambda chosen: {"b": run.Result(PASSED, 1.0)})
    done = CliRunner().invoke(run.main)
    assert "FAILED a: it did not run" in done.output
    assert done.exit_code == 1


def test_the_table_has_each_stage_and_the_slowest_tests(stages: dict[str, Stage]) -> None:
    stages |= {"a": Stage(lambda: PASSED), "b": Stage(lambda: Count(failed=1, seconds={"slow": 9.0}))}
    done = CliRunner().invoke(run.main)
    assert "stage       tests  seconds" in done.output
    assert done.output.index("     9.0  slow") < done.output.index("     1.5  test")


def test_a_test_that_failed_twice_is_told_twice(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    case = '<testcase classname="c" name="t" time="1"><{0} message="{0} of it"/></testcase>'
    report.write_text(
        f'<testsuites><testsuite tests="2" failures="1" errors="1" skipped="0">{case.format("failure")}'
        f"{case.format('error')}</testsuite></testsuites>"
    )
    count = run.read_junit(report)
    assert (count.passed, count.failed) == (0, 2)
    assert count.failures == ("c::t: failure of it", "c::t: error of it")
