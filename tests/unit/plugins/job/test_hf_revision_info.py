# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Hub says of a model, asked from the target without huggingface_hub."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.modules import hf_revision_info

from tests.json_types import Json

SIBLINGS = [{"rfilename": "a", "size": 5}, {"rfilename": "b", "size": None}, {"rfilename": "c"}]
GOOD = (200, json.dumps({"sha": "1" * 40, "siblings": SIBLINGS}).encode())


class Hub(HTTPServer):
    """Answers each request with the next of `answers`, the last one for ever."""

    answers: list[tuple[int, bytes]]
    asked: list[tuple[str, str | None]]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        answers = self.server.answers
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        """The requests are in `asked`."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    server.answers, server.asked = [GOOD], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run(capsys: pytest.CaptureFixture[str], endpoint: str, **options: Any) -> Json:
    given = {"repo_id": "me/model", "endpoint": endpoint, "pause": 0, **options}
    with patch_module_args(given), pytest.raises(SystemExit):
        hf_revision_info.main()
    result: Json = json.loads(capsys.readouterr().out)
    return result


def address(hub: Hub) -> str:
    return f"http://127.0.0.1:{hub.server_port}"


def test_the_commit_and_the_size_of_a_revision(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(capsys, address(hub), revision="refs/pr/1", token="hf_secret")
    assert (found["status"], found["commit"], found["bytes"]) == (200, "1" * 40, 5)
    assert hub.asked == [("/api/models/me/model/revision/refs%2Fpr%2F1?blobs=true", "Bearer hf_secret")]
    assert "hf_secret" not in json.dumps(found)


def test_without_a_token_none_is_sent(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, address(hub))
    assert hub.asked == [("/api/models/me/model/revision/main?blobs=true", None)]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_and_not_asked_again(
    hub: Hub, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    hub.answers = [(status, b"no")]
    found = run(capsys, address(hub))
    assert (found["status"], found["commit"], len(hub.asked)) == (status, "", 1)
    assert "failed" not in found  # the role says what to do


def test_what_may_pass_is_asked_again(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.answers = [(503, b""), (200, b"<html>"), GOOD]
    assert run(capsys, address(hub))["commit"] == "1" * 40
    assert len(hub.asked) == 3


@pytest.mark.parametrize(
    ("answer", "said"),
    [((500, b""), "500"), ((200, b"[]"), "no model"), ((200, b"<html>"), "no model")],
)
def test_what_does_not_pass_is_told(
    hub: Hub, capsys: pytest.CaptureFixture[str], answer: tuple[int, bytes], said: str
) -> None:
    hub.answers = [answer]
    found = run(capsys, address(hub), token="hf_secret")
    assert (found["status"], len(hub.asked)) == (answer[0] if answer[0] != 200 else -1, 4)
    assert said in found["reason"]


@pytest.mark.parametrize(
    ("endpoint", "said"), [("http://127.0.0.1:9", "refused"), ("no-address", "unknown url type")]
)
def test_a_hub_that_does_not_answer(capsys: pytest.CaptureFixture[str], endpoint: str, said: str) -> None:
    found = run(capsys, endpoint, token="hf_secret")
    assert (found["status"], said in found["reason"]) == (-1, True)


def test_a_token_that_no_header_can_hold_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The HTTP client quotes it in its error."""
    found = run(capsys, "http://127.0.0.1:9", token="hf_one\nhf_two")
    assert found["failed"] and found["msg"].startswith("token: has a blank, a line feed")
    assert "hf_one" not in json.dumps(found) and "hf_two" not in json.dumps(found)
