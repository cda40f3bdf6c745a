# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's part of the module hf_upload."""

from __future__ import annotations

from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_action import JobAction, display


class ActionModule(JobAction):
    """Starts an upload, follows and shows it."""

    def start(self, variables: Json) -> Json:
        given = self._task.args
        display.display(
            f"{given.get('repo_id')}  comparing {given.get('folder')} with the Hub by size and hash"
        )
        return super().start(variables)

    def restarts(self) -> int:
        """What has arrived at the Hub is not sent again, so there is nothing to decide for the user."""
        return 3

    def secrets(self) -> set[str]:
        token = self._task.args.get("token")
        return {str(token)} if token else set()
