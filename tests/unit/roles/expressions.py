# SPDX-License-Identifier: GPL-3.0-or-later
"""What the expressions of the roles and playbooks give for some variables, without a machine or a cloud.

Each value in the tasks, variables and templates that Ansible would evaluate has a place, such as
"roles/sft/tasks/main.yml: tpuops.maxtext.job.timeout". Those that need what only a run knows are UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from jinja2 import Environment

from tests.json_types import Json

ROOT = Path(__file__).resolve().parents[3]
UNKNOWN = "(not known before the run)"
WORD = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
# What is an expression without braces.
BARE = ("when", "failed_when", "changed_when", "that", "until")


@cache
def role_variables() -> Mapping[str, Any]:
    """Defaults and variables of all roles, which may stand together as their names are unlike."""
    found: Json = {}
    for path in [*ROOT.glob("roles/*/defaults/**/*.yml"), *ROOT.glob("roles/*/vars/*.yml")]:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        role = str(ROOT / path.relative_to(ROOT).parts[0] / path.relative_to(ROOT).parts[1])
        found.update({name: _trusted(_in_role(value, role)) for name, value in loaded.items()})
    return found


def _in_role(value: Any, role: str) -> Any:
    if isinstance(value, str):
        return value.replace("role_path", repr(role)) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _in_role(each, role) for key, each in value.items()}
    return [_in_role(each, role) for each in value] if isinstance(value, list) else value


def _trusted(value: Any) -> Any:
    if isinstance(value, str):
        return trust_as_template(value)
    if isinstance(value, dict):
        return {_trusted(key): _trusted(each) for key, each in value.items()}
    return [_trusted(each) for each in value] if isinstance(value, list) else value


@cache
def places() -> Mapping[str, str]:
    """Every expression by its place."""
    found: dict[str, str] = {}
    paths = [
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/handlers/*.yml"),
        *ROOT.glob("playbooks/**/*.yml"),
    ]
    for path in sorted(paths):
        for where, text in _texts(yaml.safe_load(path.read_text(encoding="utf-8")) or [], ""):
            found[f"{path.relative_to(ROOT)}: {where}"] = text
    for path in sorted(ROOT.glob("roles/*/templates/*")):
        found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    for name, value in role_variables().items():
        for where, text in _texts(value, name):
            found[f"variable {where}"] = text
    return found


def _texts(value: Any, where: str, bare: bool = False) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        title = (
            f"{value['name']}/" if isinstance(value.get("name"), str) and "{{" not in value["name"] else ""
        )
        for key, each in value.items():
            yield from _texts(each, f"{where}{title}{key}.", str(key) in BARE)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{where}{number}.", bare)
    elif isinstance(value, str) and ("{{" in value or bare):
        yield where.rstrip("."), value if "{{" in value else "{{ " + value + " }}"


@cache
def _mentions() -> Mapping[str, frozenset[str]]:
    """Of each variable of a role, and of each place, the words in its text."""
    names = {name: str(value) for name, value in role_variables().items()}
    return {key: frozenset(WORD.findall(text)) for key, text in {**places(), **names}.items()}


def places_of(setting: str) -> list[str]:
    """The places whose value may depend on a setting, through other variables too."""
    mentions, variables = _mentions(), role_variables().keys()
    reached, todo = {setting}, [setting]
    while todo:
        name = todo.pop()
        found = {each for each in variables if name in mentions[each]} - reached
        reached |= found
        todo += found
    return [place for place in places() if mentions[place] & reached]


@pytest.fixture(scope="session")
def compiled_once() -> Iterator[None]:
    """Ansible compiles an expression each time that it is evaluated, which takes most of the time."""
    compile_anew: Any = Environment.compile
    known: dict[tuple[Any, ...], Any] = {}

    def compile_once(self: Environment, source: Any, *arguments: Any, **options: Any) -> Any:
        key = (type(self), str(source), str(arguments), str(options))
        if key not in known:
            known[key] = compile_anew(self, source, *arguments, **options)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Environment, "compile", compile_once)
        yield


def evaluate(place: str, variables: Mapping[str, Any]) -> Any:
    """The value at a place, where the user has set `variables`."""
    templar = Templar(
        DataLoader(), variables={**role_variables(), **{k: _trusted(v) for k, v in variables.items()}}
    )
    try:
        return templar.template(trust_as_template(places()[place]))
    except AnsibleError as error:
        return UNKNOWN if "is undefined" in str(error) else f"{UNKNOWN} {type(error).__name__}: {error}"
