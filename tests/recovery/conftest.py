# SPDX-License-Identifier: GPL-3.0-or-later
"""One local cloud for all tests of nodes that are preempted or lost; needs root."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.support import local_cloud

from .support import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    base = tmp_path_factory.mktemp("recovery")
    with local_cloud(base) as cloud:
        yield Site(cloud, base)
