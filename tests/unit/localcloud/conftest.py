# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the local cloud's tests."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from starlette.testclient import TestClient

from localcloud.cloud import Cloud
from localcloud.config import CloudConfig
from localcloud.credentials import CredentialFiles
from localcloud.google import compute, queued, serviceusage, tpu
from localcloud.machines import Machines
from localcloud.server import google_application
from localcloud.state import Store
from tests.unit.localcloud.google_client import FakeMachines, Google


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of CredentialFiles: an RSA key for each test would take most of the time."""
    directory = tmp_path_factory.mktemp("credentials")
    CredentialFiles(CloudConfig(state_dir=directory)).write()
    return directory


@pytest.fixture
def config(tmp_path: Path, credentials: Path) -> CloudConfig:
    shutil.copytree(credentials, tmp_path / "cloud")
    return CloudConfig(state_dir=tmp_path / "cloud")


@pytest.fixture
def open_google(config: CloudConfig) -> Iterator[Callable[[FakeMachines], Google]]:
    """Opens the cloud of the test's state directory, again after a "crash" as well."""
    opened: list[Google] = []

    def open_it(machines: FakeMachines) -> Google:
        cloud = Cloud(config, Store(config.state_dir / "state.db"), cast(Machines, machines))
        compute.register(cloud)
        serviceusage.register(cloud)
        work = tpu.register(cloud)
        queue = queued.register(cloud)
        token = cloud.credentials.access_token.read_text(encoding="utf-8")
        client = TestClient(google_application(cloud, work), headers={"Authorization": f"Bearer {token}"})
        opened.append(Google(cloud, machines, work, queue, client))
        return opened[-1]

    yield open_it
    for google in opened:
        google.machines.hold.set()
        google.cloud.operations.close()


@pytest.fixture
def google(open_google: Callable[[FakeMachines], Google]) -> Google:
    """A fresh cloud with nothing enabled."""
    return open_google(FakeMachines())


@pytest.fixture
def enabled(google: Google) -> Google:
    """A fresh cloud whose project may use TPUs and disks."""
    google.enable()
    return google
