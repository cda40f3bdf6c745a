#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the action plugin of this name, which does the work."""

from __future__ import annotations

DOCUMENTATION = r"""
module: model_tunnel
short_description: Open a tunnel to the server of a TPU VM, and print what a client needs
version_added: 0.2.0
description:
  - The server listens on the loopback address of the TPU VM. This opens a tunnel over SSH with the connection
    of the inventory, and prints base URL, model, and examples with curl and with OpenAI's client.
  - It writes the key of the server into a file that only the user can read, and deletes that at the end.
  - It ends with Ctrl-C.
options:
  port:
    description: Port of the server on the TPU VM.
    type: int
    default: 8000
  local_port:
    description: Port on this machine. The default is O(port).
    type: int
  api_key_file:
    description: File on the TPU VM with the key of the server, for root to read.
    type: path
    default: /etc/tpuops/vllm-api-key
notes:
  - Check mode opens nothing.
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.model_chat
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Let clients of this machine ask the model until Ctrl-C
  tpuops.maxtext.model_tunnel:
    local_port: 8001
"""

RETURN = r"""
model:
  description: The model that is served.
  returned: when the tunnel was open
  type: str
  sample: me/qwen3-4b-sft
"""
