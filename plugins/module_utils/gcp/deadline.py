# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deadline, and the pauses until then."""

from __future__ import annotations

import random
import time

LONGEST_PAUSE = 10.0


class Deadline:
    """A point in time, some seconds from now, and the pauses until then."""

    def __init__(self, seconds: float) -> None:
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Begin anew from now, for all who hold it."""
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def pause(self, pause: float) -> float:
        """Sleep about `pause` seconds, never beyond the deadline; returns the next pause (longer, up to 10
        s).

        A quarter of jitter keeps controllers that started together from polling together.
        """
        time.sleep(min(self.left, pause * random.uniform(0.75, 1.25)))
        return min(LONGEST_PAUSE, pause * 1.5)
