#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_repo_info
short_description: Check what a run needs of the Hugging Face Hub before it starts
version_added: 0.1.0
description:
  - Looks at the token, at models and at data sets, and fails with one clear message when something is not as
    it has to be.
  - Meant for the controller, before any machine is created. Reads a few kilobytes, whatever the size of the
    repositories.
options:
  models:
    description: Models that must be there and readable.
    type: list
    elements: dict
    default: []
    suboptions:
      repo_id:
        description: The repository.
        type: str
        required: true
      revision:
        description: Branch, tag or commit.
        type: str
        default: main
  datasets:
    description: Data sets that must be there and readable.
    type: list
    elements: dict
    default: []
    suboptions:
      repo_id:
        description: The repository.
        type: str
        required: true
      revision:
        description: Branch, tag or commit.
        type: str
        default: main
      config:
        description: Configuration of the data set. The default is the one that the data set declares as its
          default.
        type: str
      split:
        description: A split that it must have.
        type: str
      columns:
        description: Columns that it must have.
        type: list
        elements: str
        default: []
  write_to:
    description: A repository, existing or not, that the token must be allowed to write; needs O(token). Its
      name must be one that the Hub takes. One that exists must not have files of others, as of
      M(tpuops.maxtext.hf_upload).
    type: str
  replace:
    description: Whether O(write_to) may have files of others, as they will be replaced. See
      O(tpuops.maxtext.hf_upload#module:replace).
    type: bool
    default: false
    version_added: 0.2.0
notes:
  - Splits and columns come from the card of the data set or from a file of it (Parquet, JSON, CSV). Where
    neither tells, they are null and count as there.
extends_documentation_fragment:
  - tpuops.maxtext.hub
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.hf_repo
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Check the Hub before spending money
  tpuops.maxtext.hf_repo_info:
    token: "{{ hf_token }}"
    models:
      - repo_id: Qwen/Qwen3-4B
    datasets:
      - repo_id: llm-jp/Synthetic-JP-EN-Coding-Dataset
        split: train
        columns: [messages]
    write_to: me/qwen3-4b-sft
  delegate_to: localhost
  register: on_the_hub
"""

RETURN = r"""
identity:
  description: Whose token it is; null without a token.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the account.
      type: str
      returned: always
      sample: me
    role:
      description: Role of the token, such as V(read), V(write) or V(fineGrained).
      type: str
      returned: always
      sample: write
    organizations:
      description: Names of the account's organizations.
      type: list
      elements: str
      returned: always
      sample: []
models:
  description: The models, in the order of O(models).
  returned: success
  type: list
  elements: dict
  contains:
    repo_id:
      description: The repository.
      type: str
      returned: always
      sample: Qwen/Qwen3-4B
    revision:
      description: The commit that the revision names.
      type: str
      returned: always
      sample: 3fa1c0d2e4b5a69788796a5b4c3d2e1f00112233
    bytes:
      description: Size of its files.
      type: int
      returned: always
      sample: 8060912345
    safetensors_bytes:
      description: Size of those of its files that hold weights in the format safetensors.
      type: int
      returned: always
      sample: 8044982000
datasets:
  description: The data sets, in the order of O(datasets).
  returned: success
  type: list
  elements: dict
  contains:
    repo_id:
      description: The repository.
      type: str
      returned: always
      sample: llm-jp/Synthetic-JP-EN-Coding-Dataset
    revision:
      description: The commit that the revision names.
      type: str
      returned: always
      sample: 3fa1c0d2e4b5a69788796a5b4c3d2e1f00112233
    splits:
      description: Its splits; null where the Hub cannot tell.
      type: list
      elements: str
      returned: always
      sample: [train]
    columns:
      description: Its columns; null where the Hub cannot tell.
      type: list
      elements: str
      returned: always
      sample: [messages]
"""

from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.arguments import (
    REPOSITORY,
    hub_argument_spec,
    looks,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import Preflight
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module


def look(params: dict[str, Any]) -> dict[str, Any]:
    hub = Preflight(params["endpoint"], params["token"])
    identity = hub.identity() if params["token"] or params["write_to"] else None
    models = [hub.model(model["repo_id"], model["revision"]) for model in params["models"]]
    datasets = [hub.dataset(dataset) for dataset in params["datasets"]]
    if params["write_to"]:
        hub.check_write(params["write_to"])
        hub.check_target(params["write_to"], params["replace"])
    return {"identity": identity, "models": models, "datasets": datasets}


DATASET = {
    **REPOSITORY,
    "config": {"type": "str"},
    "split": {"type": "str"},
    "columns": {"type": "list", "elements": "str", "default": []},
}
REPOSITORIES = {"type": "list", "elements": "dict", "default": []}
OPERATION = looks(
    hub_argument_spec(
        models={**REPOSITORIES, "options": REPOSITORY},
        datasets={**REPOSITORIES, "options": DATASET},
        write_to={"type": "str"},
        replace={"type": "bool", "default": False},
    ),
    look,
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
