#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: chat
short_description: Ask a served model a question
version_added: 0.1.0
description:
  - Sends a conversation to a server with OpenAI's chat completions interface, such as vLLM, and returns the
    answer.
  - Runs on the target, so that the server need not listen anywhere but on its own machine.
options:
  prompt:
    description: The question. One of O(prompt) and O(messages) is required.
    type: str
  messages:
    description: The conversation so far, for more than a single question.
    type: list
    elements: dict
    suboptions:
      role:
        description: Who speaks.
        type: str
        choices: [system, user, assistant]
        required: true
      content:
        description: What is said.
        type: str
        required: true
  url:
    description: Address of the interface, with its version.
    type: str
    default: http://127.0.0.1:8000/v1
  api_key:
    description: Key of the server.
    type: str
  api_key_file:
    description: File on the target that holds the key, so that it need not leave the machine.
    type: path
  model:
    description: Name of the model. By default the first that the server names, or the run's with O(served).
    type: str
  served:
    description:
      - The run whose model is to be asked. Fails, and says what is served, where the server on this machine
        has another model than the last export of the run.
    type: dict
    suboptions:
      run:
        description: Name of the run.
        type: str
        required: true
      record:
        description: File in which the server of the role C(vllm_serve) tells what it serves.
        type: path
        default: /run/vllm/serving.json
      manifest:
        description: Manifest of the run's export. Where there is none, files are not compared.
        type: path
        required: true
  max_tokens:
    description: Length of the answer in tokens, at most.
    type: int
    default: 256
  temperature:
    description: How freely to choose each token; V(0) takes the likeliest.
    type: float
    default: 0
  timeout:
    description: Seconds to wait for the answer.
    type: int
    default: 120
notes:
  - In check mode nothing is asked, and RV(answer) is empty.
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
author:
  - The tpuops.maxtext maintainers (@tpuops)
"""

EXAMPLES = r"""
- name: Ask the fine-tuned model
  tpuops.maxtext.chat:
    prompt: Write a Python function that reverses a string.
    api_key: "{{ vllm_serve_api_key }}"
  register: reply

- name: Ask with a conversation
  tpuops.maxtext.chat:
    messages:
      - role: system
        content: You answer in one sentence.
      - role: user
        content: What is a TPU?
    url: http://127.0.0.1:8001/v1
    max_tokens: 64
"""

RETURN = r"""
answer:
  description: What the model said.
  returned: success
  type: str
  sample: "def reverse(text): return text[::-1]"
model:
  description: The model that was asked; null in check mode when none was named.
  returned: success
  type: str
  sample: local/qwen3-4b-sft
served:
  description: What was found of the run's model; null without O(served).
  returned: when asked
  type: dict
  contains:
    run:
      description: The run.
      returned: always
      type: str
      sample: qwen3-4b-sft
    directory:
      description: The directory of the model that is served.
      returned: always
      type: str
      sample: /mnt/disks/checkpoints/huggingface/qwen3-4b-sft
    about:
      description: What the export was made of; null where there is no export here to compare with.
      returned: always
      type: dict
      sample: {"step": 100}
finish_reason:
  description: Why the answer ends; V(stop) when it is complete, V(length) when O(max_tokens) cut it.
  returned: when asked
  type: str
  sample: stop
