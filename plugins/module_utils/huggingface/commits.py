# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commits of its model, tokenizer and data set a run uses: those that it began with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError, Transient

COMMIT = re.compile(r"[0-9a-f]{40}")
# What a job's inputs call the repository, the revision and the commit.
FIELDS = {
    "model": ("hf_model", "hf_revision", "hf_commit"),
    "tokenizer": ("tokenizer", "tokenizer_revision", "tokenizer_commit"),
    "dataset": ("dataset", "dataset_revision", "dataset_commit"),
}
#: The options that name them.
OPTIONS = {"model": "hf_model", "tokenizer": "tokenizer", "dataset": "dataset"}
Ask = Callable[[str, str, str], str]


def choose(
    kind: str,
    wanted: dict[str, str],
    run: str,
    jobs: Iterable[dict[str, Any]],
    ask: Ask,
    checkpoint: dict[str, Any] | None,
) -> dict[str, Any]:
    """repo_id, revision, commit and newer of a repository.

    ``wanted`` has repo_id and revision, ``jobs`` are the records of jobs (records.py), ``ask`` returns the
    Hub's commit of a revision (kind, repository, revision). ``checkpoint`` is what the newest checkpoint of
    the run depends on, empty where its manifest does not tell, None where there is no checkpoint. ``newer``
    is the Hub's commit where the run keeps another one, else None.

    A run goes on with the commit of its checkpoint, or of its job that runs. A start that left no checkpoint
    has trained nothing that is kept, and binds nobody. Before that, the Hub's commit is taken, or, where the
    Hub does not answer, the newest one that a job has used. Raises HubError where nothing is known, and for a
    directory.
    """
    repo_id, revision = wanted["repo_id"], wanted["revision"]
    answer: dict[str, Any] = {"repo_id": repo_id, "revision": revision, "commit": "", "newer": None}
    if repo_id.startswith("/"):  # what lies there may change, and no record of the run could tell
        raise HubError(
            f"{OPTIONS[kind]}: {repo_id} is a directory, and a run needs a repository of the Hub, whose "
            "commit it keeps. Upload the directory and give its USER/NAME."
        )
    if COMMIT.fullmatch(revision):
        return {**answer, "commit": revision}
    jobs, commit = list(jobs), FIELDS[kind][2]
    bound = [inputs for inputs in binding(run, jobs, checkpoint) if names(inputs, kind, wanted)]
    kept = bound[0][commit] if bound else None
    try:
        now = ask(kind, repo_id, revision)
    except Transient:  # any other refusal is about this repository, as a token that may not read it
        used = [job.get("inputs") or {} for job in reversed(jobs)]
        earlier = kept or next((inputs[commit] for inputs in used if names(inputs, kind, wanted)), None)
        if earlier is None:
            raise
        return {**answer, "commit": earlier}
    if kept and kept != now:
        return {**answer, "commit": kept, "newer": now}
    return {**answer, "commit": now}


def binding(run: str, jobs: list[dict[str, Any]], checkpoint: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The inputs that the run must keep, the surest first."""
    own = [job for job in jobs if job["name"] == f"sft-{run}"]
    if checkpoint is None:
        own = [job for job in own if job.get("status") == "running"]
    return [checkpoint or {}, *(job.get("inputs") or {} for job in own)]


def names(inputs: dict[str, Any], kind: str, wanted: dict[str, str]) -> bool:
    """Whether a job used a commit of this repository and revision."""
    repo_id, revision, commit = FIELDS[kind]
    return bool(
        inputs.get(repo_id) == wanted["repo_id"]
        and inputs.get(revision) == wanted["revision"]
        and COMMIT.fullmatch(str(inputs.get(commit)))
    )


def moved(kind: str, chosen: dict[str, Any], run: str) -> str | None:
    """What a user should know of a repository that changed since the run began."""
    if chosen["newer"] is None:
        return None
    what = {"model": "base model", "tokenizer": "tokenizer", "dataset": "data set"}[kind]
    return (
        f"The {what} {chosen['repo_id']} has changed on the Hub since run {run} began. The run goes on with "
        f"commit {chosen['commit'][:12]}; to use commit {chosen['newer'][:12]}, choose another run_name."
    )
