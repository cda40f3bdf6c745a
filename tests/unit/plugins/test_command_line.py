# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands in messages: the same inventory, place and kind of name as the running command."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.utils.vars import load_extra_vars
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import command_line, interruption

Given = Callable[..., str]
ROOT = Path(__file__).resolve().parents[3]
FOLLOW = "ansible-playbook playbooks/follow.yml"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """What a message becomes under a command with these arguments."""

    def started(text: str = FOLLOW, **arguments: Any) -> str:
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(arguments))
        monkeypatch.setattr(load_extra_vars, "extra_vars", {}, raising=False)
        return command_line.as_started(text)

    return started


def test_the_inventory_is_named_again(given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    follow = "tpuops.maxtext.follow"
    assert given() == f"ansible-playbook {follow}"
    assert given(inventory=["/etc/ansible/hosts"]) == f"ansible-playbook {follow}"
    here = [str(tmp_path / "inventories/gcp")]
    assert given(inventory=here) == f"ansible-playbook -i inventories/gcp {follow}"
    assert given(inventory=["/my inventory", "a,"]) == f"ansible-playbook -i '/my inventory' -i a, {follow}"


def test_what_opens_the_inventory_is_named_again(given: Given) -> None:
    told = given(vault_ids=["me@/key"], vault_password_files=["/pass word"], ask_vault_pass=True)
    assert "--vault-id me@/key --vault-password-file '/pass word' --ask-vault-pass" in told


def test_the_variables_that_say_where_are_named_again_and_no_secret(given: Given) -> None:
    told = given(
        extra_vars=("steps=3 project=other", "hf_token=hf_secret", '{"data_disk_mount_point": "/a b"}')
    )
    place = "-e project=other -e '{data_disk_mount_point: /a b}'"
    assert told == f"ansible-playbook tpuops.maxtext.follow {place}"


def test_a_file_of_variables_is_named_again(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have what is not printed, such as credentials. What else the command line has counts more or
    less than the file, by its place: it is named behind it, with the value that counts."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "my vars.yml"
    file.write_text("hf_token: hf_secret\nproject: other\nrun_name: a\n")
    told = given(extra_vars=("zone=b", f"@{file}", "run_name=b"))
    assert told == "ansible-playbook tpuops.maxtext.follow -e '@my vars.yml' -e zone=b -e run_name=b"
    assert given(extra_vars=("run_name=b", f"@{file}")).endswith("-e '@my vars.yml' -e run_name=a")


@pytest.mark.parametrize("name", ["tpu_vm_delete_disk", "tpu_vm_force"])
def test_a_file_that_deletes_more_than_the_message_says_is_not_named(
    given: Given, tmp_path: Path, name: str
) -> None:
    (tmp_path / "vars.yml").write_text(f"project: other\n{name}: 'true'\n")
    told = given("ansible-playbook playbooks/teardown.yml", extra_vars=(f"@{tmp_path}/vars.yml",))
    assert told == "ansible-playbook tpuops.maxtext.teardown -e project=other"


@pytest.mark.parametrize("own", ["tpu_vm_delete_disk=", "tpu_vm_force=false"])
def test_a_file_is_not_named_whose_variable_the_command_line_takes_back(
    given: Given, tmp_path: Path, own: str
) -> None:
    (tmp_path / "vars.yml").write_text("project: other\ntpu_vm_force: true\ntpu_vm_delete_disk: d\n")
    both = (f"@{tmp_path}/vars.yml", "tpu_vm_delete_disk=", "tpu_vm_force=false", own)
    told = given("ansible-playbook playbooks/teardown.yml", extra_vars=both)
    assert told == "ansible-playbook tpuops.maxtext.teardown -e project=other"


def test_a_file_that_can_be_read_once_is_not_named(given: Given, tmp_path: Path) -> None:
    pipe = tmp_path / "63"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDWR)
    os.write(descriptor, b"x: 1\n")
    told = command_line.can_be_named(str(pipe), set())
    os.close(descriptor)
    assert not told
    assert not command_line.can_be_named(str(tmp_path / "gone"), set())


@pytest.mark.parametrize("name", ["follow", "stop", "teardown", "chat", "status"])
def test_a_command_reaches_the_machine_by_the_same_login(given: Given, name: str) -> None:
    """Else teardown.yml deletes a node whose machine it cannot ask for its jobs."""
    login = ("tpu_vm_user=bob", "tpu_vm_ssh_key_file=/k", "tpu_vm_os_login=false")
    told = given(f"ansible-playbook playbooks/{name}.yml", extra_vars=login)
    assert told == f"ansible-playbook tpuops.maxtext.{name} {' '.join(f'-e {each}' for each in login)}"


@pytest.mark.parametrize("name", ["chat", "connect"])
def test_a_command_for_the_server_serves_the_same_model(given: Given, name: str) -> None:
    served = ("hf_username=me", "hf_repo=me/x", "vllm_serve_source=export", "vllm_serve_max_model_len=9")
    told = given(
        f"ansible-playbook playbooks/{name}.yml", extra_vars=(*served, "steps=3", "vllm_serve_api_key=k")
    )
    assert told == f"ansible-playbook tpuops.maxtext.{name} {' '.join(f'-e {each}' for each in served)}"


def test_a_command_for_stages_creates_the_node_again_as_often(given: Given) -> None:
    told = given("ansible-playbook site.yml --tags sft", extra_vars=("tpu_vm_max_recoveries=0",))
    assert told == "ansible-playbook tpuops.maxtext.site -e tpu_vm_max_recoveries=0 --tags sft"


def test_a_command_for_stages_is_for_the_same_run(given: Given) -> None:
    both = f"ansible-playbook site.yml --tags sft; {FOLLOW}"
    assert given(both, extra_vars=("run_name=try-2", "steps=3", "hf_model=o/base")) == (
        "ansible-playbook tpuops.maxtext.site -e run_name=try-2 -e hf_model=o/base -e steps=3 --tags sft; "
        "ansible-playbook tpuops.maxtext.follow -e run_name=try-2"
    )


def test_a_command_for_stages_makes_the_same_node_with_the_same_end_and_disk(given: Given) -> None:
    """Without them it would make an on-demand node of another type with another disk, and without an end."""
    node = ("tpu_vm_accelerator_type=v6e-4", "tpu_vm_spot=true", "tpu_vm_disk_name=d", "tpu_vm_max_hours=3")
    told = given("ansible-playbook site.yml --tags tpu_vm", extra_vars=node)
    for each in node:
        assert f" -e {each} " in told


def test_what_is_meant_for_one_command_is_in_no_other(given: Given) -> None:
    once = (
        "tpu_vm_force=true",
        "tpu_vm_delete_disk=d",
        "tpu_vm_ephemeral=true",
        "vllm_serve_state=stopped",
        "vllm_serve_model=base",
        "job_name=j",
        "prompt=p",
    )
    assert given("ansible-playbook site.yml --tags sft", extra_vars=once) == (
        "ansible-playbook tpuops.maxtext.site --tags sft"
    )


def test_nothing_that_may_be_a_secret_is_named_again(given: Given) -> None:
    told = given(
        "ansible-playbook site.yml --tags sft",
        extra_vars=(
            '{"gcp_auth": {"access_token": "s3cret"}, "maxtext_environment": {"A": "s3cret"}}',
            "hf_token=s3cret",
            "vllm_serve_api_key=s3cret",
            '{"vllm_serve_arguments": ["--api-key=s3cret"]}',
        ),
    )
    assert told == "ansible-playbook tpuops.maxtext.site --tags sft"


def test_what_another_command_or_the_sentence_says_is_no_argument_of_this_one(given: Given) -> None:
    text = "Serve it: ansible-playbook site.yml --tags vllm_serve. Or ask that one: -e run_name=b"
    assert given(text, extra_vars=("run_name=a",)) == (
        "Serve it: ansible-playbook tpuops.maxtext.site -e run_name=a --tags vllm_serve. Or ask that one: "
        "-e run_name=b"
    )


def test_what_the_message_says_is_not_said_twice(given: Given) -> None:
    text = f"Wait: {FOLLOW} -e tpu_vm_name=a, or delete it: ansible-playbook playbooks/teardown.yml."
    assert given(text, extra_vars=("tpu_vm_name=b",)) == (
        "Wait: ansible-playbook tpuops.maxtext.follow -e tpu_vm_name=a, or delete it: "
        "ansible-playbook tpuops.maxtext.teardown -e tpu_vm_name=b."
    )


def test_a_playbook_is_named_as_the_running_one_was(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = f"{FOLLOW}; ansible-playbook site.yml --tags sft"
    paths = "ansible-playbook playbooks/follow.yml; ansible-playbook site.yml --tags sft"
    names = "ansible-playbook tpuops.maxtext.follow; ansible-playbook tpuops.maxtext.site --tags sft"
    monkeypatch.chdir(ROOT)
    for playbook in ("site.yml", "playbooks/teardown.yml", str(ROOT / "site.yml")):
        assert given(both, args=(playbook,)) == paths
    own = tmp_path / "own.yml"
    own.write_text("- import_playbook: tpuops.maxtext.site\n")
    for playbook in ("tpuops.maxtext.site", str(own)):
        assert given(both, args=(playbook,)) == names
    monkeypatch.chdir(tmp_path)
    assert given(args=(str(ROOT / "site.yml"),)) == f"ansible-playbook {ROOT}/playbooks/follow.yml"


def test_a_job_whose_name_needs_quotes_is_followed_and_stopped_by_it(given: Given) -> None:
    given(inventory=["a,"])
    told = interruption.goes_on({"name": "it's sft", "unit": "u"})
    name = """-e '{job_name: it'"'"'s sft}'"""
    assert f"ansible-playbook -i a, tpuops.maxtext.follow {name}\n" in told
    assert f"ansible-playbook -i a, tpuops.maxtext.stop {name}, or" in told


@pytest.mark.parametrize(
    "value",
    [
        [{"zone": "us-west1-c", "accelerator_type": "v5litepod-8", "spot": True, "timeout": 3}],
        {"a": "true", "b": "3", "c": None, "d": "", "e": "x: y # z", "f": "{{ a }}"},
        "",
        "a b",
        "日本",
        "it's",
        "a\nb",
        "true",
        None,
        7,
    ],
)
def test_a_value_comes_back_as_it_was(given: Given, value: Any) -> None:
    """A result that Ansible prints as JSON has a backslash before each double quote: there is none."""
    option, text = shlex.split(command_line.extra_variable("dataset", value))
    assert option == "-e"
    given(extra_vars=(text,))
    assert load_extra_vars(DataLoader())["dataset"] == (str(value) if isinstance(value, int) else value)


def test_no_command_with_candidates_has_a_double_quote(given: Given) -> None:
    places = (
        '{"tpu_vm_candidates": [{"zone": "a-b", "accelerator_type": "v5litepod-8"}], "tpu_vm_disk_name": ""}'
    )
    told = given("ansible-playbook site.yml --tags sft", extra_vars=(places,))
    assert told == (
        "ansible-playbook tpuops.maxtext.site -e '{tpu_vm_candidates: [{zone: a-b, accelerator_type: "
        "v5litepod-8}]}' -e tpu_vm_disk_name= --tags sft"
    )


def test_a_command_has_its_arguments_and_the_place_and_no_other_variable(given: Given) -> None:
    given(extra_vars=("run_name=try-2", "hf_token=hf_secret"), inventory=["a,"])
    told = command_line.command("site", "--tags", "data_disk,sft")
    assert told == "ansible-playbook -i a, tpuops.maxtext.site -e run_name=try-2 --tags data_disk,sft"


def test_a_variable_that_is_given_outweighs_that_of_the_running_command(given: Given) -> None:
    given(extra_vars=("tpu_vm_name=a",))
    told = command_line.command("status", tpu_vm_name="b")
    assert told == "ansible-playbook tpuops.maxtext.status -e tpu_vm_name=b"


# Every message with a command goes through as_started

COMMAND = re.compile(r"ansible-playbook\b")
#: Programs of the TPU VM, whose messages the task shows, and modules: quiet.py and job_action.py see to them.
ELSEWHERE = ("roles/*/files/*.py", "plugins/modules/*.py", "plugins/module_utils/**/*.py")


def values(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [text for each in node.values() for text in values(each)]
    if isinstance(node, list):
        return [text for each in node for text in values(each)]
    return [node] if isinstance(node, str) else []


def test_no_task_prints_a_command_as_it_stands() -> None:
    files = [
        *ROOT.glob("roles/*/tasks/*.yml"),
        *ROOT.glob("roles/*/vars/*.yml"),
        *ROOT.glob("playbooks/**/*.yml"),
    ]
    assert files
    bare = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in files
        for text in values(yaml.safe_load(path.read_text()))
        if COMMAND.search(re.sub(r"\{\{.*?as_started.*?\}\}", "", text, flags=re.DOTALL))
    ]
    assert bare == []


def test_no_plugin_prints_a_command_as_it_stands() -> None:
    """A source that has a command calls as_started; the modules' are rendered where their results arrive."""
    elsewhere = {path for pattern in ELSEWHERE for path in ROOT.glob(pattern)}
    own = {ROOT / "plugins/plugin_utils/command_line.py", ROOT / "plugins/filter/as_started.py"}
    bare = [
        str(path.relative_to(ROOT))
        for path in {*ROOT.glob("plugins/**/*.py")} - elsewhere - own
        if COMMAND.search(path.read_text()) and "as_started(" not in path.read_text()
    ]
    assert bare == []


def test_no_password_in_an_address_is_repeated(given: Given) -> None:
    told = given(extra_vars=["hf_endpoint=https://me:s3cret@hub", "steps=7"])
    assert "s3cret" not in command_line.command("site")
    assert "-e steps=7" in command_line.command("site"), told


def test_the_account_of_the_node_is_repeated(given: Given) -> None:
    given(extra_vars=['{"tpu_vm_service_account": {"email": "a@b"}, "tpu_vm_metadata": {"key": "s3cret"}}'])
    told = command_line.command("site")
    assert "tpu_vm_service_account: {email: a@b}" in told
    assert "s3cret" not in told
