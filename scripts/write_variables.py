#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of docs/variables.md from the argument specs of the roles and their ranges.

A table stands between <!-- settings: ROLE --> or <!-- settings: ROLE ENTRY-POINT --> and <!-- end -->. The
text around the tables is not touched.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/variables.md"
TABLE = re.compile(r"(<!-- settings: (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)
HEAD = "| variable | default | type | |\n|---|---|---|---|\n"


def written(text: str) -> str:
    """The page with its tables written anew."""
    from ansible_collections.tpuops.maxtext.plugins.plugin_utils import settings

    def table(match: re.Match[str]) -> str:
        # What our playbooks pass to a role is no user's to set.
        found = [each for each in settings.of_role(match[2], match[3]) if not each.passed]
        rows = [row(each, settings.range_of) for each in found]
        return f"{match[1]}{HEAD}{''.join(rows)}{match[4]}"

    return TABLE.sub(table, text)


def row(setting: Any, range_of: Callable[[Any], str]) -> str:
    option = setting.option
    default = f"`{shown(option['default'])}`" if "default" in option else ""
    kind = setting.type
    if kind == "list":
        kind = f"list of {option.get('elements', 'str')}"
    if setting.choices:
        kind = ", ".join(f"`{each}`" for each in setting.choices)
    if limits := range_of(setting):
        kind = f"{kind}, {limits.removeprefix('of ')}"
    description = option["description"]
    words = plain(" ".join(description) if isinstance(description, list) else description)
    return f"| `{setting.name}` | {default} | {kind} | {words} |\n"


def shown(default: Any) -> str:
    """A default as it is written in YAML."""
    if isinstance(default, str):
        return default or '""'
    if isinstance(default, list) and all(isinstance(each, str) for each in default):
        return f"[{', '.join(default)}]"
    return json.dumps(default)


def plain(text: str) -> str:
    """The markup of Ansible's documentation in Markdown."""
    text = re.sub(r"\b[OM]\((?:[\w.]+#role:\w+:)?([^)]*)\)", r"`\1`", text)
    return re.sub(r"\b(?:C|V|E|RV|P)\(([^)]*)\)", r"`\1`", text).replace("|", "\\|")


def main() -> int:
    init_plugin_loader([str(ROOT / ".collections")])
    before = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(written(before), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
