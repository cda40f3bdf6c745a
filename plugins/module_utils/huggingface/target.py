# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it needs no module, and run_command is a module's
"""Run hub.py with the Python of an environment that has huggingface_hub.

The Python that Ansible uses on a target need not have it. The program goes through standard input and the
token through the environment, so neither leaves a file or shows in a list of processes.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import hub
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, records

ARGUMENTS: dict[str, Any] = {
    "repo_id": {"type": "str", "required": True},
    "repo_type": {"type": "str", "choices": ["model", "dataset"], "default": "model"},
    "token": {"type": "str", "no_log": True},
    "endpoint": {"type": "str", "default": "https://huggingface.co"},
    "environment": {"type": "dict", "default": {}},
    "python": {"type": "path", "required": True},
    "user": {"type": "str"},
}


def check(params: dict[str, Any]) -> None:
    if not params["token"]:
        raise HubError("token: is not set. Give a token of the Hub that may write")
    hub.check_token(params["token"])
    for name, value in params["environment"].items():
        records.check_variable("environment", name, value)
    python = params["python"]
    if not os.access(python, os.X_OK):
        raise HubError(f"python: there is no {python} to run. Name one with huggingface_hub")


def environment(params: dict[str, Any]) -> dict[str, str]:
    """The environment variables, none of them secret, with which huggingface_hub is to run."""
    own = {"HF_ENDPOINT": params["endpoint"].rstrip("/"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**own, **{name: str(value) for name, value in params["environment"].items()}}


def call(params: dict[str, Any], action: str, request: dict[str, Any]) -> dict[str, Any]:
    """The answer to one request.

    Raises HubError, and JobError for an unknown user.
    """
    program = launch.source_of(hub)
    full = {"repo_id": params["repo_id"], "repo_type": params["repo_type"], **request}
    variables = {**os.environ, **environment(params), "HF_TOKEN": params["token"]}
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:  # the environment belongs to a user, who must not become root through it
        account = launch.account(params["user"] or accounts.JOBS_USER)
        variables["HOME"] = account.pw_dir
        identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    answer = subprocess.run(
        [params["python"], "-I", "-", action, json.dumps(full)],
        input=program,
        capture_output=True,
        text=True,
        env=variables,
        cwd="/",
        check=False,
        **identity,
    )
    return parse(answer.stdout, answer.stderr)


def parse(stdout: str, stderr: str) -> dict[str, Any]:
    """The answer in the last line of the output.

    Raises HubError for an error in it, or when the program broke off.
    """
    lines = stdout.strip().splitlines()
    try:
        value = json.loads(lines[-1])
    except (IndexError, ValueError) as error:
        raise HubError(f"huggingface_hub failed: {stderr.strip()[-1500:]}") from error
    if "error" in value:
        raise HubError(value["error"])
    return dict(value)
