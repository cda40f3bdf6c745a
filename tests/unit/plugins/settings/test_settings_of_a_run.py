# SPDX-License-Identifier: GPL-3.0-or-later
"""The first task of a playbook, played by Ansible: what it sees of the command line and of the inventory."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[4]

# A user's own playbook around ours, and a stage of the user's own.
PLAYBOOK: list[dict[str, Any]] = [
    {
        "import_playbook": "tpuops.maxtext.unlimited",
        "vars": {"playbook_tags": ["sft"], "other_tags": ["mine"]},
    },
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"name": "Train", "ansible.builtin.debug": {"msg": "TRAINS"}, "tags": ["sft", "mine"]}],
    },
]

Play = Callable[..., str]
#: The task after the check of the settings.
GOES_ON = "TASK [tpuops.maxtext.tpu_vm : Check that the inventory lists the node]"


@pytest.fixture
def play(tmp_path: Path) -> Play:
    def play(
        *arguments: str, files: dict[str, Any] | None = None, book: Sequence[dict[str, Any]] = PLAYBOOK
    ) -> str:
        inventory = {
            "ungrouped": {"hosts": {"localhost": {"ansible_connection": "local"}}},
            "tpu_vm": {"hosts": {"far": {"tpu_node": "node"}}},
            "others": {"hosts": {"web": {}}, "vars": {"platform": "debian", "steps": "many"}},
        }
        content = {"hosts.yml": inventory, "book.yml": list(book), **(files or {})}
        for name, data in content.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(yaml.safe_dump(data), encoding="utf-8")
        done = subprocess.run(
            ["ansible-playbook", "-i", tmp_path / "hosts.yml", tmp_path / "book.yml", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "LC_ALL": "C.UTF-8",
                "COLUMNS": "1000",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        told = done.stdout + done.stderr
        # The inventory of these tests lists no node, so nothing goes on beyond the check of that.
        assert done.returncode != 0, told
        assert "TRAINS" not in told
        return re.sub(r"\s+", " ", told)

    return play


def test_all_that_is_wrong_is_told_at_once_and_nothing_runs(play: Play) -> None:
    files = {
        "group_vars/all.yml": {"hf_usrename": "me", "vllm_serve_state": "on", "others_variable": 1},
        "group_vars/tpu_vm.yml": {"sft_stepz": 1, "steps": "some"},
        "host_vars/far.yml": {"tpu_vm_nmae": "x"},
    }
    values = ["-e", "stepss=200", "-e", "learning_rate=fast", "-e", "my_own=1"]
    told = play(*values, "--tags", "trian", files=files)
    for problem in (
        "stepss: is not a setting (set with -e). Did you mean steps?",
        "hf_usrename: is not a setting (set for the group all). Did you mean hf_username?",
        "sft_stepz: is not a setting (set for the group tpu_vm). Did you mean steps?",
        "tpu_vm_nmae: is not a setting (set for the host far). Did you mean tpu_vm_name?",
        "steps: 'some' is not a whole number.",
        "learning_rate: 'fast' is not a number. Set it to one, such as 0.5 or 1e-5.",
        "vllm_serve_state: 'on' is not one of started, stopped, absent.",
        "--tags: trian is no tag of this playbook, and nothing would be done. Use mine or sft.",
    ):
        assert problem in told, told
    for others in ("others_variable", "my_own", "debian", "many"):
        assert others not in told
    assert told.count("fatal:") == 1


@pytest.mark.parametrize("group", ["tpu_vm", "workers"])
def test_what_is_set_for_the_workers_counts_before_there_are_any(play: Play, group: str) -> None:
    localhost = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    files = {
        "hosts.yml": {"ungrouped": localhost, "tpu_vm": {}, "workers": {}},
        f"group_vars/{group}.yml": {"vllm_serve_state": "stoped", "tpu_vm_idle_action": "stop"},
    }
    told = play(files=files)
    assert "vllm_serve_state: 'stoped' is not one of started, stopped, absent." in told
    assert "tpu_vm_idle_action: 'stop' is not one of deleted, stopped." in told


def test_what_is_set_for_the_workers_alone_is_told(play: Play) -> None:
    """The end of an ephemeral run, preflight and plan run on the controller, and would go by other values."""
    files = {
        "group_vars/tpu_vm.yml": {"tpu_vm_ephemeral": True, "steps": 7, "learning_rate": "{{ worker_rate }}"},
        "group_vars/all.yml": {"steps": "7", "platform": "tpu", "max_target_length": 64},
        "host_vars/far.yml": {"max_target_length": 32},
    }
    told = play(files=files)
    why = "and the plays on the controller have another value. Set it for the group all."
    assert f"tpu_vm_ephemeral: is set for the group tpu_vm, {why}" in told
    assert f"max_target_length: is set for the host far, {why}" in told
    # The same value in another type is the same.
    assert set(re.findall(rf"(\w+): is set for the [a-z_ ]+, {why}", told)) == {
        "tpu_vm_ephemeral",
        "max_target_length",
    }


def test_a_group_of_the_workers_group_counts_before_there_are_workers(play: Play) -> None:
    """A limit of time that the controller's plays do not see would not be in the metadata of the new node."""
    localhost = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    hosts = {"ungrouped": localhost, "mine": {"children": {"tpu_vm": {}}}, "tpu_vm": {}, "workers": {}}
    told = play(files={"hosts.yml": hosts, "group_vars/mine.yml": {"tpu_vm_max_hours": 3}})
    assert "tpu_vm_max_hours: is set for the group mine, and the plays on the controller have another" in told


def test_what_is_set_for_all_is_the_controller_s_too(play: Play) -> None:
    """A file of group_vars wins over the inventory itself. An empty value is a value as well."""
    localhost = {"hosts": {"localhost": {"ansible_connection": "local"}}}
    far = {"hosts": {"far": {"tpu_node": "node"}}}
    hosts = {"all": {"vars": {"steps": 100}, "children": {"ungrouped": localhost, "tpu_vm": far}}}
    files = {"hosts.yml": hosts, "group_vars/all.yml": {"steps": 200, "convert_hf_bytes": None}}
    assert GOES_ON in play(files=files)


def test_what_is_right_passes_whatever_its_form(play: Play) -> None:
    values = ["-e", "train_data_columns=[messages]", "-e", "steps=200", "-e", '{"gcp_auth": {}}']
    later = {"group_vars/all.yml": {"max_target_length": "{{ steps }}", "hf_username": "{{ comes_later }}"}}
    assert GOES_ON in play(*values, "--tags", "mine", files=later)


def test_what_an_earlier_play_registered_is_not_the_user_s(play: Play) -> None:
    earlier = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.debug": None, "register": "tpu_vm_madee"}],
    }
    assert GOES_ON in play(book=[earlier, *PLAYBOOK])


def test_the_variables_of_a_playbook_count(play: Play) -> None:
    told = play(book=[{"import_playbook": "tpuops.maxtext.unlimited", "vars": {"stepss": 1}}, *PLAYBOOK[1:]])
    assert "stepss: is not a setting (set in a playbook). Did you mean steps?" in told


def test_a_limit_is_refused(play: Play) -> None:
    assert "--limit: is localhost, and this playbook takes none. Leave it out" in play("--limit", "localhost")
