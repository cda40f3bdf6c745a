# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the modules that speak to the Hugging Face Hub from a target."""

from __future__ import annotations


class ModuleDocFragment:
    """Repository, token and the Python that has huggingface_hub."""

    DOCUMENTATION = r"""
options:
  repo_id:
    description: The repository, C(<user or organization>/<name>).
    type: str
    required: true
  repo_type:
    description: Kind of repository.
    type: str
    choices: [model, dataset]
    default: model
  token:
    description:
      - Token of the Hub, with permission to write.
      - It reaches huggingface_hub through its environment, never through a command line or a file on a disk.
    type: str
  endpoint:
    description: Address of the Hub.
    type: str
    default: https://huggingface.co
  environment:
    description: Further environment variables for huggingface_hub, such as E(HF_HUB_DISABLE_XET).
    type: dict
    default: {}
  python:
    description: A Python on the target that has huggingface_hub, such as that of the training environment.
    type: path
    required: true
  user:
    description:
      - Whom that Python runs as when the module runs as root.
      - The default is C(tpuops), the user that the role C(data_disk) creates for the jobs.
    type: str
requirements:
  - huggingface_hub 0.36 or later in the environment of O(python)
"""
