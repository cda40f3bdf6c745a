#!/usr/bin/env python3
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the tables of docs/models.md from the table of models.

A table stands between <!-- models: NAME --> and <!-- end -->. The text around the tables is not touched.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/models.md"
TABLE = re.compile(r"(<!-- models: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """The page with its tables written anew."""
    tables = {"work": working, "refused": refused}
    return TABLE.sub(lambda match: f"{match[1]}{''.join(tables[match[2]]())}{match[3]}", text)


def working() -> Iterator[str]:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.training import models

    head = "`model` | repository | parameters | GB on the Hub | license | vLLM on a TPU | MaxText is told"
    yield f"| {head} |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for name, row in models.TABLE.items():
        parameters = models.MODELS[name].parameters / 1e9
        license_of = f"{row.licence}, gated" if row.gated else row.licence
        told = " ".join(models.arguments(name, "export"))
        yield (
            f"| `{name}` | [{row.hub}](https://huggingface.co/{row.hub}) | {parameters:.1f} B | "
            f"{row.hub_bytes / 1e9:.1f} | {license_of} | {models.SERVED_BY[row.architecture]} | `{told}` |\n"
        )


def refused() -> Iterator[str]:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.training import models

    yield "| `model` | why, and what to do |\n|---|---|\n"
    reasons: dict[str, list[str]] = {}
    for name, reason in models.REFUSED.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        text = reason.removesuffix(f" {models.CHOOSE}")
        yield f"| {', '.join(f'`{name}`' for name in names)} | {text[0].upper()}{text[1:].rstrip('.')}. |\n"


def main() -> int:
    init_plugin_loader()
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
