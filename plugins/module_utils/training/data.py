# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the tokenizer and at the rows of the data set on the Hub, and compares them with the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import rows
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import Preflight, require
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import batches, inputs
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.batches import Amount, Plan
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.inputs import Settings


@dataclass(frozen=True)
class Tokenizer:
    """A repository with a tokenizer."""

    hub: Preflight
    repo_id: str
    revision: str

    def text(self, path: str) -> str | None:
        return self.hub.text(self.repo_id, self.revision, path)

    def check_chat_template(self) -> None:
        if not inputs.has_chat_template(self.text):
            raise HubError(
                f"model: the tokenizer of {self.repo_id} has no chat template, which training and serving "
                "need. Set hf_model to a repository that has one: a base model has often none, its Instruct "
                "model has one"
            )

    def count(self, texts: list[str]) -> list[int] | None:
        """The tokens of each text; None without the library tokenizers or its file."""
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            return None
        content = self.text("tokenizer.json")
        if content is None:
            return None
        library = Library.from_str(content)
        library.no_truncation()
        library.no_padding()
        return [len(each.ids) for each in library.encode_batch(texts, add_special_tokens=False)]


def look(
    hub: Preflight, given: Settings, dataset: dict[str, str], tokenizer: Tokenizer, plans: list[Plan]
) -> tuple[dict[str, Any], list[str]]:
    """What there is of the data set, and warnings.

    Raises HubError where MaxText does not take its rows, or where they do not last for the steps of a plan.
    """
    repo_id = dataset["repo_id"]
    found = hub.described({**dataset, "split": given.split, "config": given.config, "columns": []})
    inputs.check_columns(given, found["columns"])
    require("train_data_columns", repo_id, "column", given.columns, found["columns"])
    files = hub.data_files(repo_id, found["revision"], found["paths"]) if found["paths"] else []
    sample = rows.sample(files, given.columns, budget(plans))
    if sample.total is None:
        sample.total = found["rows"]
    inputs.check_rows(sample.rows, given.columns, repo_id)
    warnings = inputs.check_turns(sample.rows, given.columns)
    warnings += inputs.check_length(sample.rows, given.columns, given.length)
    amount = inputs.amount_of(sample.rows, sample.total, given.columns)
    undecided = [plan for plan in plans if not batches.surely_enough(amount, plan)]
    check_amount(amount, undecided)
    by_characters = True
    if undecided and sample.rows:
        counted = inputs.amount_of(sample.rows, sample.total, given.columns, tokenizer.count)
        by_characters = counted == amount
        amount = counted
        check_amount(amount, undecided)
    return {
        "repo_id": repo_id,
        "revision": found["revision"],
        "rows": sample.total,
        "rows_read": len(sample.rows),
        "complete": sample.complete,
    }, warnings + [warning for plan in undecided[:1] for warning in unsure(amount, plan, by_characters)]


def budget(plans: list[Plan]) -> int:
    """Bytes of the files to read: as far as the steps go, and enough to see what the rows are like."""
    wanted = max((batches.tokens_wanted(plan) for plan in plans), default=0) * inputs.CHARACTERS_A_TOKEN
    return min(rows.BUDGET, max(rows.LEAST, wanted))


def check_amount(amount: Amount, plans: list[Plan]) -> None:
    for plan in plans:
        short = batches.shortage(amount, plan)
        if short:
            raise HubError(f"steps: {short}")


def unsure(amount: Amount, plan: Plan, by_characters: bool = False) -> list[str]:
    """A warning where the data may end before the steps."""
    likely = batches.estimate(amount, amount.likely, plan)
    if likely is None:
        return [
            "The rows of the data set cannot be counted here: whether they last for all steps is not known."
        ]
    if not amount.likely:
        return [
            f"Only the number of rows is known, {amount.rows}, and not what is in them. Install pyarrow on "
            "the controller to have the rows of Parquet files looked at."
        ]
    if likely < plan.steps or (by_characters and likely < plan.steps * batches.MARGIN):
        how = "by its characters" if by_characters else "without the chat template"
        return [
            f"The data set gives about {likely} batches for {plan.steps} steps: it may end before. "
            f"Its tokens were told {how}; training looks again before its first step."
        ]
    return []
