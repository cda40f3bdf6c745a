# SPDX-License-Identifier: GPL-3.0-or-later
"""The commits of a run: those that its training began with."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import commits
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError, Transient

from .conftest import RunModule

OLD, NEW = "0" * 40, "1" * 40
WANTED = {"repo_id": "me/data", "revision": "main"}


def job(name: str, commit: Any = OLD, **changes: Any) -> dict[str, Any]:
    inputs = {"dataset": "me/data", "dataset_revision": "main", "dataset_commit": commit}
    inputs |= {"hf_model": "me/data", "hf_revision": "main", "hf_commit": commit}
    inputs |= {"tokenizer": "me/data", "tokenizer_revision": "main", "tokenizer_commit": commit}
    return {"name": name, "inputs": {**inputs, **changes}}


def hub(kind: str, repo_id: str, revision: str) -> str:
    return NEW


def silent(kind: str, repo_id: str, revision: str) -> str:
    raise Transient("the Hub does not answer")


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
    """The manifest of its checkpoint tells nothing."""
    found = commits.choose("dataset", WANTED, "run", jobs, hub, {})
    assert found == {**WANTED, "commit": commit, "newer": newer}


@pytest.mark.parametrize(
    ("status", "commit"),
    [("failed", NEW), ("interrupted", NEW), ("stopped", NEW), ("running", OLD)],
)
def test_a_start_that_left_no_checkpoint_binds_nothing(status: str, commit: str) -> None:
    """As after "Correct the rows, then run the same command again". A job that runs is attached to."""
    known = [{**job("sft-run"), "status": status}]
    found = commits.choose("dataset", WANTED, "run", known, hub, None)
    assert found["commit"] == commit


def test_the_checkpoint_tells_more_than_the_record() -> None:
    """The last start may have failed with other inputs, or its record may be lost."""
    for jobs in ([], [{**job("sft-run", NEW), "status": "failed"}]):
        found = commits.choose("dataset", WANTED, "run", jobs, hub, job("", OLD)["inputs"])
        assert (found["commit"], found["newer"]) == (OLD, NEW)


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
            commits.choose("model", WANTED, "run", jobs, silent, None)
    else:
        found = commits.choose("model", WANTED, "run", jobs, silent, None)
        assert (found["commit"], found["newer"]) == (commit, None)


@pytest.mark.parametrize(
    ("kind", "repo_id", "revision", "commit"),
    [
        ("model", "me/m", OLD, OLD),
        ("tokenizer", "me/m", OLD, OLD),
    ],
)
def test_what_needs_no_question(kind: str, repo_id: str, revision: str, commit: str) -> None:
    wanted = {"repo_id": repo_id, "revision": revision}
    assert commits.choose(kind, wanted, "run", [], never, None)["commit"] == commit


def test_a_repository_that_the_token_may_not_read_is_no_silence() -> None:
    """Another job's commit would be taken for it, without a word."""

    def refused(kind: str, repo_id: str, revision: str) -> str:
        raise HubError("hf_token: may not read it")

    with pytest.raises(HubError, match="may not read it"):
        commits.choose("model", WANTED, "run", [job("sft-other")], refused, None)


@pytest.mark.parametrize("kind", ["model", "tokenizer", "dataset"])
def test_a_directory_is_refused(kind: str) -> None:
    """Its content could change between two starts of a run, and nothing would tell."""
    with pytest.raises(HubError, match="/mnt/it is a directory, and a run needs a repository of the Hub"):
        commits.choose(kind, {"repo_id": "/mnt/it", "revision": "main"}, "run", [], never, None)


def test_a_repository_that_changed_is_told() -> None:
    found = commits.choose("dataset", WANTED, "run", [job("sft-run")], hub, {})
    told = commits.moved("dataset", found, "run")
    assert told is not None
    assert "The data set me/data has changed on the Hub since run run began." in told
    assert "goes on with commit 000000000000; to use commit 111111111111, choose another run_name" in told
    assert commits.moved("dataset", {**found, "newer": None}, "run") is None


@pytest.mark.parametrize(
    ("tokenizer", "kept"),
    [
        ({"repo_id": "me/base"}, "model"),
        ({"repo_id": "me/base", "revision": "v1"}, "other"),
        ({"repo_id": "me/other"}, "other"),
    ],
)
def test_the_tokenizer_keeps_a_commit_of_its_own_where_it_is_another(
    run_module: RunModule, monkeypatch: pytest.MonkeyPatch, tokenizer: dict[str, str], kept: str
) -> None:
    now = {("model", "me/base", "main"): NEW, ("dataset", "me/data", "main"): NEW}
    its = {"repo_id": tokenizer["repo_id"], "revision": tokenizer.get("revision", "main")}
    now[("tokenizer", its["repo_id"], its["revision"])] = NEW
    monkeypatch.setattr(
        "ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight.Preflight.commit",
        lambda _hub, *wanted: now[wanted],
    )
    its_inputs = {
        "tokenizer": its["repo_id"],
        "tokenizer_revision": its["revision"],
        "tokenizer_commit": OLD,
        "hf_model": "me/base",
        "hf_revision": "main",
        "hf_commit": "2" * 40,
    }
    given = {"model": {"repo_id": "me/base"}, "tokenizer": tokenizer, "dataset": {"repo_id": "me/data"}}
    found = run_module("hf_commits", run="run", checkpoint=its_inputs, **given)
    assert found["tokenizer"]["commit"] == {"model": "2" * 40, "other": OLD}[kept]
    assert found["dataset"]["commit"] == NEW
    assert run_module("hf_commits", run="run", **given)["tokenizer"]["commit"] == NEW
