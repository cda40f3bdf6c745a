# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable that is no setting begins with an underscore, so that nobody takes it for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def test_variables_that_are_no_settings_begin_with_an_underscore() -> None:
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    private = {name for file in files for name in named(yaml.safe_load(file.read_text(encoding="utf-8")))}
    for file in [*ROOT.glob("roles/*/vars/main.yml"), *ROOT.glob("roles/*/defaults/**/*.yml")]:
        private |= set(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    assert len(private) > 150
    public = set(settings.known()) | SHARED
    assert {name for name in private - public if not name.startswith("_")} == set()
    assert {name for name in settings.known() if name.startswith("_")} == set()
