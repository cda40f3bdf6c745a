#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_commits
short_description: Find the commits of the model, the tokenizer and the data set of a run
version_added: 0.2.0
description:
  - A repository of the Hub changes under its name. A run keeps the commits that its training began with, so
    that it never mixes two versions of its model or its data.
  - For a run that has a checkpoint, or whose job runs, the commits come from there. Otherwise they are the
    ones that the Hub has now. A start that left no checkpoint binds nothing. When the Hub does not answer,
    the newest commit that a job here has used is taken.
  - Warns when a repository has changed on the Hub since the run began.
  - Runs on the controller.
options:
  run:
    description: Name of the run. The job that trains it is called C(sft-<run>).
    type: str
    required: true
  jobs:
    description: The records of the node's jobs, as M(tpuops.maxtext.job_info) returns them.
    type: list
    elements: dict
    default: []
  checkpoint:
    description:
      - What the newest checkpoint of the run depends on, as C(latest_about) of
        M(tpuops.maxtext.checkpoint_info).
      - Leave it out where there is no checkpoint. Where it is empty, the record of the run's job tells.
    type: dict
  model:
    description: The base model.
    type: dict
    required: true
    suboptions: &repository
      repo_id:
        description: The repository on the Hub. A directory is refused, as it has no commit.
        type: str
        required: true
      revision:
        description: Branch, tag or commit.
        type: str
        default: main
  tokenizer:
    description: The tokenizer. One that is the model's has the model's commit.
    type: dict
    suboptions: *repository
  dataset:
    description: The data set.
    type: dict
    suboptions: *repository
extends_documentation_fragment:
  - tpuops.maxtext.hub
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.checkpoint_info
  - module: tpuops.maxtext.job_info
  - module: tpuops.maxtext.hf_repo_info
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Read the records of the jobs
  tpuops.maxtext.job_info:
  become: true
  register: known

- name: Find its checkpoints
  tpuops.maxtext.checkpoint_info:
    path: /mnt/disks/checkpoints/maxtext/qwen3-4b-sft
  become: true
  register: trained

- name: Find the commits of the run
  tpuops.maxtext.hf_commits:
    run: qwen3-4b-sft
    jobs: "{{ known.jobs }}"
    checkpoint: "{{ omit if trained.latest_step is none else trained.latest_about | default({}, true) }}"
    model:
      repo_id: Qwen/Qwen3-4B
    dataset:
      repo_id: llm-jp/Synthetic-JP-EN-Coding-Dataset
  delegate_to: localhost
"""

RETURN = r"""
model:
  description: The base model.
  returned: success
  type: dict
  contains: &chosen
    repo_id:
      description: The repository.
      type: str
      returned: always
      sample: Qwen/Qwen3-4B
    revision:
      description: The revision that was asked for.
      type: str
      returned: always
      sample: main
    commit:
      description: The commit that the run uses.
      type: str
      returned: always
      sample: 1cfa9a7208912126459214e8b04321603b3df60c
    newer:
      description: The commit that the Hub has now, where the run keeps another one; else null.
      type: str
      returned: always
      sample: null
tokenizer:
  description: The tokenizer; null without O(tokenizer).
  returned: success
  type: dict
  contains: *chosen
dataset:
  description: The data set; null without O(dataset).
  returned: success
  type: dict
  contains: *chosen
"""

from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.arguments import (
    REPOSITORY,
    hub_argument_spec,
    looks,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.commits import choose, moved
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import Preflight
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module


def look(params: dict[str, Any]) -> dict[str, Any]:
    hub = Preflight(params["endpoint"], params["token"])
    result: dict[str, Any] = {"warnings": []}
    for kind in ("model", "tokenizer", "dataset"):
        wanted = params[kind]
        if kind == "tokenizer" and wanted == params["model"]:
            result[kind] = result["model"]
            continue
        known = params["jobs"], hub.commit, params["checkpoint"]
        result[kind] = wanted and choose(kind, wanted, params["run"], *known)
        warning = wanted and moved(kind, result[kind], params["run"])
        result["warnings"] += [warning] if warning else []
    return result


OPTIONAL = {"type": "dict", "options": REPOSITORY}
OPERATION = looks(
    hub_argument_spec(
        run={"type": "str", "required": True},
        jobs={"type": "list", "elements": "dict", "default": []},
        checkpoint={"type": "dict"},
        model={**OPTIONAL, "required": True},
        tokenizer={**OPTIONAL, "no_log": False},
        dataset=OPTIONAL,
    ),
    look,
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
