# SPDX-License-Identifier: GPL-3.0-or-later
"""One local cloud for all end-to-end tests, and the collection as it is installed from its artifact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests import artifact

from .support import PLACE, Cloud, CommandLines, local_cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    base = tmp_path_factory.mktemp("e2e")
    installed = artifact.install(artifact.build(base), base / "installed")
    with local_cloud(base, PLACE) as made:
        # The clone has only the inventory; what it links to in .collections is not found.
        environment = {**made.environment, "ANSIBLE_COLLECTIONS_PATH": str(installed)}
        yield replace(made, environment=environment)


@pytest.fixture(scope="session")
def command_lines() -> Iterator[CommandLines]:
    watcher = CommandLines()
    yield watcher
    watcher.stop()
