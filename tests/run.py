# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs everything that guards the project: `python -m tests.run [STAGE...]`. Closes with what failed and with
the count of tests.

A lint command counts as one test, a molecule scenario's action too; everything else is counted by pytest.
Stages of different tracks run side by side; their output then goes to build/tests/STAGE.log and is shown when
the stage ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import click

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "tests"


@dataclass
class Count:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    # What failed and why, a sentence each: told again at the end, where a reader of a long log looks first.
    failures: tuple[str, ...] = ()

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


# Where a stage's commands write: the terminal, unless another stage runs at the same time.
OUTPUT: ContextVar[IO[str] | None] = ContextVar("OUTPUT", default=None)


def run(command: list[str], **environment: str) -> int:
    file = OUTPUT.get()
    click.secho(f"$ {' '.join(command)}", bold=True, file=file)
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, stdout=file, stderr=file, check=False
    ).returncode


def check(command: list[str], **environment: str) -> Count:
    """A command that passes or fails as a whole."""
    if status := run(command, **environment):
        return Count(failed=1, failures=(f"{' '.join(command)}: exit status {status}",))
    return Count(passed=1)


def read_junit(report: Path) -> Count:
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    count = Count()
    for suite in suites:
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        failures = tuple(
            f"{case.get('classname')}::{case.get('name')}: {reason.get('message')}"
            for case in suite.iter("testcase")
            for reason in (*case.iter("failure"), *case.iter("error"))
        )
        count += Count(total - failed - skipped, failed, skipped, failures)
    return count


def pytest(*arguments: str) -> Count:
    report = REPORTS / (re.sub(r"\W+", "-", arguments[0]) + ".xml")
    report.unlink(missing_ok=True)
    status = run([sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments])
    count = read_junit(report) if report.exists() else Count()
    # A run that broke outside of any test must not pass for a green one.
    if count.failed or (report.exists() and not status):
        return count
    return count + Count(failed=1, failures=(f"pytest {' '.join(arguments)}: exit status {status}",))


def lint() -> Count:
    programs = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/files/*.py"))
    python = ["plugins", "localcloud", "tests", "bench", *programs, "scripts/lock-environments"]
    return sum(
        (
            # The local inventory can be read only while a local cloud is up.
            check(command, ANSIBLE_INVENTORY="inventories/gcp", GCP_PROJECT="")
            for command in (
                ["ruff", "check", "."],
                ["ruff", "format", "--check", "."],
                ["mypy", *python],
                ["ansible-lint", "--offline", "--strict"],
                ["antsibull-changelog", "lint"],
                ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "."],
            )
        ),
        start=Count(),
    )


def unit() -> Count:
    return pytest("tests/unit")


def contract() -> Count:
    return pytest("tests/contract")


def machines() -> Count:
    return pytest("tests/machines")


def molecule() -> Count:
    for report in REPORTS.glob("molecule-*.xml"):
        report.unlink()
    count = check(["molecule", "test", "--all"])
    return sum(map(read_junit, sorted(REPORTS.glob("molecule-*.xml"))), start=count)


def e2e() -> Count:
    return pytest("tests/e2e")


STAGES: dict[str, Callable[[], Count]] = {
    stage.__name__: stage for stage in (lint, unit, contract, machines, molecule, e2e)
}
# One after the other, what is soon over first; the tracks of a phase at once, for each stage that needs a
# local cloud has one of its own.
PHASES = ((("lint",), ("unit",)), (("contract", "e2e"), ("machines", "molecule")))


def play(name: str) -> Count:
    """Run a stage and say how it went."""
    file = OUTPUT.get()
    click.secho(f"\n== {name}", bold=True, file=file)
    started = time.monotonic()
    count = STAGES[name]()
    seconds = time.monotonic() - started
    click.secho(f"== {name}: {count} in {seconds:.0f} s", fg="red" if count.failed else "green", file=file)
    return count


def play_aside(names: Iterable[str]) -> Count:
    """Run stages while others run: what a stage prints is shown in one piece at its end."""
    total = Count()
    for name in names:
        log = REPORTS / f"{name}.log"
        with log.open("w", encoding="utf-8", buffering=1) as file:
            OUTPUT.set(file)
            total += play(name)
        click.echo(log.read_text(encoding="utf-8", errors="replace"), nl=False)
    return total


def play_phase(tracks: Sequence[Sequence[str]]) -> Count:
    if len(tracks) < 2:
        return sum((play(name) for track in tracks for name in track), start=Count())
    click.echo(
        f"\nAt once: {'; '.join(' and then '.join(track) for track in tracks)}. Their output: {REPORTS}/*.log"
    )
    with ThreadPoolExecutor(len(tracks)) as pool:
        return sum(pool.map(play_aside, tracks), start=Count())


@click.command()
@click.argument("stages", nargs=-1, type=click.Choice(list(STAGES)))
def main(stages: tuple[str, ...]) -> None:
    """Run the STAGES, by default all of them."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    chosen = stages or tuple(STAGES)
    total = Count()
    for phase in PHASES:
        tracks = [[name for name in track if name in chosen] for track in phase]
        total += play_phase([track for track in tracks if track])
    for failure in total.failures:
        click.secho(f"\nFAILED {failure}", fg="red")
    click.echo(f"\n{total}")
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
