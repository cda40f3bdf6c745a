#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_commits
short_description: Find the commits of the model and the data set of a run
version_added: 0.2.0
description:
  - A repository of the Hub changes under its name. A run keeps the commits that its training began with, so
    that it never mixes two versions of its model or its data.
  - For a run whose training has begun, the commits come from the record of its job. Otherwise they are the
    ones that the Hub has now. When the Hub does not answer, the newest commit that a job here
    has used is taken.
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
  model:
    description: The base model.
    type: dict
    required: true
    suboptions: &repository
      repo_id:
        description: The repository on the Hub. A directory has no commit.
        type: str
        required: true
      revision:
        description: Branch, tag or commit.
        type: str
        default: main
  dataset:
    description: The data set.
    type: dict
    suboptions: *repository
  token:
    description: Token of the Hub, for repositories that are not public.
    type: str
  endpoint:
    description: Address of the Hub.
    type: str
    default: https://huggingface.co
requirements:
  - huggingface_hub 0.36 or later on the controller
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
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

- name: Find the commits of the run
  tpuops.maxtext.hf_commits:
    run: qwen3-4b-sft
    jobs: "{{ known.jobs }}"
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
      description: The commit that the run uses; empty for a directory.
      type: str
      returned: always
      sample: 1cfa9a7208912126459214e8b04321603b3df60c
    newer:
      description: The commit that the Hub has now, where the run keeps another one; else null.
      type: str
      returned: always
      sample: null
dataset:
  description: The data set; null without O(dataset).
  returned: success
  type: dict
  contains: *chosen
"""

import traceback

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.commits import choose, moved
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import Preflight


def main() -> None:
    repository = {
        "type": "dict",
        "options": {
            "repo_id": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
        },
    }
    module = AnsibleModule(
        argument_spec={
            "run": {"type": "str", "required": True},
            "jobs": {"type": "list", "elements": "dict", "default": []},
            "model": {**repository, "required": True},
            "dataset": repository,
            "token": {"type": "str", "no_log": True},
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
        },
        supports_check_mode=True,
    )
    params = module.params
    result = {}
    try:
        hub = Preflight(params["endpoint"], params["token"])
        for kind in ("model", "dataset"):
            wanted = params[kind]
            result[kind] = wanted and choose(kind, wanted, params["run"], params["jobs"], hub.commit)
            warning = wanted and moved(kind, result[kind], params["run"])
            if warning:
                module.warn(warning)
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "huggingface_hub"), exception=traceback.format_exc()
        )
    except HubError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
