# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commit of its model and of its data set a run uses: the one that it began with."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError

COMMIT = re.compile(r"[0-9a-f]{40}")
# What a job's inputs call the repository, the revision and the commit.
FIELDS = {
    "model": ("hf_model", "hf_revision", "hf_commit"),
    "dataset": ("dataset", "dataset_revision", "dataset_commit"),
}
# What the datasets library reads from files that its other arguments name.
BUILDERS = ("json", "csv", "parquet", "arrow", "text", "webdataset")

Ask = Callable[[str, str, str], str]


def choose(
    kind: str, wanted: dict[str, str], run: str, jobs: Iterable[dict[str, Any]], ask: Ask
) -> dict[str, Any]:
    """repo_id, revision, commit and newer of a repository.

    ``wanted`` has repo_id and revision, ``jobs`` are the records of jobs (records.py), ``ask`` returns the
    Hub's commit of a revision (kind, repository, revision). The commit is empty where there can be none: a
    directory, a format of files. ``newer`` is the Hub's commit where the run keeps another one, else None.

    A run goes on with the commit that its training began with. Before that, the Hub's is taken, or, where the
    Hub does not answer, the newest one that a job has used. Raises HubError where nothing is known.
    """
    repo_id, revision = wanted["repo_id"], wanted["revision"]
    answer: dict[str, Any] = {"repo_id": repo_id, "revision": revision, "commit": "", "newer": None}
    if repo_id.startswith("/") or (kind == "dataset" and repo_id in BUILDERS):
        return answer
    if COMMIT.fullmatch(revision):
        return {**answer, "commit": revision}
    known = [job for job in jobs if names(job, kind, wanted)]
    commit = FIELDS[kind][2]
    kept = next((job["inputs"][commit] for job in known if job["name"] == f"sft-{run}"), None)
    try:
        now = ask(kind, repo_id, revision)
    except HubError:
        earlier = kept or next((job["inputs"][commit] for job in reversed(known)), None)
        if earlier is None:
            raise
        return {**answer, "commit": earlier}
    if kept and kept != now:
        return {**answer, "commit": kept, "newer": now}
    return {**answer, "commit": now}


def names(job: dict[str, Any], kind: str, wanted: dict[str, str]) -> bool:
    """Whether a job used a commit of this repository and revision."""
    repo_id, revision, commit = FIELDS[kind]
    inputs = job.get("inputs") or {}
    return bool(
        inputs.get(repo_id) == wanted["repo_id"]
        and inputs.get(revision) == wanted["revision"]
        and COMMIT.fullmatch(str(inputs.get(commit)))
    )


def moved(kind: str, chosen: dict[str, Any], run: str) -> str | None:
    """What a user should know of a repository that changed since the run began."""
    if chosen["newer"] is None:
        return None
    what = {"model": "base model", "dataset": "data set"}[kind]
    return (
        f"The {what} {chosen['repo_id']} has changed on the Hub since run {run} began. The run goes on with "
        f"commit {chosen['commit'][:12]}; to use commit {chosen['newer'][:12]}, choose another run_name."
    )
