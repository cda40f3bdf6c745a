# SPDX-License-Identifier: GPL-3.0-or-later
"""`make chaos`, or `python -m tests.chaos`: cut runs of the whole pipeline at random, seeded."""

from __future__ import annotations

import random
import signal
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import click

from tests.e2e.support import ROOT, Cloud, local_cloud

from . import runs, table
from .cuts import CUTS, STAGES, cells
from .runs import Cost, Planned, Run

RESULTS = ROOT / "build" / "chaos"
#: What every cut did, of all runs in docs/reliability.md.
OUTCOMES = Path(__file__).with_name("outcomes.jsonl")
Cell = tuple[str, str]  # names of a cut and of a stage


def choose(names: tuple[str, ...], stages: tuple[str, ...], but: Collection[Cell]) -> list[Cell]:
    """The cells of these cuts and stages, all where none is named, but for some."""
    return [
        (cut.name, stage)
        for cut, stage in cells()
        if (not names or cut.name in names)
        and (not stages or stage in stages)
        and (cut.name, stage) not in but
    ]


def draw(number: int, seed: int, chosen: Sequence[Cell]) -> list[Planned]:
    """So many cuts: every chosen cell once, in random order, before any comes twice.

    The stages take turns, each until its cells are used up: of cuts in one stage, each takes a run.
    """
    dice = random.Random(seed)
    drawn: list[Planned] = []
    while chosen and len(drawn) < number:
        deck = list(chosen)
        dice.shuffle(deck)
        by_stage = [[cell for cell in deck if cell[1] == stage] for stage in STAGES]
        turns = [cell for turn in zip_longest(*by_stage) for cell in turn if cell]
        drawn += [Planned(cut, stage, dice.uniform(0, 0.8)) for cut, stage in turns]
    return drawn[:number]


def share_out(cuts: list[Planned], per_run: int) -> list[list[Planned]]:
    """Cuts into runs: one a stage, at most so many a run."""
    plans: list[list[Planned]] = []
    for cut in cuts:
        for plan in plans:
            if len(plan) < per_run and cut.stage not in {other.stage for other in plan}:
                plan.append(cut)
                break
        else:
            plans.append([cut])
    return plans


@click.command()
@click.option("--cuts", default=50, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--seed", default=1, show_default=True, help="The same seed draws the same cuts.")
@click.option(
    "--per-run",
    default=len(STAGES),  # as many as a run can have, for a run without cuts takes minutes already
    show_default=True,
    type=click.IntRange(1, len(STAGES)),
    help="Cuts of a run, at most.",
)
@click.option("--cut", "names", multiple=True, type=click.Choice(list(CUTS)), help="Only these.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Only in these.")
@click.option("--keep", is_flag=True, help="Add to the results of earlier runs.")
@click.option("--missing", is_flag=True, help="Each cell that has no result yet, once; adds to the results.")
@click.option("--write/--no-write", default=True, help="Write the table into docs/reliability.md.")
@click.option("--only-plan", is_flag=True, help="Show what would be cut.")
def main(
    cuts: int,
    seed: int,
    per_run: int,
    names: tuple[str, ...],
    stages: tuple[str, ...],
    keep: bool,
    missing: bool,
    write: bool,
    only_plan: bool,
) -> None:
    """Cut runs of site.yml on a local cloud of their own; each must finish with its upload whole."""
    # A shell's background process ignores Ctrl-C, and so would the playbooks.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    known = {(outcome.cut, outcome.stage) for outcome in table.load(OUTCOMES)} if missing else set()
    chosen = choose(names, stages, known)
    plans = share_out(draw(min(cuts, len(chosen)) if missing else cuts, seed, chosen), per_run)
    if only_plan:
        for number, plan in enumerate(plans, 1):
            for cut in sorted(plan, key=lambda cut: STAGES.index(cut.stage)):
                click.echo(f"{number}  {cut.stage:<12} {cut.moment:4.0%}  {cut.cut}")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    if not keep and not missing:
        OUTCOMES.unlink(missing_ok=True)
    failed = go_through(plans, per_run)
    if write:
        table.write(table.load(OUTCOMES))
    if failed:
        raise click.ClickException(f"{len(plans)} runs, {len(failed)} failures: {'; '.join(failed)}")


def go_through(plans: list[list[Planned]], per_run: int) -> list[str]:
    """Every plan, on one cloud; what failed.

    What did not strike is planned again, at the beginning of its stage; what does not strike there either is
    said to fail, for its stage has nothing that it can hit.
    """
    failed: list[str] = []
    with local_cloud(RESULTS / "state") as cloud:
        click.echo(f"a run without cuts, to compare with; the logs are in {RESULTS}")
        usual = runs.take(Run(cloud, "chaos-0", RESULTS, [], {})).costs()
        missed = one_round(cloud, usual, plans, 1, failed)
        again = share_out([replace(planned, moment=0.0) for planned in missed], per_run)
        missed = one_round(cloud, usual, again, 1 + len(plans), failed)
    return failed + [f"{planned.cut} did not strike {planned.stage}" for planned in missed]


def one_round(
    cloud: Cloud, usual: dict[str, Cost], plans: list[list[Planned]], first: int, failed: list[str]
) -> list[Planned]:
    """Play plans, the first under a number, and save what their cuts did; the cuts that did not strike."""
    missed: list[Planned] = []
    for number, plan in enumerate(plans, first):
        name = f"chaos-{number}"
        runs.clear(cloud, RESULTS / f"{name}-clear.log")
        run = Run(cloud, name, RESULTS, plan, usual)
        try:
            runs.take(run)
        except runs.RunError as error:
            click.secho(str(error), fg="red")
            failed.append(str(error))
        table.save(OUTCOMES, run.outcomes)
        missed += run.missed
        for outcome in run.outcomes:
            seen = outcome.seen or "goes on by itself"
            click.echo(
                f"{name}  {outcome.stage}: {outcome.cut}: {seen} "
                f"(+{outcome.starts} starts, +{outcome.seconds:.0f} s, {outcome.steps} steps twice)"
            )
        for planned in run.missed:
            click.echo(f"{name}  {planned.stage}: {planned.cut}: did not strike")
    return missed


if __name__ == "__main__":
    main()
