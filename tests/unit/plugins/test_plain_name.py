# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be part of a path, of a job's name and of a command line."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.tpuops.maxtext.plugins.filter.plain_name import plain_name


@pytest.mark.parametrize("name", ["qwen3-4b-sft", "try_2", "a", "A.b-C_9", "0", "a" * 80])
def test_a_plain_name_stays(name: str) -> None:
    assert plain_name(name, "run_name") == name


def test_a_number_is_a_name() -> None:
    assert plain_name(7, "run_name") == "7"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "-rf",
        "--help",
        "a/b",
        "/abs",
        "a b",
        "a\nb",
        "a\n",
        "é",
        "a\x00",
        "$(id)",
        "{{ a }}",
    ],
)
def test_any_other_name_is_refused_with_option_value_and_remedy(name: str) -> None:
    with pytest.raises(AnsibleFilterError) as refusal:
        plain_name(name, "run_name")
    assert f"run_name: {name!r} is not valid. Use at most 80 letters, digits" in str(refusal.value)


def test_a_long_name_is_told_in_short() -> None:
    with pytest.raises(AnsibleFilterError) as refusal:
        plain_name("a" * 300, "run_name")
    assert "run_name: 'aaaaaaaaaaaaaaaaaaaa...' (300 characters) is not valid" in str(refusal.value)


@pytest.mark.parametrize("value", [None, [], {"a": 1}, True, 1.5])
def test_what_is_no_name_is_refused(value: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"run_name: .* is not valid"):
        plain_name(value, "run_name")