usage:
  description: Number of tokens, as the server counts them.
  returned: when asked
  type: dict
  sample: {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
seconds:
  description: How long the answer took.
  returned: when asked
  type: float
  sample: 1.42
"""

import json
import socket
import time
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.tpuops.maxtext.plugins.module_utils import served


class ChatError(Exception):
    """What went wrong and what to do about it; the text is the whole error message."""


def call(params: dict[str, Any], path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the server; a POST when there is a body."""
    url = params["url"].rstrip("/") + path
    headers = {"Content-Type": "application/json"}
    if params["api_key"]:
        headers["Authorization"] = f"Bearer {params['api_key']}"
    data = json.dumps(body).encode() if body is not None else None
    try:
        # No proxy: the address is the machine's own, and the key is for nobody else.
        answer = open_url(
            url,
            data=data,
            headers=headers,
            method="POST" if data else "GET",
            timeout=params["timeout"],
            use_proxy=False,
            follow_redirects="none",
        )
        value = json.loads(answer.read())
    except HTTPError as error:
        raise ChatError(refused(url, error)) from error
    except (socket.timeout, TimeoutError) as error:
        raise ChatError(f"timeout: {url} did not answer within {params['timeout']} s") from error
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise ChatError(
            f"url: {url} cannot be reached ({reason}). Is the server running? If it is vLLM of the role "
            "vllm_serve, ansible-playbook site.yml --tags vllm_serve starts it"
        ) from error
    except ValueError as error:
        raise ChatError(f"url: {url} did not answer in JSON: is it a chat completions interface?") from error
    if not isinstance(value, dict):
        raise ChatError(f"url: {url} did not answer with an object: is it a chat completions interface?")
    return value


def refused(url: str, error: HTTPError) -> str:
    """An error message for an HTTP status that is no success."""
    said = error.read(2000).decode("utf-8", "replace").strip()
    if error.code in (401, 403):
        return (
            f"api_key: {url} refused it (HTTP status {error.code}). Give the key the server was started with"
        )
    if error.code == 404:
        return f"url, model: {url} answered that there is no such address or model: {said}"
    return f"{url} answered with HTTP status {error.code}: {said}"


def read_key(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError as error:
        raise ChatError(
            f"api_key_file: {path} cannot be read ({error.strerror}). Start the server first, run with become"
        ) from error


def models(params: dict[str, Any]) -> list[dict[str, Any]]:
    found = call(params, "/models").get("data") or []
    if not found:
        raise ChatError(f"model: the server at {params['url']} serves none")
    return list(found)


def look(params: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
    """The name of the model to ask, and what was found of it."""
    wanted = params["served"]
    if not wanted:
        return params["model"] or str(models(params)[0]["id"]), None
    try:
        found = served.check(served.read(wanted["record"]), wanted["run"], wanted["manifest"])
        name = served.name_of(models(params), found["directory"], params["url"])
    except served.NotServed as error:
        raise ChatError(str(error)) from error
    return params["model"] or name, found


def ask(params: dict[str, Any]) -> dict[str, Any]:
    messages = params["messages"] or [{"role": "user", "content": params["prompt"]}]
    model, found = look(params)
    started = time.monotonic()
    reply = call(
        params,
        "/chat/completions",
        {
            "model": model,
            "messages": messages,
            "max_tokens": params["max_tokens"],
            "temperature": params["temperature"],
        },
    )
    try:
        choice = reply["choices"][0]
        answer = choice["message"]["content"] or ""
    except (KeyError, IndexError, TypeError) as error:
        raise ChatError(f"{params['url']} answered without a choice: {json.dumps(reply)[:500]}") from error
    return {
        "answer": answer,
        "model": model,
        "served": found,
        "finish_reason": choice.get("finish_reason"),
        "usage": reply.get("usage") or {},
        "seconds": round(time.monotonic() - started, 3),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "prompt": {"type": "str"},
            "messages": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "role": {"type": "str", "choices": ["system", "user", "assistant"], "required": True},
                    "content": {"type": "str", "required": True},
                },
            },
            "url": {"type": "str", "default": "http://127.0.0.1:8000/v1"},
            "api_key": {"type": "str", "no_log": True},
            "api_key_file": {"type": "path", "no_log": False},
            "model": {"type": "str"},
            "served": {
                "type": "dict",
                "options": {
                    "run": {"type": "str", "required": True},
                    "record": {"type": "path", "default": "/run/vllm/serving.json"},
                    "manifest": {"type": "path", "required": True},
                },
            },
            "max_tokens": {"type": "int", "no_log": False, "default": 256},
            "temperature": {"type": "float", "default": 0},
            "timeout": {"type": "int", "default": 120},
        },
        required_one_of=[("prompt", "messages")],
        mutually_exclusive=[("prompt", "messages"), ("api_key", "api_key_file")],
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=False, answer="", model=module.params["model"])
    try:
        if module.params["api_key_file"]:
            module.params["api_key"] = read_key(module.params["api_key_file"])
            module.no_log_values.add(module.params["api_key"])
        result = ask(module.params)
    except ChatError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
