# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret in what Ansible prints, with ANSIBLE_DEBUG too."""

from __future__ import annotations

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
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


SECRET = "hf_secret"
TOKEN = {"token": "{{ secret }}", "endpoint": "http://127.0.0.1:9"}
WRITE = {**TOKEN, "repo_id": "me/model", "python": "/usr/bin/false"}
GOOGLE = {"project": "my-project", "auth_kind": "accesstoken", "access_token": "{{ secret }}"}
# Each module that gets a secret. Most fail at once, with the arguments that Ansible would print.
GIVEN: dict[str, dict[str, Any]] = {
    "chat": {"url": "http://127.0.0.1:9", "messages": [], "api_key": "{{ secret }}"},
    "hf_commits": {**TOKEN, "run": "r", "model": {"repo_id": "/nowhere"}},
    "hf_repo": WRITE,
    "hf_repo_info": TOKEN,
    "hf_revision_info": {**TOKEN, "repo_id": "me/model", "pause": 0},
    "hf_upload": {**WRITE, "folder": "/nowhere", "records_dir": "/nowhere"},
    "job": {"name": "j", "argv": ["true"], "secrets": {"HF_TOKEN": "{{ secret }}"}, "chdir": "/nowhere"},
    "training_inputs_info": {**TOKEN, "dataset": {"path": "me/data"}},
    "tpu_vm_info": {**GOOGLE, "tpu_endpoint": "http://127.0.0.1:9", "zones": ["none"]},
}


def played(tmp_path: Path, tasks: list[dict[str, Any]], **environment: str) -> str:
    """What Ansible prints of these tasks with all that it can print, and no configuration but this."""
    shared = {"ignore_errors": True, "vars": {"secret": "{{ lookup('ansible.builtin.env', 'A_SECRET') }}"}}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "tasks": [{**task, **shared} for task in tasks],
    }
    playbook, empty = tmp_path / "play.yml", tmp_path / "ansible.cfg"
    empty.touch()
    playbook.write_text(json.dumps([play]))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    own = {
        "ANSIBLE_DEBUG": "1",
        "ANSIBLE_CONFIG": str(empty),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_HOME": str(tmp_path),
        "A_SECRET": SECRET,
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "-vvvvv", "-i", "localhost,", playbook],
        cwd=tmp_path,
        env=kept | own | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_debugging_shows_no_secret_of_a_module_whatever_the_configuration(tmp_path: Path) -> None:
    tasks = [{f"tpuops.maxtext.{module}": arguments} for module, arguments in GIVEN.items()]
    told = played(tmp_path, tasks)
    for module in GIVEN:
        assert f"done with _execute_module (tpuops.maxtext.{module}" in told, told
    assert SECRET not in told, [line for line in told.splitlines() if SECRET in line]


def test_a_command_is_the_same_in_the_error_and_in_the_result(tmp_path: Path) -> None:
    """Ansible shows both. Without the inventory the command would work on another cloud."""
    served = {"run": "r", "record": "/nowhere/r.json", "manifest": "/nowhere/m.json"}
    task = {"tpuops.maxtext.chat": {**GIVEN["chat"], "served": served}}
    own = {"ANSIBLE_DEBUG": "0", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    told = " ".join(played(tmp_path, [task], **own).split())
    assert "no server of the role vllm_serve runs here" in told, told[-3000:]
    commands = re.findall(r"ansible-playbook .*?site(?:\.yml)? --tags", told)
    assert len(commands) >= 2
    assert all("-i localhost," in command for command in commands), commands


def test_each_module_that_takes_a_secret_is_tried() -> None:
    """Those of Google share the options that hold one."""
    directory = ROOT / "plugins" / "modules"
    secret = {name for name in MODULES if '"no_log": True' in (directory / f"{name}.py").read_text()}
    assert secret <= GIVEN.keys()


SECRETS = re.compile(r"\b(hf_token|_common_job_secrets|vllm_serve_api_key|gcp_auth)\b")


def tasks_of(item: Any) -> Iterator[dict[str, Any]]:
    """All tasks of a file, those of its blocks and plays too."""
    if isinstance(item, list):
        for each in item:
            yield from tasks_of(each)
    if isinstance(item, dict):
        inner = [item[key] for key in ("tasks", "block", "rescue", "always") if key in item]
        yield from tasks_of(inner)
        if not inner:
            yield item


def test_only_modules_of_this_collection_get_a_secret() -> None:
    """Ansible prints the arguments of all others."""
    files = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")]
    found = [
        (file.name, key)
        for file in files
        for task in tasks_of(yaml.safe_load(file.read_text()))
        for key, arguments in task.items()
        if "." in key and not key.startswith("tpuops.maxtext.")
        if SECRETS.search(without_messages(arguments))
    ]
    assert found == []


def without_messages(arguments: Any) -> str:
    """The templates in a module's arguments, without the words around them: a message may name a variable."""
    return " ".join(re.findall(r"\{\{.*?\}\}", json.dumps(arguments), re.DOTALL))


def test_the_callback_hides_the_arguments_of_other_modules(tmp_path: Path) -> None:
    uri = {"url": "http://127.0.0.1:9", "headers": {"Authorization": "Bearer {{ secret }}"}}
    tasks = [{"ansible.builtin.uri": uri, "no_log": True}]
    told = played(tmp_path, tasks, ANSIBLE_CALLBACKS_ENABLED="tpuops.maxtext.quiet")
    assert "done with _execute_module (" in told, told
    assert SECRET not in told


def test_the_projects_own_configuration_hides_the_arguments_of_all_modules() -> None:
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "ansible.cfg")
    assert "tpuops.maxtext.quiet" in configuration["defaults"]["callbacks_enabled"]
