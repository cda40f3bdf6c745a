#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_repo
short_description: Create or delete a repository on the Hugging Face Hub
version_added: 0.1.0
description:
  - Makes sure that a repository exists, or that it does not exist.
  - The visibility of a repository that exists is never changed.
  - Runs on the target, with the huggingface_hub of another Python than Ansible's own.
options:
  private:
    description:
      - Whether only its owner may see a repository that the module creates.
      - A repository that exists stays as it is. The module warns when that is not what is asked for.
    type: bool
    default: true
  state:
    description:
      - V(present) creates the repository when it does not exist.
      - V(absent) deletes it with everything in it.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - tpuops.maxtext.huggingface
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
seealso:
  - module: tpuops.maxtext.hf_upload
  - module: tpuops.maxtext.hf_repo_info
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Make room for the fine-tuned model
  tpuops.maxtext.hf_repo:
    repo_id: me/qwen3-4b-sft
    private: true
    token: "{{ hf_token }}"
    python: /mnt/disks/checkpoints/env/train/bin/python

- name: Delete it
  tpuops.maxtext.hf_repo:
    repo_id: me/qwen3-4b-sft
    state: absent
    token: "{{ hf_token }}"
    python: /mnt/disks/checkpoints/env/train/bin/python
"""

RETURN = r"""
repo:
  description: The repository as it is after the task, or as it would be in check mode.
  returned: success
  type: dict
  contains:
    exists:
      description: Whether it exists.
      type: bool
      returned: always
      sample: true
    private:
      description: Whether only its owner may see it; null when it does not exist.
      type: bool
      returned: always
      sample: true
    revision:
      description: The latest commit of its main branch; null when it does not exist.
      type: str
      returned: always
      sample: 3fa1c0d2e4b5a69788796a5b4c3d2e1f00112233
    url:
      description: Its page.
      type: str
      returned: always
      sample: https://huggingface.co/me/qwen3-4b-sft
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import target
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.records import JobError


def wanted(params: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """exists and private as they are to be."""
    if params["state"] == "absent":
        return {"exists": False, "private": None}
    return {"exists": True, "private": before["private"] if before["exists"] else params["private"]}


def apply(params: dict[str, Any], before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Make the repository so; the repository as the Hub then gives it."""
    if not after["exists"]:
        target.call(params, "delete", {})
        return {**before, **after, "revision": None}
    return target.call(params, "create", {"private": after["private"]})


def ensure(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    target.check(params)
    before = target.call(params, "show", {})
    now = {field: before[field] for field in ("exists", "private")}
    after = wanted(params, before)
    changed = now != after
    repo = {**before, **after}
    if changed and not module.check_mode:
        repo = apply(params, before, after)
    if repo["exists"] and repo["private"] is not params["private"]:
        stays = "private" if repo["private"] else "public"
        module.warn(
            f"private: {params['repo_id']} exists and stays {stays}; the Hub's page of it changes that"
        )
    result: dict[str, Any] = {"changed": changed, "repo": repo}
    if module._diff:
        result["diff"] = {"before": now, "after": after}
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **target.ARGUMENTS,
            "private": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = ensure(module)
    except (HubError, JobError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
