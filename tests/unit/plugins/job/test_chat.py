# SPDX-License-Identifier: GPL-3.0-or-later
"""The module chat against a server that keeps what it was asked."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest

from .conftest import RunModule

KEY = "vllm-key"
MODELS = {"data": [{"id": "local/qwen3-4b-sft"}, {"id": "other"}]}
ANSWER: dict[str, Any] = {
    "choices": [{"message": {"role": "assistant", "content": "はい"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


class Server(ThreadingHTTPServer):
    """Answers by path: a value, or (status, text)."""

    answers: dict[str, Any]
    asked: list[tuple[str, Any]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.path, json.loads(body) if body else None))
        answer = self.server.answers.get(self.path, (404, "no such page"))
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            answer = (401, '{"error": "Unauthorized"}')
        status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    httpd = Server(("127.0.0.1", 0), Handler)
    httpd.answers = {"/v1/models": MODELS, "/v1/chat/completions": ANSWER}
    httpd.asked = []
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield httpd
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_a_question_to_the_first_model(run_module: RunModule, server: Server) -> None:
    result = run_module("chat", url=server.url, api_key=KEY, prompt="元気?")
    assert (result["answer"], result["model"], result["finish_reason"]) == (
        "はい",
        "local/qwen3-4b-sft",
        "stop",
    )
    assert (result["usage"]["total_tokens"], result["changed"]) == (5, False)
    assert server.asked[1][1] == {
        "model": "local/qwen3-4b-sft",
        "messages": [{"role": "user", "content": "元気?"}],
        "max_tokens": 256,
        "temperature": 0,
    }


def test_a_conversation_with_a_named_model(run_module: RunModule, server: Server) -> None:
    messages = [{"role": "system", "content": "Short."}, {"role": "user", "content": "Hi"}]
    run_module(
        "chat",
        url=server.url + "/",
        api_key=KEY,
        messages=messages,
        model="other",
        max_tokens=8,
        temperature=0.5,
    )
    assert [path for path, _body in server.asked] == ["/v1/chat/completions"]
    assert server.asked[0][1] == {"model": "other", "messages": messages, "max_tokens": 8, "temperature": 0.5}


def test_the_model_of_a_run(run_module: RunModule, server: Server, tmp_path: Path) -> None:
    described = tmp_path / "run.manifest.json"
    (tmp_path / "run").mkdir()
    manifest.write(str(described), manifest.build(str(tmp_path / "run"), {"step": 60}))
    record = {"run": "run", "directory": f"{tmp_path}/run", "manifest": str(described)}
    record["fingerprint"] = hashlib.sha256(described.read_bytes()).hexdigest()
    (tmp_path / "serving.json").write_text(json.dumps(record))
    server.answers["/v1/models"] = {
        "data": [{"id": "x", "root": "/x"}, {"id": "me/run", "root": f"{tmp_path}/run"}]
    }
    given = {"url": server.url, "api_key": KEY, "prompt": "x"}
    wanted = {"run": "run", "manifest": str(described), "record": str(tmp_path / "serving.json")}
    result = run_module("chat", served=wanted, **given)
    assert (result["model"], result["served"]["about"]) == ("me/run", {"step": 60})
    assert server.asked[-1][1]["model"] == "me/run"
    asked = len(server.asked)
    refused = run_module("chat", served={**wanted, "run": "other"}, **given)
    assert "served: the server has the model of run run, and not of other" in refused["msg"]
    assert len(server.asked) == asked, "the server is not asked"
    server.answers["/v1/models"] = MODELS
    refused = run_module("chat", served=wanted, **given)
    assert f"another server answers at {server.url}" in refused["msg"]


def test_check_mode_asks_nothing(run_module: RunModule, server: Server) -> None:
    assert run_module("chat", check=True, url=server.url, prompt="Hi")["answer"] == ""
    assert server.asked == []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"/v1/models": {"data": []}}, "model: the server at .* serves none"),
        ({"/v1/models": (200, "<html>")}, "did not answer in JSON"),
        ({"/v1/models": (200, "[]")}, "did not answer with an object"),
        (
            {"/v1/chat/completions": (404, "The model `x` does not exist.")},
            "no such address or model: The model `x`",
        ),
        (
            {"/v1/chat/completions": (400, "max_tokens is too large")},
            "HTTP status 400: max_tokens is too large",
        ),
        ({"/v1/chat/completions": {"choices": []}}, "answered without a choice"),
        ({"/v1/models": (302, "")}, "HTTP"),
    ],
)
def test_answers_that_are_none(
    run_module: RunModule, server: Server, answers: dict[str, Any], message: str
) -> None:
    import re

    server.answers.update(answers)
    result = run_module("chat", url=server.url, api_key=KEY, prompt="Hi")
    assert result["failed"]
    assert re.search(message, result["msg"])


def test_a_wrong_key(run_module: RunModule, server: Server) -> None:
    result = run_module("chat", url=server.url, api_key="wrong-key", prompt="Hi")
    assert result["msg"].startswith("api_key: ")
    assert "wrong-key" not in result["msg"]


def test_nobody_listens(run_module: RunModule) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = run_module("chat", url=f"http://127.0.0.1:{port}/v1", prompt="Hi")
    assert "cannot be reached" in result["msg"]
    assert (
        "Is the server running? If it is vLLM of the role vllm_serve, ansible-playbook site.yml --tags"
        in result["msg"]
    )


def test_an_answer_that_does_not_come(run_module: RunModule) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        result = run_module("chat", url=url, prompt="Hi", timeout=1)
    assert result["msg"] == f"timeout: {url}/models did not answer within 1 s"


@pytest.mark.parametrize("options", [{}, {"prompt": "Hi", "messages": [{"role": "user", "content": "Hi"}]}])
def test_one_of_prompt_and_messages(run_module: RunModule, options: dict[str, Any]) -> None:
    assert run_module("chat", **options)["failed"]
