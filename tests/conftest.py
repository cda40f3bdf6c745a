# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests: the marks, and which tests run."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "machines: boots machines; needs root")
    config.addinivalue_line("markers", "soak: long by nature; runs in `make soak`, or by its own name")
    # A shell's background process ignores Ctrl-C, and so would every playbook that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without -m, and without a name (FILE::TEST), nobody waits for the soak."""
    if config.option.markexpr or any("::" in argument for argument in config.args):
        return
    soaking = [item for item in items if item.get_closest_marker("soak")]
    if soaking:
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item not in soaking]
