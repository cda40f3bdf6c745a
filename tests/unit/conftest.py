# SPDX-License-Identifier: GPL-3.0-or-later
"""Lets Ansible's own loader find the collection before a test imports from it: plugins load as in a run."""

from __future__ import annotations

from pathlib import Path

from ansible.plugins.loader import init_plugin_loader
from hypothesis import settings

init_plugin_loader([str(Path(__file__).resolve().parents[2] / ".collections")])

# A test that takes longer on a busy machine has not failed.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
