# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which word somebody meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that `word` is most likely a misspelling of; "" where it is like none."""
    allowed = 0 if len(word) < 4 else 1 if len(word) < 6 else 2
    lengths = range(len(word) - allowed, len(word) + allowed + 1)
    found = [(distance(word, each, allowed), each) for each in words if len(each) in lengths]
    best = min(found, default=(allowed + 1, ""))
    return best[1] if best[0] <= allowed else ""


def distance(one: str, other: str, most: int) -> int:
    """How many letters must be added, left out, changed or exchanged with the next one.

    More than `most` is most + 1.
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]


def one_of(words: Sequence[str]) -> str:
    """The words as a choice, in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
