# SPDX-License-Identifier: GPL-3.0-or-later
"""The sample output of the READMEs: what a first run on the local cloud prints, with names of Google.

tests/e2e compares the documents with its own run. With TRANSCRIPT=write it writes the sample anew:

    TRANSCRIPT=write .venv/bin/python -m pytest tests/e2e -k sample
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "README.ja.md")
BLOCK = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT_OUT = "..."
#: Lines of the end of a run that only a program reads.
FOR_PROGRAMS = ("    Tunnel: ", "    Key:    ", "    curl:   ")
OF_DISK = ("Price: ", "Disk ")
TIME = re.compile(r"\b\d+(?:\.\d+)? (?:s|min|h|days?)\b(?! ?/)(?: \d+ (?:min|s|h))?")
NUMBER = re.compile(r"(?<![\w-])\d+(?:\.\d+)?(?![\w-])")


def with_names_of_google(output: str, settings: Mapping[str, Any]) -> str:
    """The output as a user in a clone would see it. settings: the content of localcloud.json."""
    for old, new in (
        (f"{settings['hub']}/{settings['hf_username']}/", "https://huggingface.co/me/"),
        (f" {settings['hf_username']}/", " me/"),
        (settings["project"], "my-project"),
    ):
        output = output.replace(old, new)
    output = re.sub(r"(?m)^(Account: +|Project my-project, account )\S+", r"\1me@example.com", output)
    command = r"ansible-playbook -i inventories/local tpuops\.maxtext\.(\w+)"
    output = re.sub(command, r"ansible-playbook -i inventories/gcp playbooks/\1.yml", output)
    return output.replace("playbooks/site.yml", "site.yml")


def sample(output: str) -> list[list[str]]:
    """The blocks of the documents: how a run begins and what it shows, and how it ends."""
    lines = output.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("Project: "))
    steps = [line for line in lines if re.match(r"sft-\S+  step ", line)]
    shown = [steps[len(steps) // 4], steps[len(steps) // 2], steps[-1]]  # the first one compiles
    end = max(number for number, line in enumerate(lines) if line.startswith("Project "))
    return [[*block(lines[begin:]), LEFT_OUT, *shown], without_programs(block(lines[end:]))]


def block(lines: Sequence[str]) -> list[str]:
    """The lines before the result of the task that printed them."""
    found = []
    for line in lines:
        if not line.strip() or re.match(r"ok: \[|TASK |PLAY ", line):
            break
        found.append(line)
    return found


def without_programs(lines: Sequence[str]) -> list[str]:
    told = [LEFT_OUT if line.startswith(FOR_PROGRAMS) else line for line in lines]
    return [line for number, line in enumerate(told) if line != LEFT_OUT or told[number - 1] != LEFT_OUT]


def shape(line: str) -> str:
    """A line without what differs from run to run: times, steps, losses, rates, amounts."""
    return NUMBER.sub("N", TIME.sub("T", line))


def shapes(blocks: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[shape(line) for line in lines] for lines in blocks]


def documented(document: Path) -> list[list[str]]:
    return [text.splitlines() for text in BLOCK.findall(document.read_text(encoding="utf-8"))]


def write(document: Path, blocks: Sequence[Sequence[str]]) -> None:
    """Put these blocks in the place of the document's. A line with a price of the disk stays, where only the
    amounts are others: the disk of the local cloud is smaller."""
    text = document.read_text(encoding="utf-8")
    prices = {
        shape(line): line for lines in documented(document) for line in lines if line.startswith(OF_DISK)
    }
    new = iter(blocks)

    def replaced(_match: re.Match[str]) -> str:
        return "```text\n" + "".join(f"{prices.get(shape(line), line)}\n" for line in next(new)) + "```"

    document.write_text(BLOCK.sub(replaced, text), encoding="utf-8")
