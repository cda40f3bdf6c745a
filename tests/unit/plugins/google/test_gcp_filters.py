# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.filters import compile_filter
from hypothesis import given
from hypothesis import strategies as st

RESOURCE = {"projectId": "demo-1", "labels": {"team": "Red", "tier": "1"}, "empty": None}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("projectId=demo-1", True),
        ("projectId = 'DEMO-1'", True),
        ("projectId!=demo-1", False),
        ("projectId ~ ^demo", True),
        ("projectId ~ ^Demo", False),
        ("projectId !~ ^demo", False),
        ("labels.team:red", True),
        ("labels.team:r*", True),
        ("labels.team:*", True),
        ("labels.owner:*", False),
        ("labels.owner = x", False),
        ("NOT labels.owner:*", True),
        ("projectId.deeper:*", False),
        ("empty:*", False),
        ("labels.tier = 1 AND labels.team = red", True),
        ("labels.tier = 2 OR labels.team = red", True),
        ("labels.tier = 2 AND (labels.team = red OR projectId:*)", False),
        ("NOT labels.tier = 2 AND labels.team = red", True),
    ],
)
def test_matches(text: str, matches: bool) -> None:
    assert compile_filter(text)(RESOURCE) is matches


@pytest.mark.parametrize(
    "text",
    [
        "",
        "projectId",
        "projectId =",
        "= x",
        "a = b c = d",
        "(a = b",
        "a = b)",
        "a = b AND",
        "a ~ '('",
        "a = b OR c = d AND e = f",
        "a = 'b",
        "a <> b",
    ],
)
def test_what_is_no_filter_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(repr(text))) as refusal:
        compile_filter(text)
    assert "projectId ~ '^demo-'" in str(refusal.value)


@given(st.text(alphabet="ab=~!:()'\" ANDORT.*-", max_size=30))
def test_any_text_is_either_a_filter_or_refused(text: str) -> None:
    try:
        predicate = compile_filter(text)
    except InvalidArgument:
        return
    assert predicate({"a": "b"}) in (True, False)
