# SPDX-License-Identifier: GPL-3.0-or-later
"""Puts the tiny models and the small data set into a hub, under the names of their big namesakes."""

from __future__ import annotations

from collections.abc import Callable

from ..config import CloudConfig
from ..hub.attributes import DEFAULT_ATTRIBUTES, LfsRule
from ..hub.changes import Put
from ..hub.names import RepoId
from ..hub.records import MAIN, Entry, lfs_entry, regular_entry
from ..hub.store import HubStore
from .dataset import dataset_files
from .model import ModelShape, model_files
from .questions import Row, rows
from .tokenizer import tokenizer_files, train_tokenizer

SEED = 0
MODELS = {
    RepoId("model", "Qwen", "Qwen3-4B"): ModelShape(layers=36),
    RepoId("model", "Qwen", "Qwen3-0.6B"): ModelShape(layers=28),
}
DATASET = RepoId("dataset", "llm-jp", "Synthetic-JP-EN-Coding-Dataset")


def seed_hub(store: HubStore, config: CloudConfig, progress: Callable[[str], None]) -> None:
    """Make sure that the models and the data set are in `store`; what is there already makes no commit.

    progress: is given one line for each repository.
    """
    questions = rows()
    publish(store, DATASET, dataset_files(questions))
    progress(f"data set {DATASET}: {len(questions)} questions")
    for repo_id, shape in MODELS.items():
        publish(store, repo_id, tiny_model_files(shape, questions))
        progress(f"model {repo_id}: {shape.layers} layers of width {shape.hidden}")


def tiny_model_files(shape: ModelShape, questions: list[Row], seed: int = SEED) -> dict[str, bytes]:
    """All files of one model: configuration, weights, and a tokenizer trained on `questions`."""
    texts = (message["content"] for row in questions for message in row["messages"])
    tokenizer = train_tokenizer(texts, shape.vocab)
    return model_files(shape, seed) | tokenizer_files(tokenizer, shape.max_length)


def publish(store: HubStore, repo_id: RepoId, files: dict[str, bytes]) -> None:
    """Make the public repository, where there is none, and bring `files` onto its main branch."""
    if not store.get(repo_id):
        store.create(repo_id, private=False, author=repo_id.namespace)
    rule = LfsRule(DEFAULT_ATTRIBUTES.decode())
    changes = [Put(path, _entry(store, rule, path, data)) for path, data in sorted(files.items())]
    store.commit(repo_id, MAIN, changes, title="Add what the local cloud has made", author=repo_id.namespace)


def _entry(store: HubStore, rule: LfsRule, path: str, data: bytes) -> Entry:
    sha256 = store.blobs.put(data)
    return (
        lfs_entry(sha256, len(data)) if rule.applies(path, len(data), data) else regular_entry(data, sha256)
    )
