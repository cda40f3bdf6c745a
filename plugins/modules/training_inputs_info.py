#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: training_inputs_info
short_description: Check that a training can work before a TPU is paid for
version_added: 0.2.0
description:
  - Compares what a supervised fine-tuning with MaxText is told with the data set and the tokenizer on the
    Hub, and with the memory of the TPU. Fails with one clear message for what is known not to work.
  - Reads rows of the data set, up to 32 MB of its files, and checks that MaxText trains on each of them as it
    is written. Counts rows and tokens, and fails when the data end before the steps. MaxText ends without an
    error then, and its learning rate, whose warm-up is a share of the steps, was never what was asked for.
  - Meant for the controller, before any machine is created. What is not known is a warning.
options:
  model:
    description: Name of the model in MaxText.
    type: str
    required: true
  tokenizer:
    description: Repository of the tokenizer, which must have a chat template.
    type: str
    required: true
  tokenizer_revision:
    description: Branch, tag or commit of it.
    type: str
    default: main
  dataset:
    description: Repository of the data set.
    type: str
    required: true
  dataset_revision:
    description: Branch, tag or commit of it.
    type: str
    default: main
  dataset_config:
    description: Configuration of it. The default is the one that the data set declares as its default.
    type: str
  train_split:
    description: Split that is trained on; several with V(+) between them.
    type: str
    default: train
  train_data_columns:
    description: Columns that are trained on.
    type: list
    elements: str
    default: [messages]
  steps:
    description: Number of optimizer steps.
    type: int
    required: true
  num_epoch:
    description: How often the data set is read.
    type: int
    default: 1
  per_device_batch_size:
    description: Sequences for each device and step.
    type: float
    default: 1
  max_target_length:
    description: Length of a sequence, in tokens.
    type: int
    default: 1024
  lora_rank:
    description: Rank of the adapters that are trained (LoRA); V(0) trains all weights.
    type: int
    default: 0
  weight_dtype:
    description: Data type of the weights in training. Warns of V(bfloat16), which loses most of the updates.
    type: str
    choices: [bfloat16, float32]
    default: float32
  learning_rate:
    description: Peak learning rate; that of MaxText when empty.
    type: str
    default: ""
  maxtext_arguments:
    description:
      - Arguments of every MaxText program of the run, each C(NAME=VALUE).
      - Refused, here and in the next two, is what a later stage could not follow, such as LoRA, and what has
        an option of its own.
    type: list
    elements: str
    default: []
  convert_arguments:
    description: Arguments of the converter alone.
    type: list
    elements: str
    default: []
  arguments:
    description: Arguments of the trainer alone. They win over O(maxtext_arguments).
    type: list
    elements: str
    default: []
  environment:
    description: Environment variables of the trainer.
    type: dict
    default: {}
  accelerator_types:
    description: Types of TPU that the training may run on; it must be able to on each.
    type: list
    elements: str
    required: true
  platform:
    description: Where the training runs; V(cpu) on the local cloud, where the memory of a TPU does not count.
    type: str
    choices: [tpu, cpu]
    default: tpu
  disk_size_gb:
    description: Size of the data disk, which the run must fit; V(0) where it is not known, or does not count.
    type: int
    default: 0
  checkpoints_kept:
    description: How many checkpoints are kept. One more is on the disk while it is written.
    type: int
    default: 2
  base_dtype:
    description: Data type of the converted model on the disk; V(auto) is that of the model on the Hub.
    type: str
    choices: [auto, bfloat16, float32]
    default: auto
  run:
    description:
      - Name of a run that may have begun. A run keeps the commits that it began with, and they are not known
        before there is a machine that reads them. A message about the data then says what to set.
    type: str
notes:
  - Rows of Parquet files need pyarrow; without it their number is known and not what is in them.
  - Tokens are counted with the library tokenizers when the characters of the rows leave open whether they
    last; without it that is a warning.
extends_documentation_fragment:
  - tpuops.maxtext.hub
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.hf_repo_info
  - module: tpuops.maxtext.serving_inputs_info
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Check the training before spending money
  tpuops.maxtext.training_inputs_info:
    token: "{{ hf_token }}"
    model: qwen3-4b
    tokenizer: Qwen/Qwen3-4B
    dataset: llm-jp/Synthetic-JP-EN-Coding-Dataset
    steps: 100
    accelerator_types: [v5litepod-8]
  delegate_to: localhost
