# SPDX-License-Identifier: GPL-3.0-or-later
"""What every play must say by itself, as it may run without the settings of this checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
PLAYS = [
    pytest.param(play, id=f"{path.stem}: {play['name']}")
    for path in sorted(PLAYBOOKS.glob("*.yml"))
    for play in yaml.safe_load(path.read_text(encoding="utf-8"))
    if "hosts" in play
]


@pytest.mark.parametrize("play", PLAYS)
def test_no_play_asks_a_machine_for_facts(play: dict[str, Any]) -> None:
    """Elsewhere Ansible gathers facts by itself: a machine that does not answer would end a teardown."""
    assert play.get("gather_facts") is False
