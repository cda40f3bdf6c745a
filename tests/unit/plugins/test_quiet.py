# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret in what Ansible prints, with ANSIBLE_DEBUG too."""

from __future__ import annotations

import configparser
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.plugins.loader import action_loader, module_loader
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet

ROOT = Path(__file__).resolve().parents[3]
MODULES = sorted(file.stem for file in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_the_arguments_of_each_module_are_hidden(module: str) -> None:
    name = f"tpuops.maxtext.{module}"
    routed = module_loader.find_plugin_with_context(name).action_plugin
    action = action_loader.get(routed or name, class_only=True)
    assert action is not None, f"{name} is not in meta/runtime.yml: action_plugin: tpuops.maxtext.quiet"
    assert issubclass(action, Quiet)
    own = (ROOT / "plugins" / "action" / f"{module}.py").exists()
    assert (routed is None) == own, "a route takes the place of the module's own action"


TASKS = {
    "a module of ours, whatever the configuration": (
        "tpuops.maxtext.hf_repo_info",
        {"token": "{{ token }}", "endpoint": "http://127.0.0.1:9"},
        "tpuops.maxtext.unreachable",
    ),
    "a module of Ansible": (
        "ansible.builtin.uri",
        {"url": "http://127.0.0.1:9", "headers": {"Authorization": "Bearer {{ token }}"}},
        "tpuops.maxtext.quiet",
    ),
}


@pytest.mark.parametrize("case", TASKS)
def test_debugging_a_task_shows_everything_but_its_secrets(tmp_path: Path, case: str) -> None:
    module, arguments, callbacks = TASKS[case]
    task = {
        module: arguments,
        "no_log": True,
        "vars": {"token": "{{ lookup('ansible.builtin.env', 'A_TOKEN') }}"},
    }
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}
    playbook = tmp_path / "play.yml"
    playbook.write_text(json.dumps([play]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", playbook],
        cwd=ROOT,
        env={
            **os.environ,
            "ANSIBLE_DEBUG": "1",
            "ANSIBLE_CALLBACKS_ENABLED": callbacks,
            "A_TOKEN": "hf_secret",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "done with _execute_module (" in done.stdout, done.stdout + done.stderr
    assert "hf_secret" not in done.stdout + done.stderr


def test_the_projects_own_configuration_hides_the_arguments_of_all_modules() -> None:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "ansible.cfg")
    assert "tpuops.maxtext.quiet" in configuration["defaults"]["callbacks_enabled"]
