# SPDX-License-Identifier: GPL-3.0-or-later
"""A recording transport: the exchanges that a test expects, in their order, and nothing else."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
import requests
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from localcloud.exchanges import Exchange
from tests.exchanges import wrong
from tests.json_types import Json

MODULES = "ansible_collections.tpuops.maxtext.plugins.modules"


@dataclass(frozen=True)
class Expected:
    call: str
    query: Json
    body: Any
    status: int
    answer: Any
    headers: dict[str, str]


class Api(requests.adapters.BaseAdapter):
    """Used in place of Google's servers.

    calls: what was asked, "METHOD host/path" each; the host is the first label of its name.
    sent:  the prepared requests.
    """

    def __init__(self) -> None:
        super().__init__()
        self.script: list[Expected] = []
        self.calls: list[str] = []
        self.sent: list[requests.PreparedRequest] = []

    def on(
        self,
        call: str,
        answer: Any = None,
        *,
        status: int = 200,
        query: Json | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Api:
        """Expect a call with exactly this query and body; an answer that is an exception is raised."""
        answer = {} if answer is None else answer
        self.script.append(Expected(call, query or {}, body, status, answer, headers or {}))
        return self

    def error(self, call: str, status: int, canonical: str, message: str = "no", **options: Any) -> Api:
        """Expect a call that fails the way of Google's newer APIs."""
        details = options.pop("details", [])
        error = {"code": status, "status": canonical, "message": message, "details": details}
        return self.on(call, {"error": error}, status=status, **options)

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        url = urlsplit(str(request.url))
        call = f"{request.method} {str(url.hostname).partition('.')[0]}{url.path}"
        self.calls.append(call)
        self.sent.append(request)
        assert self.script, f"nobody expects {call}"
        expected = self.script.pop(0)
        query = {key: values if len(values) > 1 else values[0] for key, values in parse_qs(url.query).items()}
        assert (call, query, _body(request)) == (expected.call, expected.query, expected.body)
        if isinstance(expected.answer, Exception):
            raise expected.answer
        return _response(request, expected)

    def close(self) -> None:
        """Nothing is open."""

    @property
    def writes(self) -> list[str]:
        return [call for call in self.calls if not call.startswith("GET ")]


def _body(request: requests.PreparedRequest) -> Any:
    if not request.body:
        return None
    text = request.body.decode() if isinstance(request.body, bytes) else request.body
    if request.headers.get("Content-Type") == "application/json":
        return json.loads(text)
    return {key: values[0] for key, values in parse_qs(str(text)).items()}


def _response(request: requests.PreparedRequest, exchange: Expected) -> requests.Response:
    response = requests.Response()
    response.status_code = exchange.status
    response.url = str(request.url)
    response.request = request
    response.headers.update(exchange.headers)
    answer = exchange.answer
    response._content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
    return response


def _wrong(request: requests.PreparedRequest) -> Iterator[str]:
    """Why Google would not understand a request, whatever the test lets it answer."""
    url, body = urlsplit(str(request.url)), request.body or b""
    sent = body.encode() if isinstance(body, str) else body
    query = parse_qsl(url.query, keep_blank_values=True)
    return wrong(Exchange(str(request.method), url.path, query, sent, 0, b""))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """All that the code under test asks of any server; the test fails if it asks less than was expected."""
    transport = Api()
    monkeypatch.setattr(requests.Session, "get_adapter", lambda _session, url: transport)
    yield transport
    never_asked = [exchange.call for exchange in transport.script]
    assert never_asked == []
    assert [f"{request.url}: {problem}" for request in transport.sent for problem in _wrong(request)] == []


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the code under test takes; time passes in them without being waited for."""
    taken: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        taken.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return taken


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the user who runs the tests says nothing about projects and credentials."""
    import os

    for name in list(os.environ):
        if name.startswith(("GCP_", "GOOGLE_", "CLOUDSDK_", "TPUOPS_", "GCE_")):
            monkeypatch.delenv(name)


Run = Callable[..., Json]


def assert_foretold(predicted: Json, real: Json, resource: str) -> None:
    """A check run said what the real run did, but for the fields that the server fills in.

    resource: the key of the results that holds it.
    """
    for key in {"changed", "recreated", "created", "services"} & real.keys():
        assert predicted[key] == real[key], key
    assert predicted["diff"]["before"] == real["diff"]["before"]
    for result in (predicted, real):
        assert result["diff"]["after"] == result[resource]
    assert bool(predicted[resource]) == bool(real[resource])
    _assert_part(predicted[resource], real[resource])


def _assert_part(part: Any, whole: Any) -> None:
    """Google answers a path, or the end of one, with a full address."""
    if isinstance(part, dict):
        for key, value in part.items():
            _assert_part(value, whole[key])
    elif isinstance(part, list):
        for one, other in zip(part, whole, strict=True):
            _assert_part(one, other)
    else:
        assert part == whole or str(whole).endswith(f"/{part}")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a module by its name with these options; its result, `failed` included where it failed."""

    warnings: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, message: warnings.append(message))

    def run_module(module_name: str, /, *, check: bool = False, **options: Any) -> Json:
        defaults = {"project": "my-project", "auth_kind": "accesstoken", "access_token": "the-token"}
        warnings.clear()
        # Ansible drops what is omitted.
        given = {name: value for name, value in {**defaults, **options}.items() if value is not None}
        module = importlib.import_module(f"{MODULES}.{module_name}")
        with (
            patch_module_args({"_ansible_check_mode": check, **given}),
            pytest.raises(SystemExit),
        ):
            module.main()
        result: Json = json.loads(capsys.readouterr().out)
        assert "the-token" not in json.dumps({**result, "invocation": None})
        return {**result, "warnings": list(warnings)}

    return run_module
