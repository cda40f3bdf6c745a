#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_chat
short_description: Chat with the model that a TPU VM serves
version_added: 0.2.0
description:
  - Chats on the terminal of C(ansible-playbook) until the user ends it. Each answer is printed as it comes,
    and the model is sent the whole conversation. With O(prompt) it asks once and prints the answer.
  - The server listens on the loopback address of the TPU VM. This opens a tunnel over SSH with the connection
    of the inventory, and ends it. It reads the key of the server over the same connection, and keeps it in
    memory alone.
  - A pasted text of several lines is one message.
options:
  prompt:
    description: The one question. C(-e prompt=QUESTION) on the command line is taken as a whole.
    type: str
  system:
    description: What the model is told before the first message.
    type: str
    default: ""
  port:
    description: Port of the server on the TPU VM.
    type: int
    default: 8000
  api_key_file:
    description: File on the TPU VM with the key of the server, for root to read.
    type: path
    default: /etc/tpuops/vllm-api-key
  max_tokens:
    description: Length of an answer in tokens, at most. The default is what the server allows.
    type: int
  temperature:
    description: How freely to choose each token. The default is that of the model.
    type: float
notes:
  - Check mode asks nothing.
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.chat
  - module: tpuops.maxtext.model_tunnel
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Chat until Ctrl-D
  tpuops.maxtext.model_chat:

- name: Ask once
  tpuops.maxtext.model_chat:
    prompt: What is a TPU?
"""

RETURN = r"""
answers:
  description: Number of answers.
  returned: success
  type: int
  sample: 3
answer:
  description: The answer.
  returned: with O(prompt)
  type: str
  sample: A TPU is an accelerator.
model:
  description: The model that was asked.
  returned: when asked
  type: str
  sample: me/qwen3-4b-sft
"""
