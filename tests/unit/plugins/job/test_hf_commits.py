# SPDX-License-Identifier: GPL-3.0-or-later
"""The commits of a run: those that its training began with."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import commits
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError

OLD, NEW = "0" * 40, "1" * 40
WANTED = {"repo_id": "me/data", "revision": "main"}


def job(name: str, commit: Any = OLD, **changes: Any) -> dict[str, Any]:
    inputs = {"dataset": "me/data", "dataset_revision": "main", "dataset_commit": commit}
    inputs |= {"hf_model": "me/data", "hf_revision": "main", "hf_commit": commit}
    return {"name": name, "inputs": {**inputs, **changes}}


def hub(kind: str, repo_id: str, revision: str) -> str:
    return NEW


def silent(kind: str, repo_id: str, revision: str) -> str:
    raise HubError("the Hub does not answer")


def never(kind: str, repo_id: str, revision: str) -> str:
    raise AssertionError("asked")


@pytest.mark.parametrize(
    ("jobs", "commit", "newer"),
    [
        ([], NEW, None),
        ([job("sft-run")], OLD, NEW),
        ([job("sft-run", NEW)], NEW, None),
        ([job("sft-other")], NEW, None),
        ([job("convert-x")], NEW, None),
        ([job("sft-run", dataset="me/other")], NEW, None),
        ([job("sft-run", dataset_revision="v1")], NEW, None),
        ([job("sft-run", None)], NEW, None),
        ([{"name": "sft-run", "inputs": {}}, {"name": "install"}], NEW, None),
    ],
)
def test_the_run_keeps_what_its_training_began_with(
    jobs: list[dict[str, Any]], commit: str, newer: str | None
) -> None:
    found = commits.choose("dataset", WANTED, "run", jobs, hub)
    assert found == {**WANTED, "commit": commit, "newer": newer}


@pytest.mark.parametrize(
    ("jobs", "commit"),
    [
        ([job("sft-run")], OLD),
        ([job("convert-a", NEW), job("convert-b")], OLD),
        ([job("export-x", "x")], None),
    ],
)
def test_a_hub_that_does_not_answer_is_not_needed_twice(
    jobs: list[dict[str, Any]], commit: str | None
) -> None:
    if commit is None:
        with pytest.raises(HubError, match="does not answer"):
            commits.choose("model", WANTED, "run", jobs, silent)
    else:
        found = commits.choose("model", WANTED, "run", jobs, silent)
        assert (found["commit"], found["newer"]) == (commit, None)


@pytest.mark.parametrize(
    ("kind", "repo_id", "revision", "commit"),
    [
        ("model", "me/m", OLD, OLD),
        ("dataset", "json", "main", ""),
        ("model", "/mnt/model", "main", ""),
        ("dataset", "/mnt/data", "main", ""),
    ],
)
def test_what_needs_no_question(kind: str, repo_id: str, revision: str, commit: str) -> None:
    wanted = {"repo_id": repo_id, "revision": revision}
    assert commits.choose(kind, wanted, "run", [], never)["commit"] == commit


def test_a_repository_that_changed_is_told() -> None:
    found = commits.choose("dataset", WANTED, "run", [job("sft-run")], hub)
    told = commits.moved("dataset", found, "run")
    assert told is not None
    assert "The data set me/data has changed on the Hub since run run began." in told
    assert "goes on with commit 000000000000; to use commit 111111111111, choose another run_name" in told
    assert commits.moved("dataset", {**found, "newer": None}, "run") is None
