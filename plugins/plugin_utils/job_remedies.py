# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can do about a job that failed, by what its log says."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ansible_collections.tpuops.maxtext.plugins.module_utils.job.log import FULL
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.space import GROW, RESTART

#: Words for a disk that cannot be read. That a file system is read-only says nothing: to a job, /usr is.
FAILING = re.compile(r"\bInput/output error\b|\bCannot allocate memory: ['\"]/")
AGAIN = "Run the same command again: what is there is kept."
#: What the log says of the Hub, and what to do about it; the first that fits. The words are those of
#: huggingface_hub, which speaks by requests or, since 1.0, by httpx, and of what hides its errors.
REMEDIES = (
    (
        re.compile(
            r"\b(?:GatedRepo|RepositoryNotFound)Error\b|\b40[13] (?:Client Error|Unauthorized|Forbidden)\b"
        ),
        "The Hub refused the token. Create a new one in the settings of the account, or ask for access. "
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
            r"|couldn't (?:connect to|reach) ",
            re.IGNORECASE,
        ),
        f"The Hub did not answer, or the network broke. {AGAIN}",
    ),
)


def remedy(cause: str | None, lines: Iterable[str]) -> str | None:
    """What to do about an end with this cause, which the lines explain; None where nothing is known.

    A full or a failing disk explains everything. What the Hub did may have been tried again, so the cause
    must be of that kind; which it was, the lines tell: huggingface_hub hides a refusal behind a file that is
    not there.
    """
    text = "\n".join([cause or "", *lines])
    if FULL in text:
        return f"The disk is full. {GROW}"
    if FAILING.search(text):
        return RESTART
    if not any(pattern.search(cause or "") for pattern, _words in REMEDIES):
        return None
    return next(words for pattern, words in REMEDIES if pattern.search(text))
