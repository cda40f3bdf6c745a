# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable that is no setting begins with an underscore, so that nobody takes it for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import yaml
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import settings

ROOT = Path(__file__).resolve().parents[3]
#: Playbooks of users set or read these as well: tags of a playbook, and what was left of a deletion.
SHARED = {"playbook_tags", "playbook_skips", "tpu_vm_gone"}


def named(found: Any) -> Iterator[str]:
    """Variables that tasks and plays set."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key in ("register", "loop_var"):
                yield str(value)
            elif key in ("vars", "ansible.builtin.set_fact"):
                yield from map(str, value)
            yield from named(value)
    elif isinstance(found, list):
        for each in found:
            yield from named(each)


#: What Ansible and the inventory plugin give.
GIVEN = {
    "groups",
    "hostvars",
    "inventory_hostname",
    "item",
    "lookup",
    "now",
    "omit",
    "query",
    "role_path",
} | {
    f"tpu_{name}"
    for name in ("accelerator_type", "known_hosts_file", "node", "project", "state", "worker_id", "zone")
}
CONDITIONS = ("when", "that", "failed_when", "changed_when", "until", "var")


class Every(dict[str, Any]):
    """Filters and tests by any name, as only the names of variables are looked for."""

    def get(self, key: str, default: Any = None) -> Any:
        return str

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return str


def expressions(found: Any, key: str = "") -> Iterator[str]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from expressions(value, str(name))
    elif isinstance(found, list):
        for each in found:
            yield from expressions(each, key)
    elif isinstance(found, str):
        yield f"{{{{ {found} }}}}" if key in CONDITIONS and "{{" not in found else found


def read(found: Any) -> Iterator[str]:
    """Variables that the expressions of tasks and plays read."""
    environment = jinja2.Environment()
    environment.filters = environment.tests = Every()
    for each in expressions(found):
        yield from jinja2.meta.find_undeclared_variables(environment.parse(each))


def test_every_variable_that_is_read_is_set_somewhere() -> None:
    """Under another name it fails only where the task runs: follow.yml without job_name."""
    kinds = ("roles/*/tasks/*.yml", "roles/*/vars/*.yml", "roles/*/defaults/**/*.yml", "playbooks/**/*.yml")
    files = [file for kind in kinds for file in ROOT.glob(kind)]
    content = {file: yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}
    there = GIVEN | SHARED | {"other_tags"} | set(settings.known())
    for found in content.values():
        there |= set(named(found)) | (set(found) if isinstance(found, dict) else set())
    unset = {
        f"{file.relative_to(ROOT)}: {name}"
        for file, found in content.items()
        for name in read(found)
        if name not in there and not name.startswith("ansible_")
    }
    assert unset == set()


def test_variables_that_are_no_settings_begin_with_an_underscore() -> None:
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    private = {name for file in files for name in named(yaml.safe_load(file.read_text(encoding="utf-8")))}
    for file in [*ROOT.glob("roles/*/vars/main.yml"), *ROOT.glob("roles/*/defaults/**/*.yml")]:
        private |= set(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    assert len(private) > 150
    public = set(settings.known()) | SHARED
    assert {name for name in private - public if not name.startswith("_")} == set()
    assert {name for name in settings.known() if name.startswith("_")} == set()