"""

RETURN = r"""
dataset:
  description: The data set; null when O(arguments) change its rows first (C(formatting_func_path)).
  returned: success
  type: dict
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
    rows:
      description: Its rows in the split, exact when all were read, else about; null where nothing tells.
      type: int
      returned: always
      sample: 173849
    rows_read:
      description: How many rows were looked at.
      type: int
      returned: always
      sample: 9000
    complete:
      description: Whether these were all rows.
      type: bool
      returned: always
      sample: false
not_known:
  description: What could not be checked, also given as warnings.
  returned: success
  type: list
  elements: str
  sample: []
"""

from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.arguments import (
    hub_argument_spec,
    looks,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import Preflight, as_named
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import (
    data,
    disk,
    inputs,
    maxtext_settings,
)

# What the Hub's reader calls them.
NAMES = {
    "datasets": "dataset",
    "datasets.revision": "dataset_revision",
    "datasets.config": "dataset_config",
    "datasets.split": "train_split",
    "datasets.columns": "train_data_columns",
    "models": "tokenizer",
}


def judged(params: dict[str, Any]) -> dict[str, Any]:
    try:
        result = look(params)
    except HubError as error:
        raise HubError(inputs.for_a_run(as_named(str(error), NAMES), params["run"])) from error
    return {**result, "warnings": result["not_known"]}


def look(params: dict[str, Any]) -> dict[str, Any]:
    shared = params["maxtext_arguments"]
    own = {"sft_arguments": params["arguments"], "convert_arguments": params["convert_arguments"]}
    maxtext_settings.check(shared, own, params["environment"])
    maxtext_settings.check_dataset(params["dataset"])
    params = {**params, "arguments": shared + params["arguments"]}
    given, types = inputs.settings(params), params["accelerator_types"]
    warnings = inputs.check(given, types)
    if given.platform == "tpu" and given.own_shape:
        kept, size = params["checkpoints_kept"], params["disk_size_gb"]
        disk.check(given.model, given.dtype, params["base_dtype"], kept, size)
    hub = Preflight(params["endpoint"], params["token"])
    tokenizer = data.Tokenizer(hub, params["tokenizer"], params["tokenizer_revision"])
    tokenizer.check_chat_template()
    if not given.own_rows:
        changed = "The rows are changed first (formatting_func_path): nobody looked at them."
        return {"dataset": None, "not_known": [*warnings, changed]}
    wanted = {"repo_id": params["dataset"], "revision": params["dataset_revision"]}
    plans = [plan for plan in map(given.plan, types) if plan]
    dataset, more = data.look(hub, given, wanted, tokenizer, plans)
    return {"dataset": dataset, "not_known": warnings + more}


TEXT = {"type": "str"}
NUMBER = {"type": "int"}
OPERATION = looks(
    hub_argument_spec(
        model={**TEXT, "required": True},
        tokenizer={**TEXT, "required": True, "no_log": False},
        tokenizer_revision={**TEXT, "default": "main", "no_log": False},
        dataset={**TEXT, "required": True},
        dataset_revision={**TEXT, "default": "main"},
        dataset_config=TEXT,
        train_split={**TEXT, "default": "train"},
        train_data_columns={"type": "list", "elements": "str", "default": ["messages"]},
        steps={**NUMBER, "required": True},
        num_epoch={**NUMBER, "default": 1},
        per_device_batch_size={"type": "float", "default": 1},
        max_target_length={**NUMBER, "default": 1024},
        lora_rank={"type": "int", "default": 0},
        weight_dtype={**TEXT, "choices": ["bfloat16", "float32"], "default": "float32"},
        learning_rate={**TEXT, "default": ""},
        maxtext_arguments={"type": "list", "elements": "str", "default": []},
        convert_arguments={"type": "list", "elements": "str", "default": []},
        arguments={"type": "list", "elements": "str", "default": []},
        environment={"type": "dict", "default": {}},
        accelerator_types={"type": "list", "elements": "str", "required": True},
        platform={**TEXT, "choices": ["tpu", "cpu"], "default": "tpu"},
        disk_size_gb={**NUMBER, "default": 0},
        checkpoints_kept={**NUMBER, "default": 2},
        base_dtype={**TEXT, "choices": ["auto", "bfloat16", "float32"], "default": "auto"},
        run=TEXT,
    ),
    judged,
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
