# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The message for a stage that lacks something on its node, and the tags that create it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: The tag of the stage that creates each, and what is said of it.
STAGES = {
    "disk": ("data_disk", "The data disk is not mounted at {mount_point}"),
    "environment": ("maxtext_env", "The environment {environment} is not installed"),
    "model": ("convert", "The model is not converted: there is no {model}"),
    "checkpoints": ("sft", "The model is not trained: there is no {checkpoints}"),
    "server": ("vllm_serve", "No model is served: the unit {server} does not run"),
}


@dataclass(frozen=True)
class Told:
    """The sentences, and the tags of the stages to run, this one too."""

    words: str
    tags: str


def told(stage: str, node: str, lacks: Sequence[str], options: Mapping[str, Any]) -> Told:
    """lacks: names of prerequisites, in the order in which they are created."""
    sentences = [f"{STAGES[need][1].format_map(Words(options))} on {node}." for need in lacks]
    tags = [STAGES[need][0] for need in lacks]
    return Told(f"{stage}: {' '.join(sentences)}", ",".join(dict.fromkeys([*tags, stage])))


class Words(dict[str, Any]):
    """Options by name; one that is not given is told by its name."""

    def __missing__(self, key: str) -> str:
        return key
