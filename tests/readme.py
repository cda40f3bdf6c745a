# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documents say that a test can run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLAYBOOKS = sorted((ROOT / "playbooks").glob("*.yml"))
SETTINGS = sorted((ROOT / "inventories").rglob("*.yml"))
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "README.ja.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted(ROOT.glob("roles/*/README.md")),
)
FILE = re.compile(r"^`([^`]+\.yml)`:\n\n```yaml\n(.*?)```", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"^# +(ansible-playbook .*)$", re.MULTILINE)
INLINE = re.compile(r"`(ansible[a-z-]* [^`]+)`", re.DOTALL)


@dataclass(frozen=True)
class Command:
    document: str
    text: str


def galaxy_inventory() -> dict[str, str]:
    """{path: content} of the inventory that the README gives to users of Galaxy."""
    section = (ROOT / "README.md").read_text().partition("\n## From Galaxy\n")[2].partition("\n## ")[0]
    return dict(FILE.findall(section))


def commands() -> Iterator[Command]:
    """Every command of the documents: lines of shell blocks, and what stands between backquotes.

    The comments of playbooks and inventories are documents too.
    """
    for source in (*PLAYBOOKS, *SETTINGS):
        for line in COMMENT.findall(source.read_text()):
            yield Command(str(source.relative_to(ROOT)), line)
    for document in DOCUMENTS:
        text = document.read_text()
        name = str(document.relative_to(ROOT))
        for block in BLOCK.findall(text):
            for line in block.replace("\\\n", " ").splitlines():
                if command := re.sub(r"\s+#.*", "", line).strip():
                    yield Command(name, command)
        for inline in INLINE.findall(text):
            yield Command(name, " ".join(inline.split()))
