# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the node at the end of an ephemeral run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import ephemeral
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import labels as our_labels

DOCUMENTATION = r"""
name: ephemeral_end
short_description: What becomes of the node at the end of an ephemeral run
version_added: 0.2.0
author:
  - The tpuops.maxtext maintainers (@tpuops)
description:
  - Says whether the node is deleted, which is so only where no job can run on it.
  - A node whose machine cannot be reached over SSH is kept, unless Google says that it is lost, or this run
    has created it and never reached it.
options:
  _input:
    description: What a loop of M(tpuops.maxtext.job_info) over the machines of the node registered.
    type: dict
    required: true
  seen:
    description: What M(tpuops.maxtext.tpu_vm_info) registered for the name.
    type: dict
    required: true
  made:
    description: What M(tpuops.maxtext.tpu_capacity) registered in this run. Empty if it did not run.
    type: dict
    required: true
  reached:
    description: What the wait for each new machine registered.
    type: list
    elements: dict
    required: true
  labels:
    description: Labels of everything that is made.
    type: dict
    required: true
  owner:
    description: The value of the label C(owner). Empty for the account that runs Ansible.
    type: str
    required: true
  gone:
    description: What M(tpuops.maxtext.tpu_capacity) registered for the deletion. Left out before it.
    type: dict
  check:
    description: Whether this is a check run.
    type: bool
    default: false
"""

EXAMPLES = r"""
end: >-
  {{ _tpu_vm_jobs
  | tpuops.maxtext.ephemeral_end(seen=_tpu_vm_asked, made={}, reached=[], labels={}, owner='') }}
"""

RETURN = r"""
_value:
  description: C(delete), whether the node is to be deleted. C(told), what the user must read. C(kept),
    whether the node may still cost money.
  type: dict
"""


def ephemeral_end(
    jobs: Mapping[str, Any],
    *,
    seen: Mapping[str, Any],
    made: Mapping[str, Any],
    reached: Sequence[Mapping[str, Any]],
    labels: Mapping[str, Any],
    owner: str,
    gone: Mapping[str, Any] | None = None,
    check: bool = False,
) -> dict[str, Any]:
    try:
        ours = our_labels.marked(labels, "", owner or our_labels.login_name())
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error
    google = ephemeral.said(seen, ours)
    decision = ephemeral.decide(jobs.get("results", []), google, made, reached)
    told, kept = ephemeral.told(decision, gone, check)
    return {"delete": not decision.keep, "told": told, "kept": kept}


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"ephemeral_end": ephemeral_end}
