# SPDX-License-Identifier: GPL-3.0-or-later
"""What every play must say by itself, as it may run without the settings of this checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
IMPORT = "ansible.builtin.import_playbook"
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


ROLES = PLAYBOOKS.parent / "roles"
SETS = {
    path.stem: plays[0].get("vars", {})
    for path in sorted(PLAYBOOKS.glob("*.yml"))
    if (plays := yaml.safe_load(path.read_text(encoding="utf-8")))[0].get(IMPORT) == "unlimited.yml"
}


def tags_of(item: Any) -> set[str]:
    """All tags in a document."""
    if isinstance(item, list):
        return set().union(*map(tags_of, item))
    if not isinstance(item, dict):
        return set()
    given = item.get("tags", [])
    return set(given if isinstance(given, list) else [given]).union(*map(tags_of, item.values()))


def playbook_tags(path: Path) -> set[str]:
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    imported = [PLAYBOOKS / play[IMPORT] for play in plays if IMPORT in play]
    return tags_of(plays).union(*map(playbook_tags, imported))


@pytest.mark.parametrize("playbook", SETS)
def test_a_playbook_takes_the_tags_that_its_tasks_have(playbook: str) -> None:
    """With any other one it would end well and have done nothing."""
    found = playbook_tags(PLAYBOOKS / f"{playbook}.yml") - {"always"}
    assert set(SETS[playbook].get("playbook_tags", [])) == found


def test_each_playbook_for_users_refuses_other_tags() -> None:
    own = {"chat", "connect", "status"}
    assert set(SETS) == own | {"site", "teardown", "stop_node", "leftovers", "plan", "follow", "stop"}


def test_no_tag_leaves_out_the_check_of_limit_and_tags() -> None:
    plays = yaml.safe_load((PLAYBOOKS / "unlimited.yml").read_text())
    assert {tag for play in plays for task in play["tasks"] for tag in task["tags"]} == {"always"}


STAGES = [each for each in PLAYS if cast(dict[str, Any], each.values[0])["hosts"] == "workers,localhost"]


@pytest.mark.parametrize("play", STAGES)
def test_no_task_of_a_stage_is_for_the_controller(play: dict[str, Any]) -> None:
    """Its first task lets the controller leave; --start-at-task and --skip-tags may leave out that one."""
    assert [task["when"] for task in play["tasks"][1:]] == ["inventory_hostname != 'localhost'"]
