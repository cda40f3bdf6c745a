# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of the documents is known: which test runs it, or that it needs a cloud.

A command of a playbook must name its inventory, a playbook, tags and variables that there are.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import readme
from tests.readme import Command

ROOT = Path(__file__).resolve().parents[2]
INVENTORIES = ("inventories/gcp", "inventories/local", "inventory")
#: What begins so, and the test or program that runs it. CLOUD: it needs an account.
CLOUD = "needs an account with Google or the Hub"
RUN_BY = {
    "ansible-doc": "tests/run.py",  # antsibull-docs, in the stage lint, reads the same
    "ansible-galaxy collection install tpuops.maxtext": CLOUD,
    "ansible-inventory": "tests/contract/test_inventory.py",
    'eval "$(python -m localcloud env)"': "tests/recovery/test_galaxy.py",
    ". .venv/bin/activate": "tests/run.py",
    "export ": CLOUD,
    "gcloud auth": CLOUD,
    "git clone": CLOUD,
    "gcloud compute tpus": "tests/contract/test_gcloud.py",
    "make deps": "tests/run.py",
    "make run": "tests/e2e/test_pipeline.py",
    "make clean": "tests/e2e/support.py",
    "make test": "tests/run.py",
    "pip install": CLOUD,
    "python -m localcloud": "tests/e2e/support.py",
    "python3 -m venv": CLOUD,
}
#: What only one playbook reads; its comment says what it does.
OF_PLAYBOOKS = {"job_name", "leftovers_delete", "leftovers_owner"}
COMMANDS = sorted(set(readme.commands()), key=lambda command: (command.document, command.text))
PLAYBOOKS = [command for command in COMMANDS if command.text.startswith("ansible-playbook ")]
OTHERS = [command for command in COMMANDS if command not in PLAYBOOKS]


def name(command: Command) -> str:
    return f"{command.document}: {command.text}"


def playbook_of(word: str) -> Path:
    """The file of a playbook that is given by its path in a clone or by its full name."""
    if word.startswith("tpuops.maxtext."):
        return ROOT / "playbooks" / f"{word.removeprefix('tpuops.maxtext.')}.yml"
    return ROOT / word


def tags_in(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = node.get("tags", [])
        found = {own} if isinstance(own, str) else set(own)
        return found.union(*(tags_in(each) for each in node.values()))
    return set().union(*(tags_in(each) for each in node)) if isinstance(node, list) else set()


@pytest.fixture(scope="module")
def tags() -> set[str]:
    files = (ROOT / "playbooks").glob("**/*.yml")
    return set().union(*(tags_in(yaml.safe_load(path.read_text())) for path in files))


@pytest.fixture(scope="module")
def variables() -> set[str]:
    """What the table of variables, and the roles, have."""
    documented = re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "variables.md").read_text())
    specs = ROOT.glob("roles/*/meta/argument_specs.yml")
    options = [
        option
        for path in specs
        for point in yaml.safe_load(path.read_text())["argument_specs"].values()
        for option in point.get("options", {})
    ]
    return {*documented, *options, *OF_PLAYBOOKS}


def test_there_are_commands() -> None:
    assert len(PLAYBOOKS) > 10 < len(OTHERS)


@pytest.mark.parametrize("command", PLAYBOOKS, ids=name)
def test_a_playbooks_command_is_one_that_runs(command: Command, tags: set[str], variables: set[str]) -> None:
    words = iter(shlex.split(command.text)[1:])
    inventory, books = None, []
    for word in words:
        if word == "-i":
            inventory = next(words)
        elif word == "-e":
            assert next(words).partition("=")[0] in variables
        elif word == "--tags":
            assert {*next(words).split(",")} <= tags
        else:
            assert not word.startswith("-") or word in ("--check", "--diff")
            books += [] if word.startswith("-") else [word]
    assert inventory in INVENTORIES, "it acts on whatever cloud is the default"
    assert [playbook_of(book).is_file() for book in books] == [True]


@pytest.mark.parametrize("command", OTHERS, ids=name)
def test_another_command_is_run_by_a_test_or_needs_a_cloud(command: Command) -> None:
    found = [where for begin, where in RUN_BY.items() if command.text.startswith(begin)]
    assert found
    assert [where for where in found if where == CLOUD or (ROOT / where).is_file()] == found
