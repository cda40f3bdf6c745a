#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the tables of docs/accelerators.md from the collection's own: the accelerators, what fits them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/accelerators.md"
TABLE = re.compile(r"(<!-- (accelerators|fit) -->\n).*?(<!-- end -->)", re.DOTALL)


def written(text: str) -> str:
    """The page with its tables written anew."""
    tables = {"accelerators": accelerators_table, "fit": fit_table}
    return TABLE.sub(lambda match: f"{match[1]}{tables[match[2]]()}{match[3]}", text)


def accelerators_table() -> str:
    from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators

    head = (
        "| type | generation | chips | devices of JAX | HBM of a chip, GB | usable of a device, GiB "
        "| runtime version | data disk | compiler's name | trains | serves |\n"
        "|---|---|--:|--:|--:|--:|---|---|---|---|---|\n"
    )
    rows = ""
    for name in accelerators.SINGLE_HOST:
        kind = accelerators.generation(name)
        assert kind is not None
        compiler = accelerators.topology(name)
        cells = (
            f"`{name}`",
            kind.name,
            accelerators.chips(name),
            accelerators.devices(name),
            kind.hbm,
            kind.memory or "not known",
            f"`{kind.runtime_version}`",
            f"`{kind.disk_type}`",
            f"`{compiler}`" if compiler else "none",
            "yes" if compiler else "not known",
            "yes" if kind.serves else "no",
        )
        rows += "| " + " | ".join(map(str, cells)) + " |\n"
    return head + rows


def fit_table() -> str:
    from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled_rows

    versions = ", ".join(f"{name} {version}" for name, version in compiled_rows.VERSIONS.items())
    head = (
        f"Compiled with {versions}.\n\n"
        "| step | type | verdict | GiB of a device | arguments | temporary | date |\n"
        "|---|---|---|--:|--:|--:|---|\n"
    )
    rows = ""
    for row in compiled_rows.ROWS:
        fits = row.arguments is not None
        total = f"{row.total:.2f}" if fits else f"{row.total:.2f} or more"
        parts = [f"{part:.2f}" if part is not None else "" for part in (row.arguments, row.temporary)]
        cells = (str(row.recipe), f"`{row.accelerator_type}`", row.verdict, total, *parts, row.date)
        rows += "| " + " | ".join(cells) + " |\n"
    return head + rows


def main() -> int:
    init_plugin_loader([str(ROOT / ".collections")])
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
