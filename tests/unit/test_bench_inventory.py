# SPDX-License-Identifier: GPL-3.0-or-later
"""How measurements are counted and told."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import table
from bench.cloud import Cloud
from bench.table import BARE, LISTED, NAMES, NOTHING, SAME, Result

LOG = """\
14:00:00,001 INFO serving on 127.0.0.1:18470
14:00:01,001 INFO GET /v2/projects/p/locations/-/nodes 200 52 ms, 0 in, 1117000 out
14:00:01,002 INFO GET /v2/projects/p/locations/-/nodes 503 1 ms, 0 in, 90 out
14:00:02,000 INFO POST /token 200 3 ms, 800 in, 90 out
14:00:03,000 WARNING GET is no request here
"""


def test_requests_are_counted_in_the_servers_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(LOG)
    assert Cloud({}, log).requests() == {"GET /v2/projects/p/locations/-/nodes": 2, "POST /token": 1}


def test_ratios_are_those_of_a_round() -> None:
    # The third round was twice as slow for all, which changes nothing.
    assert table.ratio([2.0, 3.0, 4.0], [1.0, 1.0, 2.0]) == "2.00 (2.00–3.00)"
    assert table.ratio([1.5], [3.0]) == "0.50"


def test_the_goal_is_told_of_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "conditions", lambda: "2026-11-24, 2 cores.")
    results = [
        Result(1000, BARE, [1.5], [1.0], [1]),
        Result(1000, LISTED, [6.0], [], [1]),
        Result(1000, SAME, [4.5], [], [0]),
        Result(1000, NAMES, [2.5], [], [0]),
        Result(1000, NOTHING, [0.5], [], [0]),
    ]
    text = table.render([results], 1)
    assert "### 1,000 nodes" in text
    assert "| bare loop with `requests` | 1 | 1.00 | 1.00 |" in text
    assert "| `ansible-inventory --list` | 1 | 4.00 |  |" in text
    assert "took 1.00 times 1.5 bare loops and `ansible-inventory --list` of the same answer" in text
    assert "took 3.00 times 1.5 bare loops and `ansible-inventory --list` of an empty inventory." in text


def test_only_what_is_between_the_marks_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    monkeypatch.setattr(table, "PAGE", page)
    table.write("new\n")
    assert page.read_text() == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"
