# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that has begun must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

DOCUMENTATION = r"""
name: kept_inputs
short_description: The inputs that a run keeps
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Gives the inputs of the newest complete checkpoint, from its manifest. A checkpoint without a manifest has
    those of the run's last job.
  - Without a checkpoint, gives those of the run's job while it runs. Else empty, as a start that left no
    checkpoint binds nothing.
positional: run, checkpoint
options:
  _input:
    description: The records of the node's jobs, as M(tpuops.maxtext.job_info) returns them.
    type: list
    elements: dict
    required: true
  run:
    description: Name of the run.
    type: str
    required: true
  checkpoint:
    description: The run's checkpoints, as M(tpuops.maxtext.checkpoint_info) returns them.
    type: dict
    required: true
"""

EXAMPLES = r"""
kept: "{{ known.jobs | tpuops.maxtext.kept_inputs('qwen3-4b-sft', found) }}"
"""

RETURN = r"""
_value:
  description: The inputs, by their names.
  type: dict
"""


def kept_inputs(jobs: list[dict[str, Any]], run: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the run's newest complete checkpoint, or of its job that runs; {} without both."""
    record = next((job for job in jobs if job["name"] == f"sft-{run}"), {})
    if checkpoint.get("latest_step") is None and record.get("status") != "running":
        return {}
    return checkpoint.get("latest_about") or record.get("inputs") or {}


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"kept_inputs": kept_inputs}
