# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in this process, a systemd that only remembers, and the local cloud's Hub on loopback."""

from __future__ import annotations

import importlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.tpuops.maxtext.plugins.module_utils import accounts
from ansible_collections.tpuops.maxtext.plugins.module_utils.job import launch, records, systemd

from localcloud.config import CloudConfig
from localcloud.faults import Faults
from localcloud.hub.app import create_app
from localcloud.hub.store import HubStore
from localcloud.server import listen
from localcloud.state import Store
from tests.json_types import Json

MODULES = "ansible_collections.tpuops.maxtext.plugins.modules"
BOOT = "00000000-aaaa-bbbb-cccc-000000000001"


class ModuleExit(BaseException):
    """A module has ended; its result."""

    def __init__(self, result: Json) -> None:
        super().__init__(result)
        self.result = result


RunModule = Callable[..., Json]


@pytest.fixture(autouse=True)
def _no_user_of_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has none, so every user without a name here is root."""
    monkeypatch.setattr(accounts, "JOBS_USER", "root")


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Runs a module by its name with the given options; the result, with ``failed`` in it when it failed."""

    def leave(failed: bool) -> Callable[..., None]:
        def exit_module(_module: AnsibleModule, **result: Any) -> None:
            raise ModuleExit({"failed": failed, **result})

        return exit_module

    monkeypatch.setattr(AnsibleModule, "exit_json", leave(False))
    monkeypatch.setattr(AnsibleModule, "fail_json", leave(True))

    def run(name: str, /, *, check: bool = False, diff: bool = False, **options: Any) -> Json:
        module = importlib.import_module(f"{MODULES}.{name}")
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
        with patch_module_args(arguments), pytest.raises(ModuleExit) as ended:
            module.main()
        result = json.loads(json.dumps(ended.value.result))  # what cannot be sent to a controller fails here
        assert isinstance(result, dict)
        return result

    return run


@dataclass
class Systemd:
    """Used in place of systemd; units run until they are told to end."""

    active: set[str] = field(default_factory=set)
    stopping: dict[str, int] = field(default_factory=dict)  # unit: in how many more looks it is seen
    started: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)  # the lines of a unit's file
    refuses: systemd.SystemdError | None = None
    seen_secrets: dict[str, str] = field(default_factory=dict)

    def job_group(self, taken: Iterable[str]) -> str:
        """The first group that is not taken; groupadd is not run."""
        used = set(taken)
        return next(f"group-{number}" for number in count(1) if f"group-{number}" not in used)

    def is_active(self, unit: str) -> bool:
        return unit in self.active

    def matching(self, patterns: list[str]) -> dict[str, str]:
        states = dict.fromkeys(self.active, "active")
        for unit, looks in self.stopping.items():
            if looks > 0:
                states[unit] = "deactivating"
                self.stopping[unit] = looks - 1
        return {
            unit: states[unit] for unit in sorted(states) if any(fnmatch(unit, each) for each in patterns)
        }

    def start(self, unit: str, properties: list[str], argv: list[str]) -> None:
        if self.refuses:
            raise self.refuses
        for item in properties:
            if item.startswith("LoadCredential="):
                name, _colon, path = item.removeprefix("LoadCredential=").partition(":")
                assert Path(path).stat().st_mode & 0o777 == 0o600
                self.seen_secrets[name] = Path(path).read_text()
        self.started.append((unit, properties, argv))
        self.active.add(unit)

    def stop(self, unit: str) -> None:
        self.stopped.append(unit)
        self.active.discard(unit)


@pytest.fixture
def fake_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Systemd:
    """A machine with that systemd, with its run directory below the test's own, seen by root."""
    fake = Systemd()
    monkeypatch.setattr(systemd, "is_active", fake.is_active)
    monkeypatch.setattr(systemd, "active", fake.matching)
    monkeypatch.setattr(systemd, "start", fake.start)
    monkeypatch.setattr(systemd, "mount", lambda _path: None)
    monkeypatch.setattr(systemd, "stop", fake.stop)
    monkeypatch.setattr(systemd, "has_line", lambda unit, line: line in fake.files.get(unit, []))
    monkeypatch.setattr(records, "RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(records, "boot_id", lambda: BOOT)
    monkeypatch.setattr(records, "machine_id", lambda: "machine")
    monkeypatch.setattr(launch, "UNIT_GONE_WITHIN", 0.0)
    monkeypatch.setattr(launch, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("chown", "fchown"):
        monkeypatch.setattr(os, name, lambda *_arguments: None)
    monkeypatch.setattr(accounts, "job_group", fake.job_group)
    return fake


@pytest.fixture
def records_dir(tmp_path: Path) -> str:
    return str(tmp_path / "disk" / "jobs")


@dataclass(frozen=True)
class Hub:
    """The local cloud's Hub, its tokens, and the faults that it can be given."""

    url: str
    token: str
    read_token: str
    store: HubStore
    faults: Faults


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    state = tmp_path_factory.mktemp("hub")
    store = HubStore(state / "hub")
    faults = Faults(Store())
    app = create_app(CloudConfig(state, 18540, IPv4Network("10.136.0.0/24")), store, faults=faults)
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    url = "http://{}:{}".format(*listener.getsockname())
    token, read_token = ((state / name).read_text().strip() for name in ("hf-token", "hf-token-reader"))
    yield Hub(url, token, read_token, store, faults)
    server.should_exit = server.force_exit = True  # clients keep their connections
    thread.join(5)  # it also waits for clients that went without closing their connection
    listener.close()
