# SPDX-License-Identifier: GPL-3.0-or-later
"""Up, down and status: what the commands do, whatever state an earlier life has left."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localcloud import admin, hub
from localcloud.config import CloudConfig
from localcloud.faults import Faults
from localcloud.machines import Machines
from localcloud.process import ServerProcess
from localcloud.state import Store

Progress = Callable[[str], None]

#: The server's log starts each line with a time and a level; `up` shows the rest.
_LOG_PREFIX = len("00:00:00 INFO ")
POLL_SECONDS = 0.2


class CloudError(Exception):
    """The cloud could not come up or go down; the message says what to do."""


def up(config: CloudConfig, progress: Progress) -> None:
    """Bring the cloud up and wait until it serves and every node that should run does."""
    config.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(config):
        server = ServerProcess(config)
        if server.pid() is None:
            _start(config, server, progress)
        elif admin.status(config) is None:
            raise CloudError(
                f"the server of {config.state_dir} runs, but does not answer on port {config.port}: it may "
                "have come up with another port; run `localcloud down` first, or see `localcloud logs`"
            )
        _settle(config, progress)


def _start(config: CloudConfig, server: ServerProcess, progress: Progress) -> None:
    begin = offset = server.log_file.stat().st_size if server.log_file.exists() else 0
    process = server.start()
    while admin.status(config) is None:
        if process.poll() is not None:
            lines, _end = _new_lines(server.log_file, begin)
            raise CloudError("\n".join(["the server did not start:", *lines[-10:]]))
        lines, offset = _new_lines(server.log_file, offset)
        for line in lines:
            progress(line[_LOG_PREFIX:])
        time.sleep(POLL_SECONDS)


def _new_lines(log: Path, offset: int) -> tuple[list[str], int]:
    """Whole lines that were written to a log since `offset`, and the offset after them."""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read()
    whole = text[: text.rfind(b"\n") + 1]
    return whole.decode(errors="replace").splitlines(), offset + len(whole)


def _settle(config: CloudConfig, progress: Progress) -> None:
    """Wait for nodes on which work is in progress or due."""
    shown: list[str] = []
    while unsettled := _unsettled(config):
        if unsettled != shown:
            progress(f"waiting for {', '.join(name.rpartition('/')[2] for name in unsettled)}")
            shown = unsettled
        time.sleep(POLL_SECONDS)


def _unsettled(config: CloudConfig) -> list[str]:
    answer = admin.status(config)
    if answer is None:
        raise CloudError("the server ended: see `localcloud logs`")
    return list(answer["unsettled"])


def down(config: CloudConfig, progress: Progress) -> None:
    """Remove everything of a cloud. Nothing of it being there is fine."""
    exists = config.state_dir.exists()
    with _alone(config) if exists else _nothing():
        server = ServerProcess(config)
        if server.stop():
            progress("stopped the server")
        Machines(config).teardown()
        for entry in config.state_dir.iterdir() if exists else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    if exists:
        config.state_dir.rmdir()


@contextmanager
def _alone(config: CloudConfig) -> Iterator[None]:
    """One `up` or `down` at a time: the lock is on the directory itself, so that it leaves no file."""
    descriptor = os.open(config.state_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def status(config: CloudConfig) -> dict[str, Any]:
    """What lives: server, nodes, machines, disks, repositories. Works without the server."""
    pid = ServerProcess(config).pid()
    found: dict[str, Any] = {
        "server": {"running": pid is not None, "pid": pid, "port": config.port},
        "nodes": [],
        "machines": [
            {"name": machine.name, "address": machine.address, "running": machine.running}
            for machine in Machines(config).list()
        ],
        "disks": [],
        "repositories": [],
        "faults": [],
        "queued_resources": [],
        "limits": [],
    }
    database = config.state_dir / "state.db"
    if database.exists():
        store = Store(database)
        found["nodes"] = [
            {"name": name, "state": node["state"], "accelerator_type": node["acceleratorType"]}
            for name, node in store.items("node")
        ]
        found["disks"] = [
            {"name": name, "status": disk["status"], "size_gb": int(disk["sizeGb"])}
            for name, disk in store.items("disk")
        ]
        found["queued_resources"] = [
            {"name": name, "state": queued["state"]["state"]}
            for name, queued in store.items("queued-resource")
        ]
        found["limits"] = [
            {"kind": kind, **{key: value for key, value in limit.items() if value != ""}}
            for kind in ("capacity", "quota")
            for _, limit in store.items(kind)
        ]
        found["faults"] = [dataclasses.asdict(fault) for fault in Faults(store).armed()]
        store.close()
    if (config.state_dir / "hub").exists():
        repositories = hub.HubStore(config.state_dir / "hub")
        found["repositories"] = [
            {"type": repository.id.type, "name": f"{repository.id.namespace}/{repository.id.name}"}
            for kind in ("model", "dataset")
            for repository in repositories.list(kind)
        ]
    return found
