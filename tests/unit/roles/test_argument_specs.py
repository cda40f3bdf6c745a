# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way into a role is described, and checked by Ansible."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def roles_used(node: Any) -> Iterator[tuple[str, str]]:
    """Role and entry point of everything below that plays a role."""
    if isinstance(node, list):
        for each in node:
            yield from roles_used(each)
    if isinstance(node, dict):
        name = node.get("name")
        if isinstance(name, str) and name.startswith("tpuops.maxtext.") and "tasks_from" in node:
            yield name.rpartition(".")[2], str(node["tasks_from"]).removesuffix(".yml")
        for each in node.values():
            yield from roles_used(each)


def entry_points() -> set[tuple[str, str]]:
    files = [path for place in ("playbooks", "roles", "molecule") for path in (ROOT / place).rglob("*.yml")]
    used = {each for path in files for each in roles_used(yaml.safe_load(path.read_text(encoding="utf-8")))}
    mains = {(path.parents[1].name, "main") for path in (ROOT / "roles").glob("*/tasks/main.yml")}
    return used | mains


@pytest.mark.parametrize(("role", "entry"), sorted(entry_points()))
def test_an_entry_point_has_a_spec(role: str, entry: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    found = specs["argument_specs"].get(entry)
    assert found, f"roles/{role}/meta/argument_specs.yml says nothing of tasks_from: {entry}"
    assert found["short_description"]


@pytest.mark.parametrize("role", ROLES)
def test_a_spec_has_its_tasks(role: str) -> None:
    specs = yaml.safe_load((ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8"))
    entries = set(specs["argument_specs"]) - {"variables", "run", "playbooks"}  # of the role common: no tasks
    assert {entry for entry in entries if not (ROOT / f"roles/{role}/tasks/{entry}.yml").exists()} == set()


@pytest.mark.parametrize("path", sorted((ROOT / "playbooks").rglob("*.yml")), ids=lambda path: path.stem)
def test_no_playbook_spends_a_task_on_what_its_first_task_has_checked(path: Path) -> None:
    """A run would have some twenty of them. Who plays a role in a playbook of their own has the check."""
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    calls = [call for call in role_calls(plays) if call.get("rolespec_validate") is not False]
    assert calls == []


def role_calls(content: Any) -> Iterator[dict[str, Any]]:
    """What each import_role and include_role in it is given."""
    if isinstance(content, list):
        for each in content:
            yield from role_calls(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
                yield value
            yield from role_calls(value)
