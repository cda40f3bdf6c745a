# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pwd
import re

import pytest
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.labels import marked, value
from hypothesis import given
from hypothesis import strategies as st


def test_what_is_made_says_whose_it_is() -> None:
    assert marked({"team": "a", "shared": True}, "Qwen3.4B sft", "Ann.Lee@example.org") == {
        "created-by": "tpuops-maxtext",
        "owner": "ann-lee-example-org",
        "run": "qwen3-4b-sft",
        "team": "a",
        "shared": "true",
    }


def test_the_users_labels_win_and_empty_ones_are_left_out() -> None:
    assert marked({"owner": "sre"}, "", "me") == {"created-by": "tpuops-maxtext", "owner": "sre"}


@pytest.mark.parametrize(
    "label", [{"Team": "a"}, {"team": "A"}, {"1st": "a"}, {"team": "a b"}, {"t" * 64: "a"}]
)
def test_what_google_refuses_is_named(label: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"labels: {next(iter(label))}="):
        marked(label, "r", "me")


def test_too_many() -> None:
    with pytest.raises(ValueError, match="there are 65"):
        marked({f"l{number}": "" for number in range(62)}, "r", "me")


@given(st.text())
def test_any_text_becomes_a_value(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", value(text))


def test_a_variable_of_the_shell_does_not_make_ones_node_somebody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = pwd.getpwuid(os.getuid()).pw_name
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody")
    assert labels.login_name() == mine
