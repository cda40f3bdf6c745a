# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command of the documents is known: which test runs it, or that it needs a cloud.

A command of a playbook must name its inventory, a playbook, tags and settings that there are. On Google's
cloud it needs an account. A test plays the same on the local cloud.
"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import readme
from tests.readme import Command

from .roles.conftest import load

settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")

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
#: A playbook with its tags and settings, and the test that plays it with them.
E2E = "tests/e2e/test_pipeline.py"
DAMAGE = "tests/damage/test_damage.py"
RECOVERY = "tests/recovery/test_recovery.py"
GALAXY = "tests/recovery/test_galaxy.py"
CHAT = "tests/machines/test_chat.py"
PLAYED_BY = {
    "chat": CHAT,
    "chat -e prompt": E2E,
    "chat -e vllm_serve_model": E2E,
    "connect": CHAT,
    "connect -e local_port": CHAT,
    "follow": GALAXY,
    "follow -e job_name": RECOVERY,
    "leftovers": GALAXY,
    "leftovers -e leftovers_delete": RECOVERY,
    "plan": GALAXY,
    "site": E2E,
    "site --tags convert": DAMAGE,
    "site --tags data_disk": GALAXY,
    "site --tags evaluate": DAMAGE,
    "site --tags evaluate -e evaluate_row": CLOUD,  # on the local cloud the first row is as good as any
    "site --tags export": DAMAGE,
    "site --tags export,vllm_serve,evaluate": DAMAGE,
    "site --tags maxtext_env": RECOVERY,
    "site --tags preflight": GALAXY,
    "site --tags sft": DAMAGE,
    "site --tags sft -e steps": DAMAGE,
    "site --tags tpu_vm": GALAXY,
    "site --tags vllm_serve": DAMAGE,
    "site --tags vllm_serve -e vllm_serve_state": "molecule/07_vllm_serve/tests/test_vllm_serve.py",
    "site -e learning_rate -e run_name": E2E,
    "site -e lora_rank -e run_name": DAMAGE,
    "site -e tpu_vm_ephemeral": RECOVERY,
    "site -e tpu_vm_max_hours": RECOVERY,
    "site -e tpu_vm_max_idle_minutes": RECOVERY,
    "status": "tests/contract/test_status.py",
    "stop -e job_name": RECOVERY,
    "stop_node": GALAXY,
    "teardown": GALAXY,
    "teardown -e tpu_vm_delete_disk": GALAXY,
    "teardown -e tpu_vm_force": RECOVERY,
}
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


def given(command: Command) -> str:
    """What a command plays, as PLAYED_BY names it: the playbook, the tags and the names of the settings."""
    words = iter(shlex.split(command.text)[1:])
    book, options = "", []
    for word in words:
        if word == "-i":
            next(words)
        elif word in ("-e", "--tags"):
            value = next(words)
            options.append(f"{word} {value.partition('=')[0] if word == '-e' else value}")
        elif not word.startswith("-"):
            book = playbook_of(word).stem
    return " ".join([book, *sorted(options)])


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


def test_there_are_commands() -> None:
    assert len(PLAYBOOKS) > 10 < len(OTHERS)


@pytest.mark.parametrize("command", PLAYBOOKS, ids=name)
def test_a_playbooks_command_is_one_that_runs(command: Command, tags: set[str]) -> None:
    words = iter(shlex.split(command.text)[1:])
    inventory, books = None, []
    for word in words:
        if word == "-i":
            inventory = next(words)
        elif word == "-e":
            assert next(words).partition("=")[0] in settings.known()
        elif word == "--tags":
            assert {*next(words).split(",")} <= tags
        else:
            assert not word.startswith("-") or word in ("--check", "--diff")
            books += [] if word.startswith("-") else [word]
    assert inventory in INVENTORIES, "it acts on whatever cloud is the default"
    assert [playbook_of(book).is_file() for book in books] == [True]


@pytest.mark.parametrize("command", PLAYBOOKS, ids=name)
def test_a_playbooks_command_is_played_by_a_test(command: Command) -> None:
    where = PLAYED_BY[given(command)]
    if where == CLOUD:
        return
    played = (ROOT / where).read_text()
    book, *options = re.findall(r"[a-z_]+", re.sub(r"--tags|-e ", "", given(command)))
    missing = [word for word in options if not re.search(rf"\b{word}\b", played)]
    assert missing == []
    assert book == "site" or re.search(rf"\b{book}\b", played)


def test_the_table_has_no_command_that_no_document_gives() -> None:
    assert PLAYED_BY.keys() - {given(command) for command in PLAYBOOKS} == set()


@pytest.mark.parametrize("command", OTHERS, ids=name)
def test_another_command_is_run_by_a_test_or_needs_a_cloud(command: Command) -> None:
    found = [where for begin, where in RUN_BY.items() if command.text.startswith(begin)]
    assert found
    assert [where for where in found if where == CLOUD or (ROOT / where).is_file()] == found


def test_the_commands_of_messages_name_playbooks_tags_and_settings_that_there_are(tags: set[str]) -> None:
    """A field of a message is X, and not looked at."""
    found, wrong = 0, []
    for path, text in load("scripts/long_sentences.py").messages():
        if path.parent.name == "files" and "ansible" not in text:
            continue  # a program's own options
        books = re.findall(r"ansible-playbook (?:-i \S+ )?((?:playbooks/)?[a-z_]+\.yml)", text)
        named = re.findall(r"--tags ([a-z_,]+)", text)
        named_settings = re.findall(r"-e ([a-z_]+)=", text)
        found += len(books) + len(named) + len(named_settings)
        wrong += [f"{path.name}: {book}" for book in books if not playbook_of(book).is_file()]
        wrong += [f"{path.name}: --tags {each}" for each in named if not {*each.split(",")} - {""} <= tags]
        wrong += [f"{path.name}: -e {name}" for name in named_settings if name not in settings.known()]
    assert found > 50
    assert wrong == []
