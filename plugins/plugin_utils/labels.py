# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Labels that say whose a resource is, within Google's rules."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import re
from collections.abc import Mapping
from typing import Any

CREATED_BY = "created-by"
TOOL = "tpuops-maxtext"
OURS = (CREATED_BY, "owner")  # labels that say whose something is
LONGEST = 63
MOST = 64


def value(text: str) -> str:
    """`text` as a label's value: what Google does not take there becomes a hyphen."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:LONGEST].strip("-_")


def marked(labels: Mapping[str, Any], run: str, owner: str) -> dict[str, str]:
    """The user's labels, and who made this for which run where the user does not say so.

    Raises ValueError, which names the label, for what Google would refuse.
    """
    given = {str(key): item if isinstance(item, str) else json.dumps(item) for key, item in labels.items()}
    ours = {CREATED_BY: TOOL, "owner": value(owner), "run": value(run)}
    found = {**{key: item for key, item in ours.items() if item}, **given}
    for key, item in found.items():
        if not (key[:1].isalpha() and _allowed(key)) or not (item == "" or _allowed(item)):
            raise ValueError(
                f"labels: {key}={item} is not valid. Keys and values hold at most {LONGEST} lower-case "
                "letters, digits, hyphens and underscores; keys begin with a letter."
            )
    if len(found) > MOST:
        raise ValueError(f"labels: there are {len(found)}; Google takes {MOST} at most.")
    return found


def login_name() -> str:
    """Whose account runs Ansible. Raises ValueError where the user has no name, as in some containers.

    The account decides, not LOGNAME or USER: a variable of one shell would make one's own node somebody
    else's in the next.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        pass
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise ValueError("owner: this user has no login name. Give one (tpu_vm_owner)") from error


def labels_of(resource: Mapping[str, Any]) -> dict[str, str]:
    """A resource's labels. A queued resource has none of its own; its nodes will have."""
    specs = resource.get("tpu", {}).get("nodeSpec", [])
    labelled = specs[0].get("node", {}) if specs else resource
    return dict(labelled.get("labels", {}))


def _allowed(text: str) -> bool:
    """Google takes letters of every script, if they are not upper-case ones."""
    letters = all(
        char in "-_" or char.isdecimal() or (char.isalpha() and char == char.lower()) for char in text
    )
    return 0 < len(text) <= LONGEST and letters
