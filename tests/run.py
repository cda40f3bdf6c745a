# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs everything that guards the project: `python -m tests.run [STAGE...]`.

At the end it prints the failures, a table of times and the count of tests. A lint command counts as one test,
a molecule scenario's action too; pytest counts everything else.

A stage is heavy when it runs MaxText or vLLM, which use both cores of the machine that the project is built
for: two heavy stages never run at once. Light stages spend half of their time waiting for machines and
answers, so up to three stages run at once. The heavy ones take the longest, one after the other, so the light
ones leave the cores to them. Where several stages were chosen, what each prints goes to
build/tests/STAGE.log, and is shown when the stage ends.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

import click

from tests import versions

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build" / "tests"
AT_ONCE = 3  # stages
NICE = 10  # by how much a light stage stands back where others run
SLOWEST = 10  # tests in the table of times


@dataclass
class Count:
    """The tests of a stage. seconds: of each test, by its name."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    #: What failed and why, a sentence each: shown again at the end, where a reader of a long log looks first.
    failures: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    def __add__(self, other: Count) -> Count:
        return Count(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            self.failures + other.failures,
            self.seconds | other.seconds,
        )

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


# Where a stage's commands write: the terminal, unless another stage runs at the same time.
OUTPUT: ContextVar[IO[str] | None] = ContextVar("OUTPUT", default=None)
# What its commands begin with.
PRIORITY: ContextVar[tuple[str, ...]] = ContextVar("PRIORITY", default=())


def run(command: list[str], **environment: str) -> int:
    file = OUTPUT.get()
    click.secho(f"$ {' '.join(command)}", bold=True, file=file)
    return subprocess.run(
        [*PRIORITY.get(), *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=file,
        stderr=file,
        check=False,
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
        # Not by name: a test that fails, and whose teardown fails too, has two cases.
        cases = [(f"{case.get('classname')}::{case.get('name')}", case) for case in suite.iter("testcase")]
        failures = tuple(
            f"{name}: {reason.get('message')}"
            for name, case in cases
            for reason in (*case.iter("failure"), *case.iter("error"))
        )
        seconds = {name: float(case.get("time", 0)) for name, case in cases}
        count += Count(total - failed - skipped, failed, skipped, failures, seconds)
    return count


def pytest(*arguments: str, python: Path | None = None, report_of: str = "") -> Count:
    """python: the directory of another interpreter; report_of: what its results are called."""
    report = REPORTS / (re.sub(r"\W+", "-", report_of or arguments[0]) + ".xml")
    report.unlink(missing_ok=True)
    program = str(python / "python") if python else sys.executable
    status = run([program, "-m", "pytest", "-q", f"--junitxml={report}", *arguments])
    count = read_junit(report) if report.exists() else Count()
    # A run that broke outside of any test must not count as passed.
    if count.failed or (report.exists() and not status):
        return count
    return count + Count(failed=1, failures=(f"pytest {' '.join(arguments)}: exit status {status}",))


def lint() -> Count:
    programs = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("roles/*/files/*.py"))
    python = [
        "plugins",
        "localcloud",
        "tests",
        "bench",
        *programs,
        "scripts/compile_fit.py",
        "scripts/lock-environments",
        "scripts/long_sentences.py",
        "scripts/write_accelerators.py",
        "scripts/write_variables.py",
    ]
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
    return pytest("tests/unit", "--numprocesses=2", "--dist=worksteal")


def compatible() -> Count:
    """The unit tests of the plugins on the oldest and the newest versions that users may have."""
    left_out = [f"--ignore={path}" for path in versions.LEFT_OUT]
    return sum(
        (
            pytest("tests/unit/plugins", *left_out, python=versions.environment(name), report_of=name)
            for name in versions.NAMES
        ),
        start=Count(),
    )


def sanity() -> Count:
    """All of ansible-test's sanity tests: two minutes of a core."""
    return check([sys.executable, "-m", "tests.sanity", "--python", "default"])


def contract() -> Count:
    return pytest("tests/contract")


def machines() -> Count:
    return pytest("tests/machines")


def recovery() -> Count:
    return pytest("tests/recovery")


def compiled() -> Count:
    """The training step, by the TPU's compiler: two to three minutes of a core."""
    return pytest("tests/compile")


def e2e() -> Count:
    """First of all: it builds the disk that the other heavy stages start from."""
    return pytest("tests/e2e")


def cuts() -> Count:
    return pytest("tests/cuts")


def damage() -> Count:
    return pytest("tests/damage")


def molecule() -> Count:
    for report in REPORTS.glob("molecule-*.xml"):
        report.unlink()
    count = check(["molecule", "test", "--all"])
    return sum(map(read_junit, sorted(REPORTS.glob("molecule-*.xml"))), start=count)


def soak() -> Count:
    """The long tests: not part of a run without names."""
    programs = ("tests.mutants", "bench.inventory", "tests.chaos")
    return pytest("tests", "-m", "soak") + sum(
        (check([sys.executable, "-m", program]) for program in programs), start=Count()
    )


@dataclass(frozen=True)
class Stage:
    """heavy: whether it runs MaxText or vLLM. after: the stages that must have ended before, if they run."""

    play: Callable[[], Count]
    heavy: bool = False
    after: tuple[str, ...] = ()


