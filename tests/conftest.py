# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for all tests: the marks, and which tests run."""

from __future__ import annotations

import signal

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "machines: boots machines; needs root")
    config.addinivalue_line("markers", "soak: long; runs in `make soak`, with -m soak, or as FILE::TEST")
    # A shell's background process ignores Ctrl-C, and so would every playbook that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked soak, unless -m names that mark or an argument names the test (FILE::TEST)."""
    if "soak" in (config.option.markexpr or ""):
        return
    here = config.invocation_params.dir
    named = [argument.partition("::") for argument in config.args if "::" in argument]

    def is_named(item: pytest.Item) -> bool:
        _, _, test = item.nodeid.partition("::")
        return any(
            (here / file).resolve() == item.path and test.startswith(start) for file, _, start in named
        )

    soaking = [item for item in items if item.get_closest_marker("soak") and not is_named(item)]
    if soaking:
        config.hook.pytest_deselected(items=soaking)
        items[:] = [item for item in items if item not in soaking]
