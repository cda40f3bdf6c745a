# SPDX-License-Identifier: GPL-3.0-or-later
"""What is a setting, and what is wrong with a value."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

setting_names: Any = importlib.import_module(
    "ansible_collections.tpuops.maxtext.plugins.plugin_utils.setting_names"
)
setting_values: Any = importlib.import_module(
    "ansible_collections.tpuops.maxtext.plugins.plugin_utils.setting_values"
)
spelling: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.spelling")
settings: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings")

tpu_hosts: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.plugin_utils.tpu_hosts")


ROOT = Path(__file__).resolve().parents[4]


def misspelt(name: str, command_line: bool = True) -> str:
    given = setting_names.Given(
        name, "set with -e" if command_line else "set for the group all", command_line
    )
    return "".join(setting_names.misspelt([given]))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("stepss", "steps"),
        ("setps", "steps"),
        ("hf_usrename", "hf_username"),
        ("learningrate", "learning_rate"),
        ("sft_stpes", "steps"),
        ("tpu_vm_acelerator_type", "tpu_vm_accelerator_type"),
        ("leftover_delete", "leftovers_delete"),
        ("job", "job_name"),
    ],
)
def test_a_misspelt_name_is_told_with_what_is_meant(name: str, meant: str) -> None:
    assert misspelt(name) == f"{name}: is not a setting (set with -e). Did you mean {meant}?"


@pytest.mark.parametrize("name", ["sft_optimizer_name", "tpu_vm_colour", "vllm_serve_x"])
def test_a_name_that_begins_like_a_role_is_ours(name: str) -> None:
    assert misspelt(name, False) == (
        f"{name}: is not a setting (set for the group all). See docs/variables.md for all of them."
    )


@pytest.mark.parametrize(
    "name",
    [
        "ansible_user",
        "localcloud",
        "my_step",
        "nginx_port",
        "region",
        "steps",
        "steps",
        "gcp_auth",
        "_sft_argv",
    ],
)
def test_the_variables_of_others_and_ours_pass(name: str) -> None:
    assert misspelt(name) == ""


@pytest.mark.parametrize("name", ["sft_reached", "tpu_vm_report_phase", "locked_env_name"])
def test_what_our_playbooks_pass_is_not_the_users(name: str) -> None:
    assert misspelt(name) == (
        f"{name}: is not a setting (set with -e). The playbooks give it a value themselves. Remove yours."
    )


def passed_in(node: Any) -> set[str]:
    """The settings that tasks and plays set for a role."""
    if isinstance(node, list):
        return set().union(*map(passed_in, node))
    if not isinstance(node, dict):
        return set()
    own = {name for name in node.get("vars") or {} if name in settings.known()}
    return own.union(*map(passed_in, node.values()))


def test_whatever_a_playbook_or_a_role_passes_is_refused_from_a_user() -> None:
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    found = set().union(*(passed_in(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in files))
    assert found
    assert sorted(name for name in found if not settings.known()[name].passed) == []


def test_the_variables_of_the_inventory_plugin_pass() -> None:
    name = "projects/p/locations/us-west1-c/nodes/n-1"
    own = [f"tpu_{key}" for key in tpu_hosts.node_variables({"name": name}, 1)]
    of_worker = ["tpu_worker_id", "tpu_internal_address", "tpu_external_address", "tpu_known_hosts_file"]
    assert len(own) > 10
    assert [told for each in own + of_worker if (told := misspelt(each, False))] == []


def test_what_may_be_another_s_counts_on_the_command_line_alone() -> None:
    assert misspelt("job", False) == ""


def test_of_several_names_the_nearest_is_meant() -> None:
    assert spelling.nearest("hf_mode", ["hf_model", "model", "hf_replace"]) == "hf_model"
    assert spelling.nearest("trian", ["train", "sft"]) == "train"
    assert spelling.nearest("x", ["sft"]) == ""


@pytest.mark.parametrize(
    ("one", "other", "far"),
    [("steps", "steps", 0), ("setps", "steps", 1), ("step", "steps", 1), ("", "ab", 2)],
)
def test_the_distance_counts_letters(one: str, other: str, far: int) -> None:
    assert spelling.distance(one, other, 2) == spelling.distance(other, one, 2) == far
    assert spelling.distance("kitten", "sitting", 2) == 3


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("steps", "abc", "'abc' is not a whole number. Set it to one, such as 10."),
        ("steps", "", "'' is not a whole number. Set it to one, such as 10."),
        ("steps", 1.5, "1.5 is not a whole number. Set it to one, such as 10."),
        ("steps", True, "true is not a whole number. Set it to one, such as 10."),
        ("steps", "0", "0 is out of range. Set a number of 1 or more."),
        ("steps", None, "is set to nothing. Give it a value, or leave it out for the default."),
        ("learning_rate", "fast", "'fast' is not a number. Set it to one, such as 0.5 or 1e-5."),
        ("learning_rate", "nan", "'nan' is not a number. Set it to one, such as 0.5 or 1e-5."),
        ("learning_rate", -1e-5, "-1e-05 is out of range. Set a number above 0."),
        (
            "vllm_serve_chat_max_tokens",
            "abc",
            "'abc' is not a number. Set it to one, such as 0.5 or 1e-5.",
        ),
        ("vllm_serve_chat_max_tokens", "0", "0 is out of range. Set a number of 1 or more."),
        ("vllm_serve_chat_temperature", "-1", "-1 is out of range. Set a number of 0 or more."),
        ("serve_port", 80, "80 is out of range. Set a number from 1024 to 65535."),
        ("hf_replace", "ture", "'ture' is neither true nor false. Set it to true or false."),
        # Ansible's filter bool, by which the roles read it, takes these for false.
        ("tpu_vm_ephemeral", "y", "'y' is neither true nor false. Set it to true or false."),
        ("tpu_vm_spot", "t", "'t' is neither true nor false. Set it to true or false."),
        ("tpu_vm_force", "true ", "'true ' is neither true nor false. Set it to true or false."),
        (
            "vllm_serve_state",
            "stoped",
            "'stoped' is not one of started, stopped, absent. Did you mean stopped?",
        ),
        ("platform", "gpu", "'gpu' is not one of tpu, cpu. Set it to tpu or cpu."),
        ("vllm_serve_source", "disk", "'disk' is not one of hub, export. Set it to hub or export."),
        ("train_data_columns", "[messages", "'[messages' is not a list. Write a list such as [a, b]."),
        ("train_data_columns", {"a": 1}, '{"a": 1} is not a list. Write a list such as [a, b].'),
        ("train_data_columns", [["a"]], '["a"] is not a text. Write a list of texts such as [a, b].'),
        (
            "tpu_vm_candidates",
            "[{zone: a}]",
            "is a text, and must be a list. Set it in the inventory, or with "
            "-e '{\"tpu_vm_candidates\": [...]}'.",
        ),
        (
            "maxtext_environment",
            "A=b",
            "its value is not a dictionary. Set it in the inventory, or with "
            '-e \'{"maxtext_environment": {"NAME": "VALUE"}}\'.',
        ),
        (
            "hf_environment",
            {"HF_TOKEN": "hf_1"},
            "has HF_TOKEN, and the record of a job shows its environment. Set hf_token instead.",
        ),
        (
            "maxtext_environment",
            {"WANDB_API_KEY": "1"},
            "has WANDB_API_KEY, and the record of a job shows its environment. Leave it out.",
        ),
        *(
            (
                setting,
                {name: value},
                f"has {name}, and the record of a job shows its environment. Leave it out.",
            )
            for setting, name, value in (
                ("maxtext_environment", "PASSWORD", "1"),
                ("maxtext_environment", "COMET_APIKEY", "1"),
                ("maxtext_env_environment", "GIT_CREDENTIALS", "1"),
                ("vllm_serve_install_environment", "HTTPS_PROXY", "http://u:p@proxy"),
            )
        ),
        (
            "hf_environment",
            {"HF_HUB_OFFLINE": None},
            "the value of HF_HUB_OFFLINE is not a text. Set it to a single word or text.",
        ),
        (
            "run_name",
            "mine/checkpoints",
            "'mine/checkpoints' is not valid. Use at most 80 letters, digits, dots, hyphens and underscores, "
            "a letter or a digit first.",
        ),
        ("run_name", ["a"], '["a"] is not a text. Set it to a single word or text.'),
        ("tpu_vm_max_idle_minutes", "half", "'half' is not a whole number. Set it to one, such as 10."),
        ("tpu_vm_max_idle_minutes", "-1", "-1 is out of range. Set a number of 0 or more."),
        (
            "tpu_vm_idle_action",
            "stoped",
            "'stoped' is not one of deleted, stopped. Did you mean stopped?",
        ),
    ],
)
def test_a_wrong_value_is_told_by_the_name_that_was_set(name: str, value: Any, told: str) -> None:
    assert setting_values.problem(name, value) == f"{name}: {told}"


@pytest.mark.parametrize(
    ("name", "value", "result"),
    [
        *(
            ("hf_environment", {name: value}, {name: value})
            for name, value in (
                ("HF_HUB_DISABLE_IMPLICIT_TOKEN", 1),
                ("TOKENIZERS_PARALLELISM", "false"),
                ("HF_TOKEN_PATH", "/a"),
                ("HTTPS_PROXY", "http://proxy:8080"),
            )
        ),
        ("steps", "200", 200),
        ("learning_rate", "1e-5", 1e-5),
        ("learning_rate", "", ""),
        ("per_device_batch_size", "2.0", 2.0),
        ("hf_replace", "yes", True),
        ("hf_replace", "false", False),
        ("train_data_columns", "[messages]", ["messages"]),
        ("train_data_columns", "[prompt, completion]", ["prompt", "completion"]),
        ("train_data_columns", "prompt,completion", ["prompt", "completion"]),
        ("vllm_serve_chat_max_tokens", "", ""),
        ("vllm_serve_chat_temperature", "0", 0),
        ("sft_arguments", "", []),
        ("convert_hf_bytes", None, None),
        ("convert_hf_bytes", "8.1e9", 8.1e9),
        ("dataset_revision", 1234567, 1234567),
    ],
)
def test_a_text_from_the_command_line_gets_its_type(name: str, value: Any, result: Any) -> None:
    assert setting_values.converted(settings.known()[name], value) == result
    assert setting_values.problem(name, value) == ""


@pytest.mark.parametrize(
    ("period", "minutes", "told"),
    [
        ("0", "10", []),
        (15, 0, []),
        (
            "10",
            5,
            ["sft_checkpoint_period: is 10, and sft_checkpoint_minutes is 5."],
        ),
        (
            0,
            0,
            ["sft_checkpoint_period: is 0, and sft_checkpoint_minutes is 0."],
        ),
        ("x", 0, ["sft_checkpoint_period: 'x' is not a whole number"]),
    ],
)
def test_checkpoints_are_by_steps_or_by_minutes(period: Any, minutes: Any, told: list[str]) -> None:
    found = setting_values.problems({"sft_checkpoint_period": period, "sft_checkpoint_minutes": minutes})
    assert len(found) == len(told)
    assert all(each.startswith(begin) for each, begin in zip(found, told, strict=True)), found


def test_a_secret_is_not_told() -> None:
    assert "hunter2" not in setting_values.problem("hf_token", ["hunter2"])


def test_a_long_value_is_cut() -> None:
    assert len(setting_values.problem("steps", "x" * 1000)) < 150


def test_tags_that_no_task_has_are_told() -> None:
    assert setting_names.unknown_tags(["sft", "all"], ["sft", "export"]) == []
    begin = "is no tag of this playbook, and nothing would be done."
    assert setting_names.unknown_tags(["trian"], ["sft", "export"]) == [
        f"--tags: trian {begin} Use export or sft."
    ]
    assert setting_names.unknown_tags(["exprot"], ["export"]) == [
        f"--tags: exprot {begin} Did you mean export?"
    ]
    assert setting_names.unknown_tags(["sft"], []) == [f"--tags: sft {begin} Leave it out."]


def test_what_must_be_done_is_not_skipped() -> None:
    assert setting_names.unknown_skips(["sft"], ["sft"]) == []
    assert setting_names.unknown_skips(["tpu_vm"], ["sft", "preflight"]) == [
        "--skip-tags: tpu_vm cannot be skipped here. Tags that can: preflight, sft."
    ]
    assert setting_names.unknown_skips(["tpu_vm"], []) == [
        "--skip-tags: tpu_vm cannot be skipped here. Leave it out."
    ]


def test_every_limit_is_that_of_a_setting() -> None:
    assert sorted(settings.LIMITS.keys() - settings.known().keys()) == []


def test_every_number_has_a_range() -> None:
    numbers = {name for name, each in settings.known().items() if each.type in ("int", "float")}
    assert sorted(numbers - settings.LIMITS.keys()) == []


def test_every_default_is_a_value_that_passes() -> None:
    defaults = {
        name: each.option["default"] for name, each in settings.known().items() if "default" in each.option
    }
    assert [told for name, value in defaults.items() if (told := setting_values.problem(name, value))] == []


def test_a_setting_has_the_same_type_in_every_entry_point() -> None:
    seen: dict[str, set[tuple[Any, ...]]] = {}
    for role in settings.roles():
        for entry in settings._read(settings.ROLES / role / settings.SPECS)["argument_specs"].values():
            for name, option in (entry.get("options") or {}).items():
                kind = (option.get("type", "str"), option.get("elements"), str(option.get("choices")))
                seen.setdefault(name, set()).add(kind)
    assert {name: kinds for name, kinds in seen.items() if len(kinds) > 1} == {}


def test_an_old_name_is_told_with_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting_names, "RENAMED", {"old": "steps"})
    assert misspelt("old", False) == "old: is now called steps (set for the group all). Set steps instead."


def test_every_old_name_is_of_a_setting_that_is_there() -> None:
    assert sorted(set(settings.RENAMED.values()) - settings.known().keys()) == []
    assert sorted(settings.RENAMED.keys() & settings.known().keys()) == []
