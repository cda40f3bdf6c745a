# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage needs on its node: which of it is missing, and the tags that create it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import systemd
from ansible_collections.tpuops.maxtext.plugins.module_utils.prerequisites import Wanted, missing
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.prerequisites import told
from jinja2 import Environment

from tests.json_types import Json

action: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.action.prerequisites")
documentation: Any = importlib.import_module(
    "ansible_collections.tpuops.maxtext.plugins.modules.prerequisites"
)


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are mount points; there is no systemd."""
    points: list[str] = []
    monkeypatch.setattr("os.path.ismount", points.__contains__)
    monkeypatch.setattr(systemd, "is_active", {"vllm.service"}.__contains__)
    monkeypatch.setattr(systemd, "mount", lambda path: None)
    return points


def wanted(disk: Path, **more: str) -> Wanted:
    return Wanted(
        mount_point=str(disk),
        environment=str(disk / "env/train"),
        **more,
    )


def make_environment(disk: Path) -> None:
    (disk / "env/train/bin").mkdir(parents=True)
    (disk / "env/train/bin/python").touch()


def test_a_stage_that_has_all_goes_on(tmp_path: Path, mounted: list[str]) -> None:
    mounted.append(str(tmp_path))
    make_environment(tmp_path)
    (tmp_path / "model").mkdir()
    assert missing(wanted(tmp_path, model=str(tmp_path / "model"), server="vllm.service")) == []


def test_a_disk_that_is_not_mounted_hides_all_else(tmp_path: Path, mounted: list[str]) -> None:
    """A directory of that name is on the boot disk: what a stage writes there is lost with the node."""
    make_environment(tmp_path)
    assert missing(wanted(tmp_path, model=str(tmp_path / "model"))) == ["disk"]


def test_everything_that_is_missing_is_found_at_once(tmp_path: Path, mounted: list[str]) -> None:
    mounted.append(str(tmp_path))
    everything = wanted(tmp_path, model=str(tmp_path / "model"), server="other.service")
    assert missing(everything) == ["environment", "model", "server"]


def test_a_node_without_a_data_disk_needs_none(tmp_path: Path, mounted: list[str]) -> None:
    assert missing(Wanted(environment=str(tmp_path))) == ["environment"]


@pytest.mark.parametrize(
    ("lacks", "tags", "words"),
    [
        (["disk"], "data_disk,sft", "The data disk is not mounted at /mnt/d"),
        (["environment"], "maxtext_env,sft", "/mnt/d/env/train is not installed"),
        (["model"], "convert,sft", "is not converted"),
        (["environment", "model"], "maxtext_env,convert,sft", "not installed on tpu-v5e-8. The model"),
        (["server"], "vllm_serve,sft", "No model is served"),
    ],
)
def test_the_message_names_the_tags_that_create_it(lacks: list[str], tags: str, words: str) -> None:
    message = told("sft", "tpu-v5e-8", lacks, {"mount_point": "/mnt/d", "environment": "/mnt/d/env/train"})
    assert message.words.startswith("sft: ")
    assert words in message.words
    assert message.tags == tags


class Action(action.ActionModule):  # type: ignore[misc]
    """The task, with a module that answers as told."""

    def __init__(self, lacks: list[str], check_mode: bool = False) -> None:
        task: Any = type("Task", (), {})()
        task.args, task.check_mode = {"stage": "sft", "mount_point": "/mnt/d"}, check_mode
        task.async_val, task.diff = 0, False
        self._task, self.lacks = task, lacks
        self._connection: Any = type("Connection", (), {"_shell": None})()

    def _execute_module(self, **_: Any) -> Json:
        return {"changed": False, "missing": self.lacks}


def test_the_task_fails_with_a_command_that_can_be_typed() -> None:
    result = Action(["disk"]).run(task_vars={"tpu_node": "tpu-1"})
    assert result["failed"]
    assert result["msg"] == (
        "sft: The data disk is not mounted at /mnt/d on tpu-1. To create what is missing and go on: "
        "ansible-playbook tpuops.maxtext.site --tags data_disk,sft"
    )


def test_a_check_run_only_says_so() -> None:
    """It has not made what the earlier stages would make."""
    result = Action(["disk"], check_mode=True).run(task_vars={"tpu_node": "tpu-1"})
    assert not result.get("failed")
    assert result["missing"] == ["disk"]


def test_the_module_says_what_is_missing(run_module: Any, tmp_path: Path, mounted: list[str]) -> None:
    assert run_module("prerequisites", stage="sft", mount_point=str(tmp_path))["missing"] == ["disk"]
    mounted.append(str(tmp_path))
    assert run_module("prerequisites", stage="sft", mount_point=str(tmp_path))["missing"] == []


def test_every_stage_that_works_on_the_disk_looks_first() -> None:
    """The first task of each role that runs a job; site.yml's own order is no excuse, as --tags skips."""
    roles = Path(__file__).resolve().parents[4] / "roles"
    first = {
        "maxtext_env": "tasks/main.yml",
        "convert": "tasks/main.yml",
        "sft": "tasks/main.yml",
        "export": "tasks/main.yml",
        "vllm_serve": "tasks/started.yml",
        "evaluate": "tasks/main.yml",
    }
    for role, file in first.items():
        tasks = yaml.safe_load((roles / role / file).read_text())
        tasks = tasks[0].get("block", tasks)
        assert any("tpuops.maxtext.prerequisites" in task for task in tasks[:2]), role


@pytest.mark.parametrize(
    ("done", "seen"),
    [
        ({}, (False, False)),
        ({"_data_disk_filesystem"}, (True, False)),
        ({"_maxtext_env_checked"}, (False, False)),
        ({"_data_disk_filesystem", "_maxtext_env_checked"}, (True, True)),  # a run of all stages
        ({"_common_programs"}, (True, False)),  # a server needs no environment of MaxText
        ({"_common_programs", "_common_commits"}, (True, True)),
    ],
)
def test_what_the_run_did_itself_is_not_looked_for(done: set[str], seen: tuple[bool, bool]) -> None:
    text = (Path(__file__).resolve().parents[4] / "roles/common/vars/main.yml").read_text()
    variables = yaml.safe_load(text)
    found = [
        Environment(autoescape=False).from_string(variables[name]).render({each: {} for each in done})
        for name in ("_common_disk_seen", "_common_environment_seen")
    ]
    assert found == [str(each) for each in seen]
