# SPDX-License-Identifier: GPL-3.0-or-later
"""One local cloud for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .support import PLACE, Cloud, CommandLines, local_cloud


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with local_cloud(tmp_path_factory.mktemp("e2e"), PLACE) as made:
        yield made


@pytest.fixture(scope="session")
def command_lines() -> Iterator[CommandLines]:
    watcher = CommandLines()
    yield watcher
    watcher.stop()
