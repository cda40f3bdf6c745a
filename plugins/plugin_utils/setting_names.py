# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables and tags that a user gave and nothing reads: what they are called, or what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.plugin_utils.settings import RENAMED, known, roles
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.spelling import nearest, one_of

NO_TAGS = "Leave it out."

# What people write who mean a setting of ours; too far from its name to be a misspelling of it. These count
# on the command line only, since an inventory may have such variables for others.
MEANT: Mapping[str, str] = {
    "job": "job_name",
    "lr": "learning_rate",
    "batch_size": "per_device_batch_size",
    "serve_model": "vllm_serve_source",
}


@dataclass(frozen=True)
class Given:
    """A variable that a user set.

    source: where, for the message; command_line: whether it came with -e; value: as it was written there;
    ours: whether it counts for this run, as a variable of hosts that are no TPU VMs does not.
    """

    name: str
    source: str
    command_line: bool = False
    value: Any = None
    ours: bool = True


def misspelt(given: Iterable[Given]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none."""
    return [told for each in given if (told := _misspelt(each))]


def _misspelt(given: Given) -> str:
    name = given.name
    if name in RENAMED:
        return f"{name}: is now called {RENAMED[name]} ({given.source}). Set {RENAMED[name]} instead."
    # A name with an underscore is a variable of the roles that is no setting: a test may replace it.
    if name in known() or name.startswith(("ansible_", "_")):
        return ""
    meant = MEANT.get(name, "") if given.command_line else ""
    meant = meant or nearest(name, [*known(), *RENAMED])
    meant = RENAMED.get(meant, meant)
    ours = any(name.startswith(f"{role}_") for role in roles())
    if not (meant or ours):
        return ""
    remedy = f"Did you mean {meant}?" if meant else "See docs/variables.md for all of them."
    return f"{name}: is not a setting ({given.source}). {remedy}"


def unknown_tags(tags: Iterable[str], there: Iterable[str]) -> list[str]:
    """A sentence for each tag that the playbook has not. It would do nothing, and end well."""
    existing = sorted(there)
    told = []
    for tag in tags:
        if tag in existing or tag == "all":
            continue
        meant = nearest(tag, existing)
        remedy = f"Did you mean {meant}?" if meant else f"Use {one_of(existing)}." if existing else NO_TAGS
        told.append(f"--tags: {tag} is no tag of this playbook, and nothing would be done. {remedy}")
    return told


def unknown_skips(tags: Iterable[str], there: Iterable[str]) -> list[str]:
    """A sentence for each tag that the playbook cannot skip."""
    existing = sorted(there)
    remedy = f"Tags that can: {', '.join(existing)}." if existing else NO_TAGS
    return [f"--skip-tags: {tag} cannot be skipped here. {remedy}" for tag in tags if tag not in existing]
