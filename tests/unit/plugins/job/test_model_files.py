# SPDX-License-Identifier: GPL-3.0-or-later
"""The patterns of a model's files, and those of hub.py, which is sent to the target as one file, agree."""

from __future__ import annotations

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import hub, model_files

ALL = [
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "additional_chat_templates/tool.jinja",
    "tokenizer.model",
    "merges.txt",
    "modeling_x.py",
]


@pytest.mark.parametrize("name", ALL)
def test_what_a_model_is_loaded_from_is_no_document(name: str) -> None:
    """A document of somebody else stays in the repository beside the model."""
    assert not hub.document(name)
    assert model_files.chosen([name], model_files.MODEL, model_files.ELSEWHERE) == [name]


@pytest.mark.parametrize("name", ["LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt", "USE_POLICY.md"])
def test_a_license_is_one_and_is_published(name: str) -> None:
    assert hub.document(name)
    assert model_files.chosen([name], model_files.PUBLISHED, model_files.NOT_PUBLISHED) == [name]


def test_the_manifest_of_an_upload_is_not_published_again() -> None:
    assert hub.MANIFEST == model_files.UPLOAD
    assert model_files.chosen([hub.MANIFEST], model_files.PUBLISHED, model_files.NOT_PUBLISHED) == []


def test_a_tokenizer_is_part_of_what_is_published() -> None:
    names = [name for name in ALL if name in model_files.chosen(ALL, model_files.TOKENIZER)]
    assert names
    assert model_files.chosen(names, model_files.PUBLISHED, model_files.NOT_PUBLISHED) == names
