# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a job ended that did not finish, in words: its cause first, then what to do, then its last lines."""

from __future__ import annotations

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import duration
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.job_remedies import remedy


def failure(record: Json, log_tail: list[str], host: str) -> str:
    """The whole story of a job that did not finish, its cause first."""
    name, status = record["name"], record["status"]
    how = {
        "failed": "failed",
        "timeout": "ran out of time",
        "stopped": "was stopped",
        "interrupted": "was interrupted",
    }[status]
    details = []
    if record["seconds"] is not None:
        details.append(f"after {duration(record['seconds'])}")
    if status == "failed" and record["signal"]:
        details.append(f"by {record['signal']}")
    elif status == "failed" and record["exit_code"]:
        details.append(f"with exit status {record['exit_code']}")
    reason = record["reason"] or log.cause(log_tail)
    first = " ".join([f"job {name} {how}", *details]) + (f": {reason}" if reason else "")
    lines = [first]
    again = "Run the same command again to run it again." if status == "interrupted" else None
    if what_to_do := remedy(reason if status == "failed" else None, log_tail) or again:
        lines.append(what_to_do)
    lines.append(f"unit {record['unit']} on {host}; follow its log with: sudo tail -n 100 -F {record['log']}")
    if log_tail:
        lines.append("Its last lines:")
        lines.extend(f"  {line}" for line in log_tail)
    return "\n".join(lines)
