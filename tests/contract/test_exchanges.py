# SPDX-License-Identifier: GPL-3.0-or-later
"""The judges of the exchanges are judged: what is wrong on the wire does not pass them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from localcloud.exchanges import Exchange
from tests.exchanges import method_of, wrong

NODES = "/v2/projects/local-tpu-project/locations/us-west1-c/nodes"
NODE = {"acceleratorType": "v5litepod-8", "runtimeVersion": "v2-alpha-tpuv5-lite"}
STARTED = {"name": "projects/p/locations/z/operations/o", "done": False}
INFO = "type.googleapis.com/google.rpc.ErrorInfo"
CREATED = "type.googleapis.com/google.cloud.tpu.v2.Node"


def exchange(
    verb: str = "POST",
    path: str = NODES,
    query: Any = (("nodeId", "a"),),
    request: Any = NODE,
    status: int = 200,
    answer: Any = STARTED,
) -> Exchange:
    sent = json.dumps(request).encode() if request is not None else b""
    return Exchange(verb, path, list(query), sent, status, json.dumps(answer).encode())


def refusal(code: int = 403, **changes: Any) -> dict[str, Any]:
    cause = {"message": "no", "domain": "global", "reason": "forbidden"}
    error = {"code": code, "message": "no", "status": "PERMISSION_DENIED", "errors": [cause]}
    return {"error": {**error, **changes}}


@pytest.mark.parametrize(
    "right",
    [
        exchange(),
        exchange(request={**NODE, "dataDisks": [{"mode": 2, "sourceDisk": "d"}]}),
        exchange("GET", f"{NODES}/a", (), None, answer={**NODE, "state": "READY"}),
        exchange("GET", NODES, (), None, answer={"nodes": [{**NODE, "bootDiskConfig": {}}]}),
        exchange("GET", NODES, (("pageSize", "2"), ("$alt", "json")), None, answer={"nodes": [NODE]}),
        exchange(answer={**STARTED, "done": True, "response": {"@type": CREATED, **NODE}}),
        exchange(request={"nonsense": 1}, status=403, answer=refusal()),
        exchange(status=0, answer=None),
        exchange("POST", "/token", (), {"assertion": "x"}, answer={"access_token": "y"}),
    ],
)
def test_what_is_right(right: Exchange) -> None:
    assert list(wrong(right)) == []


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (exchange(query=(("nodeID", "a"),)), "request: .*nodeID"),
        (exchange(request={**NODE, "colour": "red"}), "request: .*colour"),
        (exchange(request={**NODE, "bootDiskConfig": {"size": 1}}), "request: .*size"),
        (exchange(request={**NODE, "labels": []}), "Node by its protocol buffer"),
        (exchange(request={**NODE, "colour": "red"}, status=0, answer=None), "request: .*colour"),
        (exchange(answer={**STARTED, "finished": True}), "answer: .*finished"),
        (exchange(answer={**STARTED, "response": {"@type": CREATED, "state": "RUNING"}}), "Operation by its"),
        (exchange(answer={**STARTED, "metadata": {"@type": "type.googleapis.com/none"}}), "Operation by its"),
        (exchange("GET", f"{NODES}/a", (), None, answer={"state": "RUNING"}), "answer: .*RUNING"),
        (
            exchange("GET", f"{NODES}/a", (), None, answer={"createTime": "noon"}),
            "Node by its protocol buffer",
        ),
        (exchange(status=403, answer="no"), "error: "),
        (exchange(status=403, answer=refusal(code=404)), "PERMISSION_DENIED with 404"),
        (exchange(status=404, answer=refusal()), "in an answer of 404"),
        (exchange(status=403, answer=refusal(status="DENIED")), "DENIED"),
        (exchange(status=403, answer=refusal(remedy="ask")), "unknown fields {'remedy'}"),
        (exchange(status=403, answer=refusal(errors=[{"message": "no"}])), "a cause has {'message'}"),
        (exchange(status=403, answer=refusal(details=[{"@type": INFO, "cause": "x"}])), "ParseError"),
    ],
)
def test_what_is_wrong_is_found(bad: Exchange, said: str) -> None:
    found = "\n".join(wrong(bad))
    assert re.search(said, found), found


def test_the_method_of_an_exchange_is_found_by_its_path() -> None:
    method = "tpu.projects.locations.nodes"
    assert method_of(exchange()) == f"{method}.create"
    assert method_of(exchange(path=f"{NODES}/a:stop")) == f"{method}.stop"
    assert method_of(exchange("GET", f"{NODES}/a")) == f"{method}.get"
    assert method_of(exchange("POST", "/token")) is None
