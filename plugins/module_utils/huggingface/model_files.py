# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the files of a model's repository are, as patterns of huggingface_hub: '*' matches '/' too.

The one home of these lists: for the modules, and as ``tpuops/model_files.py`` for the programs on the TPU VM.
"""

from __future__ import annotations

from collections.abc import Iterable

WEIGHTS = "*.safetensors"
#: What a model is loaded from beside its weights.
LOADED = (
    "*.json",  # configurations, tokenizers, vocabularies
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "*.txt",  # merges.txt, vocab.txt
    "*.py",  # what auto_map in config.json names
)
LICENSES = ("LICENSE*", "NOTICE*", "USE_POLICY*")
#: Copies in the formats of other programs.
ELSEWHERE = ("original/*", "metal/*", "onnx/*")

#: The manifest that an upload leaves in a repository.
UPLOAD = "tpuops-upload.json"

#: All that a model consists of, but not its weights in other formats than safetensors.
MODEL = (WEIGHTS, *LOADED, *LICENSES)

#: What of a base is published again with other weights.
PUBLISHED = (*LOADED, *LICENSES)
#: And what of that is not: other forms of the weights, the index of files that do not come along, an adapter
#: (loaders would take the model for one), notes of the base's own training, and what an upload leaves.
NOT_PUBLISHED = (
    *ELSEWHERE,
    "*.index.json",
    "adapter_*",
    "trainer_state.json",
    "*_results.json",
    "README*",
    UPLOAD,
)
#: The only directory of a model that loaders read.
TEMPLATES = "additional_chat_templates/"

#: What belongs to a tokenizer, with the tokens that end a text.
TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "*.jinja",
    "chat_template.json",
    "generation_config.json",
)


def chosen(names: Iterable[str], allow: Iterable[str], ignore: Iterable[str] = ()) -> list[str]:
    """Those of the names that an allowed pattern matches and no ignored one, as huggingface_hub matches."""
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(names, allow_patterns=[*allow], ignore_patterns=[*ignore]))
