# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run in this process."""

from tests.unit.plugins.job.conftest import run_module

__all__ = ["run_module"]
