# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that works on the controller runs in the task's process, with the result of one of its own."""

from __future__ import annotations

import datetime
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.action import quiet
from ansible_collections.tpuops.maxtext.plugins.module_utils.arguments import gcp_argument_spec
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.arguments import (
    hub_argument_spec,
    looks,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import Operation
from ansible_collections.tpuops.maxtext.plugins.modules import gcp_disk_info
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import in_process

from tests.json_types import Json

from .conftest import MODULES, Api, Run
from .test_gcp_disk_info import DISKS, PARTIAL, disk

DIRECTORY = Path(__file__).resolve().parents[4] / "plugins" / "modules"
NAME = "tpuops.maxtext.gcp_disk_info"
GIVEN = {"project": "my-project", "auth_kind": "accesstoken", "access_token": "the-token"}
ELSEWHERE = {"a process": "of its own"}


def test_each_module_that_is_an_operation_alone_is_named() -> None:
    alone = {path.stem for path in DIRECTORY.glob("*.py") if "\nOPERATION = " in path.read_text()}
    assert alone == in_process.NAMES


class Played:
    """A task of one of the modules, on the controller by default; what was performed in its process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.performed: list[Json] = []
        self.variables: Json = {"ansible_python_interpreter": sys.executable}
        self.connection = SimpleNamespace(transport="local", become=None, _shell=self)
        self.task = SimpleNamespace(
            action=NAME,
            resolved_action=NAME,
            args=GIVEN,
            check_mode=False,
            async_val=0,
            delegate_to=None,
            environment=[{"GCP_PROJECT": "of-the-task"}],
        )
        monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: ELSEWHERE)
        monkeypatch.setattr(in_process, "perform", self.perform)

    def perform(self, module: str, operation: Operation, arguments: Json, check: bool) -> Json:
        assert (module, operation) == (NAME, gcp_disk_info.OPERATION)
        seen = {"arguments": arguments, "check": check, "project": os.environ.get("GCP_PROJECT")}
        self.performed.append(seen)
        print("a library warns", file=sys.stderr)
        return {"changed": False, "msg": "playbooks/site.yml"}

    def template(self, value: Any) -> Any:
        return value

    def env_prefix(self, **_environment: str) -> str:
        return ""

    def action(self) -> quiet.ActionModule:
        action = object.__new__(quiet.ActionModule)
        action._connection, action._templar, action._task = self.connection, self, self.task
        return action

    def play(self, **options: Any) -> Json:
        result: Json = self.action()._execute_module(task_vars=self.variables, **options)
        return result


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_on_the_controller_no_other_process_is_started(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    assert played.play()["changed"] is False
    assert played.performed == [{"arguments": GIVEN, "check": False, "project": "of-the-task"}]
    assert "GCP_PROJECT" not in os.environ
    # Ansible takes what a task's process prints as an error of the action plugin.
    assert capsys.readouterr() == ("", "")


def test_an_action_plays_a_module_with_arguments_of_its_own(played: Played) -> None:
    played.task.resolved_action = "tpuops.maxtext.tpu_capacity"
    played.task.check_mode = True
    played.play(module_name=NAME, module_args={"name": "a"})
    assert played.performed == [{"arguments": {"name": "a"}, "check": True, "project": "of-the-task"}]


def test_an_action_names_the_module_as_it_likes(played: Played) -> None:
    """By position, as ansible-core allows: the task's own module is another one."""
    played.task.resolved_action = NAME
    action = played.action()
    assert action._execute_module("tpuops.maxtext.job_info", task_vars=played.variables) == ELSEWHERE
    played.task.resolved_action = "tpuops.maxtext.job"
    assert action._execute_module(NAME, {"name": "a"}, None, played.variables) != ELSEWHERE
    assert [each["arguments"] for each in played.performed] == [{"name": "a"}]


def test_a_task_that_is_delegated_to_the_controller_is_on_it(played: Played) -> None:
    played.task.delegate_to = "localhost"
    played.variables = {"ansible_delegated_vars": {"localhost": played.variables}}
    assert played.play() != ELSEWHERE


def over_ssh(played: Played) -> None:
    played.connection.transport = "ssh"


def another_user(played: Played) -> None:
    played.connection.become = object()


def another_python(played: Played) -> None:
    played.variables = {"ansible_python_interpreter": "/usr/bin/python3"}


def a_python_that_ansible_looks_for(played: Played) -> None:
    played.variables = {}


def another_python_of_a_delegated_task(played: Played) -> None:
    played.task.delegate_to = "other"
    played.variables["ansible_delegated_vars"] = {"other": {"ansible_python_interpreter": "/usr/bin/python3"}}


def in_the_background(played: Played) -> None:
    played.task.async_val = 60


def another_module(played: Played) -> None:
    played.task.resolved_action = "tpuops.maxtext.job"


def a_module_of_somebody_else(played: Played) -> None:
    played.task.resolved_action = "google.cloud.gcp_disk"


@pytest.mark.parametrize(
    "elsewhere",
    [
        over_ssh,
        another_user,
        another_python,
        a_python_that_ansible_looks_for,
        another_python_of_a_delegated_task,
        in_the_background,
        another_module,
        a_module_of_somebody_else,
    ],
)
def test_elsewhere_a_module_has_its_own_process(played: Played, elsewhere: Callable[[Played], None]) -> None:
    elsewhere(played)
    assert played.play() == ELSEWHERE
    assert played.performed == []


def test_who_debugs_a_module_gets_its_files(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DEFAULT_KEEP_REMOTE_FILES", True)
    assert played.play() == ELSEWHERE


# The result


def perform(module: str, check: bool = False, **options: Any) -> Json:
    operation = importlib.import_module(f"{MODULES}.{module}").OPERATION
    return in_process.perform(module, operation, {**GIVEN, **options}, check)


def answered(api: Api) -> None:
    """A disk whose description is the token; a zone that does not answer, twice."""
    found = {**disk("a", "us-west1-c"), "description": "the-token", "sizeGb": "10"}
    unreachable = ["zones/us-east1-d"]
    answer = {"items": {"zones/us-west1-c": {"disks": [found]}}, "unreachables": unreachable}
    api.on(f"GET {DISKS}", answer, query=PARTIAL)


def test_the_result_is_that_of_the_module(api: Api, run: Run) -> None:
    answered(api)
    of_module = run("gcp_disk_info")
    answered(api)
    here = perform("gcp_disk_info")
    of_module.pop("invocation", None)
    assert here == of_module
    assert here["disks"][0]["description"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert here["warnings"] == ["The disks in the zone us-east1-d are missing: Google could not ask it"]


def test_much_output_shows_the_arguments_without_the_secrets(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Display(), "verbosity", 3)
    answered(api)
    told = perform("gcp_disk_info")["invocation"]["module_args"]
    assert (told["project"], told["access_token"]) == ("my-project", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER")


@pytest.mark.parametrize("form", [dict, lambda key: f"{json.dumps(key)}\n"])
def test_much_output_shows_no_key_in_another_form(
    api: Api, monkeypatch: pytest.MonkeyPatch, form: Callable[[Json], Any]
) -> None:
    """A key given as a dictionary becomes a JSON text, with other line feeds; a text loses its last one."""
    monkeypatch.setattr(Display(), "verbosity", 3)
    answered(api)
    key = {"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END\n"}
    assert "MIIEvQ" not in str(perform("gcp_disk_info", service_account_contents=form(key)))


def test_a_date_is_the_text_that_a_module_gets() -> None:
    """YAML makes a date of a branch such as 2024-05-13."""
    operation = Operation({"revision": {"type": "str"}}, lambda task: {"revision": task.params["revision"]})
    given = {"revision": datetime.date(2024, 5, 13)}
    assert in_process.perform(NAME, operation, given, False)["revision"] == "2024-05-13"


def test_a_failure_is_that_of_the_module(api: Api, run: Run) -> None:
    results = []
    for asked in (run, perform):
        api.error(f"GET {DISKS}", 403, "PERMISSION_DENIED", "not for the-token", query=PARTIAL)
        results.append(asked("gcp_disk_info"))
    for result in results:
        result.pop("invocation", None)
        result.pop("warnings", None)
    assert results[0] == results[1]
    assert results[1]["failure"]["kind"] == "permission"
    assert "the-token" not in str(results[1])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nam": "a"}, ["Unsupported parameters for (", ") module: nam. Supported parameters include"]),
        ({"timeout": "long"}, ["'timeout'", "to float"]),
    ],
)
def test_wrong_options_are_refused_in_the_words_of_ansible(
    api: Api, run: Run, options: Json, words: list[str]
) -> None:
    for asked in (run, perform):
        result = asked("gcp_disk_info", **options)
        assert result["failed"]
        assert not [word for word in words if word not in result["msg"]], result["msg"]
    assert api.calls == []


def test_rules_between_options_hold(api: Api, run: Run) -> None:
    messages = {asked("tpu_vm_info", history=True)["msg"] for asked in (run, perform)}
    assert messages == {"history is True but all of the following are missing: name, zones"}
    assert api.calls == []


def test_what_looks_at_the_hub_has_the_words_of_its_user() -> None:
    def look(given: Json) -> Json:
        if given["token"] == "wrong":
            raise HubError("model: there is none")
        return {"found": given["endpoint"], "warnings": ["model: is large"]}

    operation = looks(hub_argument_spec(model={"type": "str"}), look)
    words = {"names": {"model": "hf_model"}}
    found = in_process.perform(NAME, operation, {**words, "endpoint": "http://hub"}, False)
    assert found == {"changed": False, "found": "http://hub", "warnings": ["hf_model: is large"]}
    refused = in_process.perform(NAME, operation, {**words, "token": "wrong"}, False)
    assert (refused["failed"], refused["msg"]) == (True, "hf_model: there is none")


def test_a_fault_of_ours_fails_the_module_and_not_the_task_that_plays_it() -> None:
    def broken(_module: Any) -> Json:
        raise KeyError("zone of the-token")

    operation = Operation(gcp_argument_spec(), broken)
    result = in_process.perform(NAME, operation, GIVEN, False)
    assert result["failed"]
    assert result["msg"].startswith("KeyError: ")
    assert "in broken" in result["exception"]
    assert "the-token" not in str(result)
