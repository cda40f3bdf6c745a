# SPDX-License-Identifier: GPL-3.0-or-later
"""The program by which a node deletes itself, against a Google that keeps what it was asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any

import pytest

NODE = "projects/p/locations/us-west1-c/nodes/tpu"
QUEUED = "projects/p/locations/us-west1-c/queuedResources/mine"
ASK, TOKEN = ("GET", f"/v2/{NODE}"), "a-token"
LABEL = ("PATCH", f"/v2/{NODE}?updateMask=labels")


class Google(ThreadingHTTPServer):
    """Answers by method and path with a status and a value; asked: what it was asked, in order."""

    answers: dict[tuple[str, str], tuple[int, Any]]
    asked: list[tuple[str, str]]
    bodies: list[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Google

    def do_GET(self) -> None:
        asked = self.command, self.path
        self.server.asked.append(asked)
        self.server.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        status, value = self.server.answers.get(asked, (404, {"error": {"message": "not found"}}))
        if self.path == "/token":
            allowed = self.headers.get("Metadata-Flavor") == "Google"
        else:
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        self.send_response(status if allowed else 401)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    do_DELETE = do_PATCH = do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def google(guard: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    with Google(("127.0.0.1", 0), Handler) as server:
        server.answers = {("GET", "/token"): (200, {"access_token": TOKEN}), ASK: (200, {"name": NODE})}
        server.asked, server.bodies = [], []
        monkeypatch.setattr(guard, "METADATA", f"{server.url}/token")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def asked_of_the_api(google: Google) -> list[tuple[str, str]]:
    return [asked for asked in google.asked if asked != ("GET", "/token")]


@pytest.mark.parametrize(
    ("found", "path"),
    [({"name": NODE}, f"/v2/{NODE}"), ({"queuedResource": QUEUED}, f"/v2/{QUEUED}?force=true")],
    ids=["node", "queued resource"],
)
def test_a_node_whose_time_is_up_is_deleted_with_what_it_came_from(
    guard: ModuleType,
    google: Google,
    capsys: pytest.CaptureFixture[str],
    found: dict[str, str],
    path: str,
) -> None:
    google.answers.update({ASK: (200, found), ("DELETE", path): (200, {"name": "operation"})})
    assert guard.main([f"{google.url}/", NODE, str(time.time() - 1)]) == 0
    assert asked_of_the_api(google) == [ASK, LABEL, ("DELETE", path)]
    deleted = found.get("queuedResource", NODE)
    assert capsys.readouterr().out == f"its time is up: deleting {deleted}; its data disk stays\n"


def test_before_that_nobody_is_asked_anything(guard: ModuleType, google: Google) -> None:
    assert guard.main([google.url, NODE, str(time.time() + 60)]) == 0
    assert google.asked == []


def test_a_node_that_is_gone_needs_nothing_more(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str]
) -> None:
    del google.answers[ASK]
    assert guard.main([google.url, NODE, "0"]) == 0
    assert asked_of_the_api(google) == [ASK]
    assert capsys.readouterr().out == f"{NODE} is deleted already\n"


def test_a_node_that_goes_between_the_question_and_the_deletion_is_as_well_gone(
    guard: ModuleType, google: Google
) -> None:
    assert guard.main([google.url, NODE, "0"]) == 0  # nothing answers DELETE but with 404
    assert asked_of_the_api(google) == [ASK, LABEL, ("DELETE", f"/v2/{NODE}")]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_refusal_fails_with_google_s_reason(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    """So that systemd starts the program again."""
    google.answers[method, f"/v2/{NODE}"] = (403, {"error": {"message": "tpu.nodes: denied"}})
    assert guard.main([google.url, NODE, "0"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"{method} {google.url}/v2/{NODE}: 403 ")
    assert "tpu.nodes: denied" in told


def test_an_api_that_cannot_be_reached_fails_too(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main(["http://127.0.0.1:1", NODE, "0"]) == 1
    assert "Connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [(404, "no service account"), (200, {})], ids=["none", "no token"])
def test_without_a_service_account_nothing_is_asked_of_the_api(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str], answer: tuple[int, Any]
) -> None:
    google.answers["GET", "/token"] = answer
    assert guard.main([google.url, NODE, "check"]) == 1
    assert asked_of_the_api(google) == []
    assert "gives no token of the VM's service account" in capsys.readouterr().err


def test_check_asks_and_deletes_nothing(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guard.main([google.url, NODE, "check"]) == 0
    del google.answers[ASK]
    assert guard.main([google.url, NODE, "check"]) == 1
    assert asked_of_the_api(google) == [ASK, ASK]
    assert capsys.readouterr().err == f"{google.url} knows no {NODE}\n"


def test_other_arguments_are_explained(guard: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert guard.main([]) == 2
    assert "tpu_guard.py ENDPOINT NODE DEADLINE" in capsys.readouterr().err


def labels_given(google: Google) -> list[dict[str, str]]:
    given = [body for (method, _), body in zip(google.asked, google.bodies, strict=True) if method == "PATCH"]
    return [json.loads(body)["labels"] for body in given]


def test_the_reason_is_a_label_beside_the_others_before_the_node_is_deleted(
    guard: ModuleType, google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits until Google has written it: a deletion would cancel the change."""
    monkeypatch.setattr(guard, "LOOK_EVERY", 0)
    operation = ("GET", "/v2/operations/1")
    google.answers |= {
        ASK: (200, {"name": NODE, "labels": {"owner": "me", "tpuops-ended": "idle-5"}}),
        LABEL: (200, {"name": "operations/1"}),
        operation: (200, {"name": "operations/1", "done": True}),
    }
    assert guard.main([google.url, NODE, "0"]) == 0
    assert asked_of_the_api(google) == [ASK, LABEL, operation, ("DELETE", f"/v2/{NODE}")]
    assert labels_given(google) == [{"owner": "me", "tpuops-ended": "time-up"}]


def test_a_label_that_google_refuses_does_not_keep_the_node(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str]
) -> None:
    google.answers |= {LABEL: (403, "denied"), ("DELETE", f"/v2/{NODE}"): (200, {})}
    assert guard.main([google.url, NODE, "0"]) == 0
    told = capsys.readouterr()
    assert told.out == f"its time is up: deleting {NODE}; its data disk stays\n"
    assert "the node has no label tpuops-ended: PATCH" in told.err


@pytest.mark.parametrize("state", ["DELETING", "STOPPING", "STOPPED"])
def test_what_ends_already_is_left_alone(
    guard: ModuleType, google: Google, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    google.answers[ASK] = (200, {"name": NODE, "state": state})
    assert guard.main([google.url, NODE, "0"]) == 0
    assert asked_of_the_api(google) == [ASK]
    assert capsys.readouterr().out == f"{NODE} is {state} already\n"
