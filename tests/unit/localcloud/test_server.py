# SPDX-License-Identifier: GPL-3.0-or-later
"""The server around the APIs: answers to what is wrong, ports, and the server as a process."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from localcloud import admin, description, lifecycle
from localcloud.config import CloudConfig
from localcloud.google import operations
from localcloud.process import ServerProcess
from localcloud.server import STATUS_PATH, Ports, Requests, listen
from tests.unit.localcloud.google_client import LOCATION, Google

NODES = f"/v2/{LOCATION}/nodes"


# ---- answers


def test_a_wrong_answer_of_ours_is_a_logged_500(
    enabled: Google, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enabled.cloud.store.put("node", f"{LOCATION}/nodes/a", {"name": f"{LOCATION}/nodes/a", "state": "RUNING"})
    error = enabled.error("GET", f"{NODES}/a", status=500)
    assert error["status"] == "INTERNAL"
    assert "state" in error["message"]
    assert "tpu.projects.locations.nodes.get gave a wrong answer" in caplog.text


def test_a_fault_is_a_500_that_the_log_explains(
    enabled: Google, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(operations, "now", lambda: 1 / 0)
    body = {"acceleratorType": "v5litepod-8", "runtimeVersion": "v2-alpha-tpuv5-lite"}
    error = enabled.error("POST", NODES, body, 500, nodeId="a")
    incident = error["message"].rpartition(" ")[2].rstrip(".")
    assert f"incident {incident}" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_body_that_is_no_json_is_refused(enabled: Google) -> None:
    response = enabled.client.post(NODES, content=b"{", params={"nodeId": "a"})
    assert response.status_code == 400
    assert "Invalid JSON payload received" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v9/nothing", 404), ("PUT", "/v3/projects:search", 501)]
)
def test_what_is_not_offered_says_so(google: Google, method: str, path: str, status: int) -> None:
    assert f"does not offer {method} {path}" in google.error(method, path, status=status)["message"]


def test_the_status_names_the_cloud_and_what_is_unsettled(enabled: Google) -> None:
    enabled.machines.hold.clear()
    operation = enabled.begin_node()
    expected = {"instance": enabled.cloud.config.instance_id, "pid": os.getpid()}
    assert enabled.call("GET", STATUS_PATH) == {**expected, "unsettled": [f"{LOCATION}/nodes/tpu-v5e-8"]}
    enabled.machines.hold.set()
    enabled.finish(operation)
    assert enabled.call("GET", STATUS_PATH) == {**expected, "unsettled": []}


# ---- ports and log


def named(name: str) -> Starlette:
    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(name)

    return Starlette(routes=[Route("/", endpoint)])


def test_each_port_has_its_application() -> None:
    applications = Ports({8001: named("one"), 8002: named("two")})
    assert TestClient(applications, base_url="http://127.0.0.1:8001").get("/").text == "one"
    assert TestClient(applications, base_url="http://127.0.0.1:8002").get("/").text == "two"


def test_the_log_has_requests_without_their_queries(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="localcloud")
    TestClient(Requests(named("one"))).get("/", params={"access_token": "secret"})
    assert "GET / 200" in caplog.text
    assert "secret" not in caplog.text


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}: .*choose another --port"):
            listen("127.0.0.1", port)


def test_an_answer_is_not_held_back_until_its_head_is_acknowledged() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# ---- the process


def sleeper(config: CloudConfig) -> subprocess.Popen[bytes]:
    """A process that looks like the server of a cloud: `python -m localcloud --state-dir DIR ... serve`."""
    package = config.state_dir / "fake" / "localcloud"
    package.mkdir(parents=True)
    (package / "__main__.py").write_text("import time; print('up', flush=True); time.sleep(600)")
    (package / "__init__.py").touch()
    arguments = ["--state-dir", str(config.state_dir.resolve()), "--port", "1024", "serve"]
    process = subprocess.Popen(
        [sys.executable, "-m", "localcloud", *arguments], cwd=package.parent, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_the_server_is_found_and_ended_without_its_pid_file(config: CloudConfig) -> None:
    server = ServerProcess(config)
    assert server.pid() is None
    assert server.stop() is False
    with sleeper(config) as process:
        assert server.pid() == process.pid
        assert server.stop() is True
        assert process.wait() == -15
        assert server.pid() is None


def test_another_clouds_server_is_left_alone(config: CloudConfig, tmp_path: Path) -> None:
    with sleeper(config) as process:
        assert ServerProcess(CloudConfig(state_dir=tmp_path / "other")).pid() is None
        process.kill()


def test_a_recycled_pid_is_not_the_server(config: CloudConfig) -> None:
    (config.state_dir / "server.pid").write_text(f"{os.getpid()} 1\n")
    assert ServerProcess(config).pid() is None
    assert ServerProcess(config).stop() is False


@pytest.mark.parametrize("content", ["", "garbage", "1"])
def test_a_torn_pid_file_is_no_server(config: CloudConfig, content: str) -> None:
    (config.state_dir / "server.pid").write_text(content)
    assert ServerProcess(config).pid() is None


@pytest.mark.parametrize("seconds", [0, 3 * lifecycle.POLL_SECONDS])
def test_a_server_that_ends_before_it_serves_is_explained(
    config: CloudConfig, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    script = (
        "import sys, time; print('12:00:00 ERROR no bridge', file=sys.stderr, flush=True);"
        f"time.sleep({seconds}); sys.exit(1)"
    )
    monkeypatch.setattr(ServerProcess, "_argv", [sys.executable, "-c", script])
    with pytest.raises(lifecycle.CloudError, match=r"did not start:\n.*no bridge"):
        lifecycle.up(config, lambda line: None)


def test_the_server_inherits_no_secrets(config: CloudConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("HARMLESS", "yes")
    script = "import os; print(sorted(os.environ))"
    monkeypatch.setattr(ServerProcess, "_argv", [sys.executable, "-c", script])
    server = ServerProcess(config)
    assert server.start().wait() == 0
    log = server.log_file.read_text()
    assert "HARMLESS" in log
    assert "HF_TOKEN" not in log
    assert "AWS_SECRET_ACCESS_KEY" not in log
    assert server.log_file.stat().st_mode & 0o077 == 0


def test_another_server_on_the_port_is_not_ours(config: CloudConfig) -> None:
    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"instance": "00000000", "unsettled": []}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Stranger) as stranger:
        thread = threading.Thread(target=stranger.handle_request)
        thread.start()
        assert admin.status(CloudConfig(config.state_dir, port=stranger.server_port)) is None
        thread.join()


# ---- what users are told


def test_gcloud_keeps_what_its_user_sets(config: CloudConfig) -> None:
    description.write_gcloud_configuration(config)
    file = config.state_dir / "gcloud" / "configurations" / "config_default"
    assert "project = local-tpu-project\n" in file.read_text()
    assert "zone = us-west1-c\n" in file.read_text()
    file.write_text("[core]\nproject = mine\n")
    description.write_gcloud_configuration(config)
    assert file.read_text() == "[core]\nproject = mine\n"


@pytest.mark.parametrize(
    ("login", "sudo_user", "expected"),
    [("root", None, "local"), ("root", "alice", "alice"), ("root", "root", "local"), ("bob", None, "")],
)
def test_gcloud_as_root_logs_in_as_somebody(
    config: CloudConfig,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
    sudo_user: str | None,
    expected: str,
) -> None:
    (config.state_dir / "hf-token").write_text("hf_x\n")
    monkeypatch.setenv("LOGNAME", login)
    if sudo_user:
        monkeypatch.setenv("SUDO_USER", sudo_user)
    else:
        monkeypatch.delenv("SUDO_USER", raising=False)
    assert description.gcloud_login() == expected
    assert "LOGNAME" not in description.exports(config)  # to Ansible that would be another person
