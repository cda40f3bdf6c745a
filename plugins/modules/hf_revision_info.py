#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_revision_info
short_description: Ask the Hub for the commit and the size of a model
version_added: 0.2.0
description:
  - Asks the Hugging Face Hub from the target, which needs no huggingface_hub for it.
  - Unlike M(ansible.builtin.uri) it shows the token nowhere, with C(ANSIBLE_DEBUG) too.
  - An answer of the Hub is never an error of the module. RV(status) says which one it is.
options:
  repo_id:
    description: The repository, C(<user or organization>/<name>).
    type: str
    required: true
  revision:
    description: Branch, tag or commit.
    type: str
    default: main
  token:
    description: Token of the Hub, for repositories that are not public.
    type: str
  endpoint:
    description: Address of the Hub.
    type: str
    default: https://huggingface.co
  pause:
    description: Seconds before an answer that may pass is asked for again. This is done three times.
    type: float
    default: 2
extends_documentation_fragment:
  - tpuops.maxtext.attributes
  - tpuops.maxtext.attributes.info_module
seealso:
  - module: tpuops.maxtext.hf_repo_info
  - module: tpuops.maxtext.hf_commits
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Ask the Hub for the commit of a model
  tpuops.maxtext.hf_revision_info:
    repo_id: Qwen/Qwen3-4B
    token: "{{ lookup('ansible.builtin.env', 'HF_TOKEN') }}"
  register: model
"""

RETURN = r"""
status:
  description: The HTTP status of the answer; -1 where there was none, or none that says anything of a model.
  returned: success
  type: int
  sample: 200
reason:
  description: Why RV(status) is not 200; empty otherwise.
  returned: success
  type: str
  sample: ""
commit:
  description: The commit of the revision; empty where RV(status) is not 200.
  returned: success
  type: str
  sample: 1cfa9a7208912126459214e8b04321603b3df60c
bytes:
  description: The size of its files.
  returned: success
  type: int
  sample: 8044936192
"""

import json
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError, check_token

ATTEMPTS = 4
FINAL = (200, 401, 403, 404)  # anything else may pass
TIMEOUT = 30


def ask(url: str, token: str) -> dict[str, Any]:
    """One answer: {status, reason, commit, bytes}."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        body = open_url(url, headers=headers, follow_redirects="safe", timeout=TIMEOUT).read()
    except HTTPError as error:
        return nothing(error.code, f"HTTP status {error.code}")
    except (HTTPException, OSError, ValueError) as error:  # ValueError: no address
        return nothing(-1, str(error))
    try:
        said = json.loads(body)
        sizes = [file.get("size") or 0 for file in said["siblings"]]
        return {"status": 200, "reason": "", "commit": str(said["sha"]), "bytes": sum(sizes)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return nothing(-1, "its answer describes no model")


def nothing(status: int, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "commit": "", "bytes": 0}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repo_id": {"type": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "token": {"type": "str", "no_log": True},
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
            "pause": {"type": "float", "default": 2.0},
        },
        supports_check_mode=True,
    )
    params = module.params
    token = params["token"] or ""
    try:
        check_token(token)
    except HubError as error:
        module.fail_json(msg=str(error))
    place = f"{quote(params['repo_id'])}/revision/{quote(params['revision'], safe='')}"
    url = f"{params['endpoint']}/api/models/{place}?blobs=true"
    found = ask(url, token)
    for _attempt in range(ATTEMPTS - 1):
        if found["status"] in FINAL:
            break
        time.sleep(params["pause"])
        found = ask(url, token)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
