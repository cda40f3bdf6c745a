# SPDX-License-Identifier: GPL-3.0-or-later
"""A printed command acts on the cloud that the running one acts on, and can be typed where that was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
from ansible.parsing.dataloader import DataLoader
from ansible.utils import vars as ansible_vars
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.printed_commands import Commands


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(playbook: str, *variables: str, inventory: str = "") -> Commands:
        given = {"args": (playbook,), "extra_vars": variables, "inventory": [inventory] if inventory else []}
        monkeypatch.setattr(context, "CLIARGS", ImmutableDict(given))
        ansible_vars.load_extra_vars.__dict__.pop("extra_vars", None)  # it keeps the first answer
        return Commands(DataLoader())

    return make


def test_the_inventory_and_the_place_are_repeated_and_nothing_else(commands: Any) -> None:
    made = commands("site.yml", "run_name=try-2", "hf_token=hf_secret", inventory="inventories/gcp")
    assert made.playbook("status") == (
        "ansible-playbook -i inventories/gcp playbooks/status.yml -e run_name=try-2"
    )
    assert made.site("data_disk,sft") == (
        "ansible-playbook -i inventories/gcp site.yml --tags data_disk,sft -e run_name=try-2"
    )


def test_a_variable_that_is_given_outweighs(commands: Any) -> None:
    made = commands("site.yml", "tpu_vm_name=a")
    assert made.playbook("status", tpu_vm_name="b") == (
        "ansible-playbook playbooks/status.yml -e tpu_vm_name=b"
    )


def test_the_playbook_is_called_as_the_running_one(commands: Any, tmp_path: Path) -> None:
    (tmp_path / "playbooks").mkdir()
    assert commands("tpuops.maxtext.site").playbook("chat") == "ansible-playbook tpuops.maxtext.chat"
    assert commands("playbooks/sft.yml").site() == "ansible-playbook site.yml"
    there = commands(f"{tmp_path}/playbooks/sft.yml").playbook("chat")
    assert there == f"ansible-playbook {tmp_path}/playbooks/chat.yml"
    assert commands(f"{tmp_path}/site.yml").playbook("chat") == there
    assert commands("/elsewhere/mine.yml").playbook("chat") == "ansible-playbook tpuops.maxtext.chat"
