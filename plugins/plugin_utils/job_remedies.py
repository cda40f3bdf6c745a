# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can do about a job that failed, by what its log says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.tpuops.maxtext.plugins.module_utils.job.log import FULL
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.space import GROW

AGAIN = "Run the same command again: what is there is kept."
#: What the log says, and what to do about it; the first that fits. The Hub's words are those of
#: huggingface_hub, which speaks by requests or, since 1.0, by httpx.
REMEDIES = (
    (re.compile(FULL), f"The disk is full. {GROW}"),
    (
        re.compile(
            r"\b(?:GatedRepo|RepositoryNotFound)Error\b|\b40[13] (?:Client Error|Unauthorized|Forbidden)\b"
        ),
        "The Hub refused the token: make a new one in the settings of the account, or ask there for access. "
        f"{AGAIN}",
    ),
    (
        re.compile(
            r"\b(?:429|5\d\d) (?:(?:Client|Server) Error|Too Many Requests|Internal Server Error|Bad Gateway"
            r"|Service (?:Temporarily )?Unavailable|Gateway Time-?out)\b",
            re.IGNORECASE,
        ),
        f"The Hub was busy or failed. {AGAIN}",
    ),
    (
        re.compile(
            r"\b(?:httpx2?|requests\.exceptions|urllib3\.exceptions)\.\w*"
            r"(?:Connect|Timeout|Protocol|Read|Write|Network|MaxRetry)\w*\b|\bLocalEntryNotFoundError\b"
        ),
        f"The Hub did not answer, or the network broke. {AGAIN}",
    ),
)


def remedy(lines: Iterable[str]) -> str | None:
    """What to do about an end that these lines explain; None where they say nothing that is known."""
    text = "\n".join(lines)
    return next((words for pattern, words in REMEDIES if pattern.search(text)), None)
