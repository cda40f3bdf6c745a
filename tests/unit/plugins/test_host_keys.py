# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that shows another host key than before, in the middle of a playbook."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleConnectionFailure, AnsibleUndefinedVariable
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tpuops.maxtext.plugins.action import quiet as action
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp import known_hosts
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError
from ansible_collections.tpuops.maxtext.plugins.module_utils.tpu import Tpus
from ansible_collections.tpuops.maxtext.plugins.plugin_utils import node_loss

from tests.json_types import Json
from tests.keys import public_key

REFUSED = AnsibleConnectionFailure("Failed to connect to the host via ssh: Host key verification failed.")
SILENT = AnsibleConnectionFailure("Failed to connect to the host via ssh: Connection timed out")
OLD, NEW = (f"ssh-ed25519 {public_key(word)}" for word in ("old", "new"))
WORKER = {
    "name": "projects/p/locations/us-west1-c/nodes/tpu",
    "id": "7",
    "state": "READY",
    "networkEndpoints": [{"ipAddress": "10.0.0.1"}],
}


class Machine:
    """What the tasks of a playbook meet: answers of the machine, and keys that it publishes, each in turn."""

    resolved_action = "tpuops.maxtext.job"

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.now = file, 0.0
        self.answers: list[Json | Exception] = []
        self.published: list[list[str] | GcpError] = [[OLD]]
        self.shown: list[str] = []
        self.resets = 0
        known_hosts.add(str(file), {"tpu.7-0": OLD})
        monkeypatch.setattr(node_loss, "connect", lambda _options: None)
        monkeypatch.setattr(Tpus, "get_node", lambda *_: WORKER)
        monkeypatch.setattr(Tpus, "host_keys", lambda *_: self.keys())
        monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: self.answer())
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(Display(), "display", self.shown.append)

    def keys(self) -> list[str]:
        found = self.published.pop(0) if len(self.published) > 1 else self.published[0]
        if isinstance(found, GcpError):
            raise found
        return found

    def answer(self) -> Json:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def reset(self) -> None:
        self.resets += 1
        raise AnsibleConnectionFailure("no master")

    def template(self, value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    def play(self, **variables: Any) -> Json:
        node = {"name": "tpu", "zone": "us-west1-c", "project": "p", "known_hosts_file": str(self.file)}
        played = object.__new__(action.ActionModule)
        played._connection, played._templar, played._task = self, self, self
        result: Json = played._execute_module(task_vars={"common_node": node, **variables})
        return result


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path / "known_hosts", monkeypatch)


def test_a_task_goes_on_with_the_key_that_the_machine_publishes(machine: Machine) -> None:
    """The guest agent publishes it after sshd has shown it, and Google may not answer at first."""
    machine.answers = [REFUSED, REFUSED, REFUSED, {"changed": True}]
    machine.published = [[OLD], GcpError("not now"), [NEW]]
    assert machine.play() == {"changed": True}
    assert known_hosts.read(str(machine.file)) == {"tpu.7-0": NEW}
    assert machine.shown == ["tpu has published a new host key; SSH trusts it"]
    assert machine.resets == 3  # a master connection to the machine as it was would be used again


def test_a_key_that_another_process_took_up_is_tried(machine: Machine) -> None:
    machine.answers = [REFUSED, {}]
    assert machine.play() == {}


@pytest.mark.parametrize("published", [[OLD], [], [""]])
def test_a_key_that_nobody_publishes_is_refused(machine: Machine, published: list[str]) -> None:
    machine.answers, machine.published = [REFUSED], [published]
    with pytest.raises(AnsibleConnectionFailure, match="Host key verification failed"):
        machine.play()
    assert known_hosts.read(str(machine.file)) == {"tpu.7-0": OLD}
    assert 30 <= machine.now < 60


@pytest.mark.parametrize(
    ("answer", "variables"),
    [
        (SILENT, {}),
        (REFUSED, {"common_node": {}}),
        (REFUSED, {"common_node": None}),
        (REFUSED, {"common_node": AnsibleUndefinedVariable("gcp_auth")}),
    ],
)
def test_otherwise_google_is_not_asked(machine: Machine, answer: Exception, variables: Json) -> None:
    machine.answers, machine.published = [answer], [GcpError("asked")]
    with pytest.raises(AnsibleConnectionFailure) as raised:
        machine.play(**variables)
    assert (raised.value, machine.now, machine.resets) == (answer, 0.0, 0)
