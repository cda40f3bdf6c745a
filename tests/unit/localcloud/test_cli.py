# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands, as far as they need no root and no machines."""

from __future__ import annotations

import json
import os
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localcloud import admin, cli, lifecycle, places
from localcloud.config import CloudConfig
from localcloud.machines import MachineError
from localcloud.process import ServerProcess
from tests.unit.localcloud.google_client import LOCATION, Google


def invoke(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [*arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> list[CloudConfig]:
    """The configurations with which `up` and `down` were called, by a root that has all packages."""
    configurations: list[CloudConfig] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(cli, "missing_packages", list)
    monkeypatch.setattr(places, "_LOCK", tmp_path_factory.mktemp("run") / "places.lock")
    monkeypatch.setattr(lifecycle, "up", lambda config, progress: configurations.append(config))
    monkeypatch.setattr(lifecycle, "down", lambda config, progress: configurations.append(config))
    return configurations


def test_settings_come_from_options(seen: list[CloudConfig], tmp_path: Path) -> None:
    invoke("--state-dir", str(tmp_path), "--port", "20000", "--subnet", "10.9.0.0/24", "up")
    assert seen == [CloudConfig(tmp_path, 20000, IPv4Network("10.9.0.0/24"))]


def test_settings_come_from_the_environment(
    seen: list[CloudConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALCLOUD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("LOCALCLOUD_PORT", "20001")
    monkeypatch.setenv("LOCALCLOUD_SUBNET", "10.10.0.0/24")
    invoke("down")
    assert seen == [CloudConfig(tmp_path, 20001, IPv4Network("10.10.0.0/24"))]


def test_settings_are_those_that_the_cloud_came_up_with(seen: list[CloudConfig], tmp_path: Path) -> None:
    (tmp_path / "localcloud.json").write_text(json.dumps({"port": 20002, "subnet": "10.11.0.0/24"}))
    invoke("--state-dir", str(tmp_path), "up")
    invoke("--state-dir", str(tmp_path), "--port", "20003", "up")
    assert [(config.port, str(config.subnet)) for config in seen] == [
        (20002, "10.11.0.0/24"),
        (20003, "10.11.0.0/24"),
    ]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--subnet", "10.0.0.1/24", "has host bits set"),
        ("--subnet", "8.8.8.0/24", "not a private network"),
        ("--subnet", "10.0.0.0/30", "at least eight addresses"),
        ("--subnet", "mars", "is not a network such as"),
        ("--port", "80", "1024<=x<=65533"),
    ],
)
def test_wrong_settings_are_refused(seen: list[CloudConfig], option: str, value: str, words: str) -> None:
    result = invoke(option, value, "up", status=2)
    assert words in result.output
    assert value in result.output
    assert seen == []


def test_root_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for command in ("up", "down", "serve"):
        assert "run it with sudo" in invoke(command, status=1).output


def test_missing_packages_are_named(seen: list[CloudConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "missing_packages", lambda: ["nftables", "systemd-container"])
    output = invoke("up", status=1).output
    assert "apt-get install --yes --no-install-recommends nftables systemd-container" in output
    assert seen == []


def test_packages_are_installed_on_request(seen: list[CloudConfig], monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(cli, "missing_packages", lambda: ["nftables"])
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command))
    invoke("--subnet", "10.9.0.0/24", "up", "--install")
    assert commands == [["apt-get", "install", "--yes", "--no-install-recommends", "nftables"]]
    assert len(seen) == 1


@pytest.mark.parametrize(
    "error", [lifecycle.CloudError("no luck"), MachineError("no luck"), OSError("no luck")]
)
def test_known_failures_are_one_line(
    seen: list[CloudConfig], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(config: CloudConfig, progress: object) -> None:
        raise error

    monkeypatch.setattr(lifecycle, "up", fail)
    assert invoke("up", status=1).output == "Error: no luck\n"


def test_commands_without_a_cloud_say_what_to_do(tmp_path: Path) -> None:
    state = str(tmp_path / "none")
    assert "run `localcloud up` first" in invoke("--state-dir", state, "env", status=1).output
    assert "there is no log" in invoke("--state-dir", state, "logs", status=1).output
    assert json.loads(invoke("--state-dir", state, "status", "--json").output) == {
        "server": {"running": False, "pid": None, "port": 18470},
        "nodes": [],
        "machines": [],
        "disks": [],
        "repositories": [],
        "faults": [],
        "queued_resources": [],
        "limits": [],
    }
    assert not Path(state).exists()


def test_status_reads_the_state_of_a_dead_server(enabled: Google) -> None:
    enabled.create_disk("data")
    enabled.create_node()
    state = str(enabled.cloud.config.state_dir)
    found = json.loads(invoke("--state-dir", state, "status", "--json").output)
    assert found["nodes"] == [
        {"name": f"{LOCATION}/nodes/tpu-v5e-8", "state": "READY", "accelerator_type": "v5litepod-8"}
    ]
    assert [disk["size_gb"] for disk in found["disks"]] == [10]
    text = invoke("--state-dir", state, "status").output
    assert "server: running=False" in text
    assert "tpu-v5e-8  READY  v5litepod-8" in text
    assert "machines: none" in text


def test_env_is_shell(config: CloudConfig, tmp_path: Path) -> None:
    (config.state_dir / "localcloud.json").write_text(json.dumps({"port": 20004, "subnet": "10.11.0.0/24"}))
    (config.state_dir / "hf-token").write_text("hf_it's\n")
    lines = invoke("--state-dir", str(config.state_dir), "env").output.splitlines()
    assert "export CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE=http://127.0.0.1:20004/compute/v1/" in lines
    assert "export HF_ENDPOINT=http://10.11.0.1:20005" in lines
    assert """export HF_TOKEN='hf_it'"'"'s'""" in lines


def test_logs_are_printed(config: CloudConfig) -> None:
    ServerProcess(config).log_file.write_text("12:00:00 INFO hello\n")
    assert invoke("--state-dir", str(config.state_dir), "logs").output == "12:00:00 INFO hello\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """What commands ask of the server, which answers with its `node`, if it is given one."""
    calls: list[tuple[str, dict[str, object]]] = []

    def call(config: CloudConfig, command: str, **arguments: object) -> object:
        calls.append((command, arguments))
        return arguments.get("node")

    monkeypatch.setattr(admin, "call", call)
    return calls


@pytest.mark.parametrize(
    ("arguments", "command", "sent"),
    [
        (
            ["capacity", "--zone", "us-west1-c", "8"],
            "limit",
            {"kind": "capacity", "zone": "us-west1-c", "chips": 8},
        ),
        (
            ["capacity", "--zone", "z", "--spot", "--accelerator-type", "v6e-8", "unlimited"],
            "limit",
            {"kind": "capacity", "zone": "z", "chips": None, "tier": "spot", "accelerator_type": "v6e-8"},
        ),
        (
            ["quota", "--zone", "z", "--on-demand", "--project", "p", "0"],
            "limit",
            {"kind": "quota", "zone": "z", "chips": 0, "tier": "on-demand", "project": "p"},
        ),
        (["preempt", "tpu-v5e-8"], "preempt", {"node": "tpu-v5e-8"}),
        (["health", "a", "TIMEOUT"], "health", {"node": "a", "health": "TIMEOUT"}),
        (["maintenance", "tpu-v5e-8"], "maintenance", {"node": "tpu-v5e-8", "seconds": 5.0}),
        (["maintenance", "a", "--seconds", "0.5"], "maintenance", {"node": "a", "seconds": 0.5}),
        (["maintenance", "a", "--begin"], "maintenance-begin", {"node": "a"}),
        (["maintenance", "a", "--end"], "maintenance-end", {"node": "a"}),
        (["token", "expire"], "token-expire", {}),
        (
            ["fault", "unreachable", "--zone", "z", "--count", "2"],
            "fault-arm",
            {"kind": "unreachable", "where": {"zone": "z"}, "count": 2, "seconds": None, "size": None},
        ),
    ],
)
def test_commands_for_a_cloud_that_runs(
    asked: list[tuple[str, dict[str, object]]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    command: str,
    sent: dict[str, object],
) -> None:
    monkeypatch.setattr(cli, "show_faults", lambda faults, as_json: None)
    output = invoke(*arguments).output
    assert asked == [(command, sent)]
    assert output == {"preempt": "preempted tpu-v5e-8\n"}.get(command, output)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["capacity", "8"], "Missing option '--zone'"),
        (["capacity", "--zone", "z", "many"], "'many' is neither a number of chips nor 'unlimited'"),
        (["capacity", "--zone", "z", "--project", "p", "8"], "No such option '--project'"),
        (["quota", "--zone", "z", "--", "-1"], "'-1' is neither a number of chips nor 'unlimited'"),
        (["maintenance", "a", "--seconds", "600"], "0<=x<=40"),
        (["maintenance", "a", "--begin", "--end"], "--begin or --end, not both"),
        (["preempt"], "Missing argument 'NODE'"),
        (["health", "a", "FINE"], "'FINE' is not one of"),
    ],
)
def test_wrong_commands_ask_nothing(
    asked: list[tuple[str, dict[str, object]]], arguments: list[str], words: str
) -> None:
    assert words in invoke(*arguments, status=2).output
    assert asked == []


def test_what_the_server_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(config: CloudConfig, command: str, **arguments: object) -> object:
        raise admin.AdminError("no node a")

    monkeypatch.setattr(admin, "call", call)
    for arguments in (["preempt", "a"], ["capacity", "--zone", "z", "1"], ["token", "expire"]):
        assert invoke(*arguments, status=1).output == "Error: no node a\n"
