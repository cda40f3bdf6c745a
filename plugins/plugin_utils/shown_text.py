# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text of others on its way to a terminal: names, labels, states, logs, answers of a model."""

from __future__ import annotations

from typing import Any

LONGEST = 300  # characters of a value in a line


def shown(value: Any, longest: int | None = LONGEST) -> str:
    """The text in one line, with all that is not printable escaped: control characters, changes of
    direction."""
    text = str(value)
    if longest is not None and len(text) > longest:
        text = text[:longest] + "..."
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def shown_lines(text: str) -> str:
    """The same for text of several lines: ends of lines and tabs stay."""
    return "".join(each if each in "\n\t" or each.isprintable() else ascii(each)[1:-1] for each in text)
