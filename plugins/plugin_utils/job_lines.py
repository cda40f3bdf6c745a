# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which lines of a running job's progress are shown, and when."""

from __future__ import annotations

import time
from collections.abc import Callable

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import (
    Progress,
    Transfer,
    duration,
    phase,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

SHOW_LOG_EVERY = 10.0  # seconds, for jobs that tell no steps
SHOW_SHARE = 0.02  # of the time that passed: an hour's job shows a line a minute


class Shown:
    """Decides which lines to show, and when."""

    def __init__(
        self, progress: Progress | str, show: Callable[[str], None], needed: int | None = None
    ) -> None:
        self.progress = progress
        self.show = show
        self.transfer = Transfer(needed)
        self.started = time.monotonic()
        self.shown_at = float("-inf")
        self.pending = False
        self.phase = ""  # the last one that a job without steps told

    @property
    def reached(self) -> Json:
        """The fields of the last step that the job told, {} where it tells none."""
        return {} if isinstance(self.progress, str) else dict(self.progress.latest)

    def update(self, text: str, written: int | None = None) -> None:
        """Take in what the job wrote; show a line when something changed and the last one is old enough.

        ``written`` is the number of bytes that its disk got so far.
        """
        if isinstance(self.progress, str) and self.transfer.feed(written, time.monotonic()):
            self.pending = True
        for line in log.lines_of(text):
            if isinstance(self.progress, str):
                self.pending, self.phase = True, phase(line) or self.phase
            elif self.progress.feed(line):
                self.pending = True
        elapsed = time.monotonic() - self.started
        pause = max(SHOW_LOG_EVERY if isinstance(self.progress, str) else 0.0, elapsed * SHOW_SHARE)
        if time.monotonic() - self.shown_at >= pause:
            self.last()

    def last(self) -> None:
        """Show what is not shown yet."""
        if not self.pending:
            return
        if isinstance(self.progress, str):
            passed = duration(time.monotonic() - self.started)
            parts = [self.progress, passed, self.transfer.describe(), self.phase]
            self.show("  ".join(part for part in parts if part))
        else:
            self.show(self.progress.describe())
        self.pending = False
        self.shown_at = time.monotonic()
