# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/reliability.md's table, written from what cuts did."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.e2e.support import ROOT

from .cuts import CUTS, STAGES, Cut
from .runs import Outcome

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by `make chaos`: begin -->", "<!-- written by `make chaos`: end -->"
TEXT = 220  # characters of an error that the table shows
HEAD = (
    "| stage | what the user sees | starts | s | steps | MB | finished |",
    "|---|---|--:|--:|--:|--:|---|",
)


def save(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Add outcomes to a file, one JSON object a line."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(outcome)) + "\n" for outcome in outcomes)


def load(path: Path) -> list[Outcome]:
    if not path.exists():
        return []
    return [Outcome(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def write(outcomes: Sequence[Outcome], page: Path = PAGE) -> None:
    """Put the table into the page, between its marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n\n{render(outcomes)}\n{END}{after}", encoding="utf-8")


def render(outcomes: Sequence[Outcome]) -> str:
    """One table a cut, a row a stage.

    Of several outcomes of a cell the dearest stands there, or one after which the run did not finish.
    """
    finished = sum(outcome.finished for outcome in outcomes)
    parts = [f"{len(outcomes)} cuts; after {finished} the run finished, and the Hub had what was exported."]
    for cut in CUTS.values():
        rows = [row(cut, stage, outcomes) for stage in STAGES]
        parts.append("\n".join([f"### {cut.name}", "", *HEAD, *rows]))
    return "\n\n".join(parts) + "\n"


def row(cut: Cut, stage: str, outcomes: Sequence[Outcome]) -> str:
    if stage in cut.spares:
        return f"| {stage} | *{cut.spares[stage]}* | | | | | |"
    found = [each for each in outcomes if (each.cut, each.stage) == (cut.name, stage)]
    if not found:
        return f"| {stage} | *not drawn in these runs* | | | | | |"
    worst = max(found, key=lambda each: (not each.finished, each.starts, each.seconds))
    seen = escape(worst.seen) if worst.seen else "goes on by itself"
    cost = (worst.starts, round(worst.seconds), worst.steps, round(worst.sent / 1e6, 1))
    cells = (*cost, "yes" if worst.finished else "no")
    return f"| {stage} | {seen} | {' | '.join(map(str, cells))} |"


def escape(text: str) -> str:
    short = text if len(text) <= TEXT else text[: TEXT - 1].rsplit(" ", 1)[0] + " …"
    return short.replace("|", "\\|").replace("<", "&lt;")