#: In the order in which they start, as far as `heavy` and `after` allow. Of the light ones the longest start
#: first: a long one at the end would run alone, with a core idle. `make lint unit` is the quick answer.
STAGES = {
    "e2e": Stage(e2e, heavy=True),
    "recovery": Stage(recovery),
    "contract": Stage(contract),
    "cuts": Stage(cuts, heavy=True, after=("e2e",)),
    "damage": Stage(damage, heavy=True, after=("e2e",)),
    "molecule": Stage(molecule, heavy=True, after=("e2e",)),
    "compile": Stage(compiled),
    "machines": Stage(machines),
    "sanity": Stage(sanity),
    "lint": Stage(lint),
    "compatible": Stage(compatible),
    "unit": Stage(unit),
    "soak": Stage(soak, heavy=True),
}
EXTRA = ("soak",)  # only by name


@dataclass
class Result:
    count: Count
    seconds: float


def broken(name: str, error: Exception) -> Count:
    """A stage that broke outside of its tests."""
    return Count(failed=1, failures=(f"{name}: {type(error).__name__}: {error}",))


def play(name: str) -> Result:
    """Run a stage and say how it went."""
    file = OUTPUT.get()
    click.secho(f"\n== {name}", bold=True, file=file)
    started = time.monotonic()
    try:
        count = STAGES[name].play()
    except Exception as error:  # the other stages continue
        count = broken(name, error)
    seconds = time.monotonic() - started
    click.secho(f"== {name}: {count} in {seconds:.0f} s", fg="red" if count.failed else "green", file=file)
    return Result(count, seconds)


def play_aside(name: str) -> Result:
    """Run a stage while others run: what it prints is shown in one piece at its end."""
    log = REPORTS / f"{name}.log"
    with log.open("w", encoding="utf-8", buffering=1) as file:
        OUTPUT.set(file)
        PRIORITY.set(() if STAGES[name].heavy else ("nice", f"--adjustment={NICE}"))
        result = play(name)
    click.echo(log.read_text(encoding="utf-8", errors="replace"), nl=False)
    return result


def next_stage(waiting: Sequence[str], running: Sequence[str]) -> str | None:
    """The first stage that may start now; None when all must wait."""
    busy = any(STAGES[name].heavy for name in running)
    unfinished = {*waiting, *running}
    for name in waiting:
        if not (busy and STAGES[name].heavy) and not unfinished & {*STAGES[name].after}:
            return name
    return None


def play_all(chosen: Sequence[str]) -> dict[str, Result]:
    """Run the stages, several at a time; the results in the order of their ends."""
    if len(chosen) == 1:
        return {chosen[0]: play(chosen[0])}
    click.echo(f"\nStages: {', '.join(chosen)}. Their output: {REPORTS}/*.log")
    waiting, running = list(chosen), list[str]()
    results: dict[str, Result] = {}
    changed = threading.Condition()

    def work() -> None:
        while True:
            with changed:
                while waiting and (name := next_stage(waiting, running)) is None:
                    changed.wait()
                if not waiting:
                    return
                assert name is not None
                waiting.remove(name)
                running.append(name)
            click.echo(f"-- {name} begins")
            try:
                result = play_aside(name)
            except Exception as error:  # its log could not be written, say
                result = Result(broken(name, error), 0.0)
            with changed:
                running.remove(name)
                results[name] = result
                changed.notify_all()

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except KeyboardInterrupt:
        with changed:
            waiting.clear()
            changed.notify_all()
        raise
    return results


def table(results: dict[str, Result], seconds: float) -> str:
    """The times: a row for each stage, and the slowest tests of all."""
    lines = [f"{'stage':10} {'tests':>6} {'seconds':>8}"]
    for name in (name for name in STAGES if name in results):
        count = results[name].count
        tests = count.passed + count.failed + count.skipped
        lines.append(f"{name:10} {tests:6} {results[name].seconds:8.0f}")
    total = sum(result.seconds for result in results.values())
    lines += [f"{'all':10} {'':6} {seconds:8.0f} (sum of the stages: {total:.0f})", "", "slowest tests"]
    took = {test: each for result in results.values() for test, each in result.count.seconds.items()}
    slowest = sorted(took, key=took.__getitem__, reverse=True)[:SLOWEST]
    return "\n".join([*lines, *(f"{took[test]:8.1f}  {test}" for test in slowest)])


@click.command()
@click.argument("stages", nargs=-1, type=click.Choice(list(STAGES)))
def main(stages: tuple[str, ...]) -> None:
    """Run the STAGES, by default all but the soak."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    chosen = [name for name in STAGES if (name in stages if stages else name not in EXTRA)]
    results = play_all(chosen)
    total = sum((result.count for result in results.values()), start=Count())
    for name in (name for name in chosen if name not in results):
        total += Count(failed=1, failures=(f"{name}: it did not run",))
    for failure in total.failures:
        click.secho(f"\nFAILED {failure}", fg="red")
    click.echo(f"\n{table(results, time.monotonic() - started)}\n\n{total}")
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
