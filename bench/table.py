# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/performance.md's tables, written from what was measured."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

from bench.cloud import ROOT

PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- written by `make bench`: begin -->", "<!-- written by `make bench`: end -->"
#: Names of contenders on which a sentence depends.
BARE, LISTED, SAME = "requests", "ansible", "ansible-script"
NAMES, NOTHING = "ansible-names", "ansible-empty"
#: What the tables call them, in their order.
ROWS = {
    BARE: "bare loop with `requests`",
    "google-cloud-tpu": "google-cloud-tpu (REST)",
    "gcloud": "`gcloud compute tpus tpu-vm list`",
    "plugin": "plugin, in Ansible's process",
    "plugin-cached": "plugin, in Ansible's process, cached",
    LISTED: "`ansible-inventory --list`",
    "ansible-cached": "`ansible-inventory --list`, cached",
    SAME: "`ansible-inventory --list` of the same answer from a script",
    NAMES: "`ansible-inventory --list` of as many bare names from a file",
    NOTHING: "`ansible-inventory --list` of an empty inventory",
}
GOAL = 1.5


@dataclass
class Result:
    """What a contender did, a value a round.

    seconds: of the whole process; alone: of its list, without start and imports, where that can be told;
    requests: how many it made.
    """

    nodes: int
    name: str
    seconds: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)


def write(text: str) -> None:
    """Put the text into the page, between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def render(measured: Iterable[Sequence[Result]], repeat: int) -> str:
    """One table a size, under a line that says on what this was measured."""
    parts = [
        f"{conditions()} {repeat} rounds; each figure is the median, in brackets its smallest and largest."
    ]
    return "\n\n".join([*parts, *map(_table, measured)]) + "\n"


def conditions() -> str:
    """When, on how many cores, and with which versions."""
    programs = ("ansible-core", "requests", "google-cloud-tpu")
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in programs)]
    if shutil.which("gcloud"):
        command = ["gcloud", "version", "--format=json"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        versions.append(f"gcloud {json.loads(found)['Google Cloud SDK']}")
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {', '.join(versions)}."


def _table(results: Sequence[Result]) -> str:
    by_name = {result.name: result for result in results}
    bare = by_name[BARE]
    lines = [
        f"### {bare.nodes:,} nodes",
        "",
        "| | requests | process, times that of the bare loop | list alone, times the bare loop's |",
        "|---|--:|--:|--:|",
    ]
    for name, title in ROWS.items():
        if name in by_name:
            result = by_name[name]
            process = ratio(result.seconds, bare.seconds)
            alone = ratio(result.alone, bare.alone) if result.alone else ""
            asked = ", ".join(map(str, sorted(set(result.requests))))
            lines.append(f"| {title} | {asked} | {process} | {alone} |")
    lines += ["", f"The bare loop alone took {statistics.median(bare.alone):.2f} s.", "", *_goal(by_name)]
    return "\n".join(lines)


def _goal(by_name: dict[str, Result]) -> list[str]:
    """How much of what the goal allows `ansible-inventory --list` took."""
    listed, bare = by_name[LISTED].seconds, by_name[BARE].alone
    said = []
    starts = {SAME: "the same answer from a script", NAMES: "as many names", NOTHING: "an empty inventory"}
    for name, start in starts.items():
        allowed = [GOAL * loop + own for loop, own in zip(bare, by_name[name].seconds, strict=True)]
        said.append(
            f"- `ansible-inventory --list` took {ratio(listed, allowed)} times {GOAL} bare loops and "
            f"`ansible-inventory --list` of {start}."
        )
    return said


def ratio(values: Sequence[float], others: Sequence[float]) -> str:
    """Median and spread of the ratios within the rounds."""
    ratios = sorted(value / other for value, other in zip(values, others, strict=True))
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})"
