# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a run."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

own_repo: Any = importlib.import_module("ansible_collections.tpuops.maxtext.plugins.filter.own_repo")


def test_it_is_the_user_s() -> None:
    assert own_repo.FilterModule().filters()["own_repo"]("me", "qwen3-4b-sft") == "me/qwen3-4b-sft"


@pytest.mark.parametrize("username", ["", None])
def test_without_a_user_nothing_is_dropped_in_silence(username: str | None) -> None:
    with pytest.raises(AnsibleFilterError, match=r"hf_username: is empty.* HF_USERNAME.* hf_repo"):
        own_repo.own_repo(username, "qwen3-4b-sft")
