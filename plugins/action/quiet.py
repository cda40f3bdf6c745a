# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a module of this collection runs that has no action plugin of its own (meta/runtime.yml)."""

from __future__ import annotations

from ansible.plugins.action.normal import ActionModule as Normal
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.quiet import Quiet


class ActionModule(Quiet, Normal):  # type: ignore[misc]
    """Ansible's own, without the module's arguments in the output."""
