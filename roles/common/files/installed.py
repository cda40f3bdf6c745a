# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the environment that a program runs in has the version of MaxText that its records will tell.

The role only says a version. A run of one stage (``--tags sft``) takes the environment that is there, and a
record that names another version lets later stages, and the next run, compare with what never was.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any

PACKAGE = "maxtext"


def problem(about: dict[str, Any]) -> str | None:
    """How the installed MaxText differs from the one in these inputs; None where it does not."""
    wanted = about.get("maxtext_version")
    try:
        found = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        found = ""
    if wanted is None or wanted == found:
        return None
    has = f"MaxText {found}" if found else "no MaxText"
    remedy = f"Set maxtext_version to {found}, or install" if found else "Install"
    return (
        f"maxtext_version: {wanted} is set, but the environment {sys.prefix} has {has}. {remedy} the version "
        "that is set: ansible-playbook site.yml --tags maxtext_env"
    )
