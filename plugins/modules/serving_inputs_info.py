#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: serving_inputs_info
short_description: Check that a model can be served before a TPU is paid for
version_added: 0.2.0
description:
  - Compares a model with the types of TPU that are to serve it with vLLM, in bfloat16, and fails with one
    clear message when its weights, and the cache of one request of the longest context, are known not to fit,
    or when the chips cannot share them like that.
  - Asks nobody. A model or type that is not known passes.
options:
  model:
    description: Name of the model in MaxText.
    type: str
    required: true
  tensor_parallel_size:
    description: Number of chips that share the weights.
    type: int
    default: 1
  max_model_len:
    description: Longest context, in tokens. vLLM does not start unless its cache has room for one.
    type: int
    default: 8192
  accelerator_types:
    description: Types of TPU that may serve it; each must be able to.
    type: list
    elements: str
    required: true
  names:
    description: What the user calls an option, where it is not its name here; for the messages.
    type: dict
    default: {}
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.training_inputs_info
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Check the serving before spending money
  tpuops.maxtext.serving_inputs_info:
    model: qwen3-8b
    tensor_parallel_size: 4
    accelerator_types: [v5litepod-8]
  delegate_to: localhost
"""

RETURN = r"""
"""

from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.arguments import NAMES, looks
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import run_module
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import serving


def look(given: dict[str, Any]) -> dict[str, Any]:
    serving.check(
        given["model"], given["accelerator_types"], given["tensor_parallel_size"], given["max_model_len"]
    )
    return {}


OPERATION = looks(
    {
        "model": {"type": "str", "required": True},
        "tensor_parallel_size": {"type": "int", "default": 1},
        "max_model_len": {"type": "int", "default": 8192},
        "accelerator_types": {"type": "list", "elements": "str", "required": True},
        "names": NAMES,
    },
    look,
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
