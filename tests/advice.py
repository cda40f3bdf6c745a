# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands in messages: in what was printed, which tests run as it is, and in the sources.

`follow` runs what a message says. tests/unit/test_messages.py has a row for each command of the sources.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: A word as shlex.quote writes it; the end of a sentence or of a bracket is none of it.
VALUE = r"""(?:'[^']*'(?:"'"'[^']*')*|[^\s'"`);]*[^\s'"`),;.:])"""
OPTION = rf"(?:-i|-e|--tags|--skip-tags|--vault-id|--vault-password-file) {VALUE}"
PLAYBOOK = rf"ansible-playbook(?: {OPTION})* (?:\S*/)?(?:tpuops\.maxtext\.[a-z_]+|[a-z_]+\.yml)(?: {OPTION})*"
#: What follows the name of a program in a message, up to the words "on the machine".
REST = rf"(?: (?!on the machine|prints it){VALUE})+"
COMMANDS = re.compile(
    rf"{PLAYBOOK}|gcloud (?:compute|projects|config|auth){REST}|hf upload{REST}"
    rf"|sudo [a-zX]{{2,}}(?:{REST})?|python -m pip{REST}|curl --silent|python3 - <<'END'"
)


def commands(text: str) -> list[str]:
    """The commands of what was printed, each once, as they are printed.

    Ansible prints a failure's message twice: as it is, and in the result as YAML, which wraps and quotes it.
    """
    plain = re.sub(r"=> *\n(?: {4}.*\n?)+", "=>\n", text)
    return list(dict.fromkeys(match[0] for match in COMMANDS.finditer(plain)))


def advised(text: str, *words: str) -> str:
    """The one command of a message that has all of these words."""
    found = [each for each in commands(text) if all(word in each for word in words)]
    assert len(found) == 1, (words, commands(text))
    return found[0]


def follow(command: str, environment: Mapping[str, str], where: Path = ROOT, status: int = 0) -> str:
    """Run a command as it was printed, as a shell does; what it printed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=where,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# The sources


def in_text(text: str) -> Iterator[str]:
    """The commands of a text of the sources, short: a playbook with its tags and settings, else its words.

    A field of the text is X.
    """
    for match in COMMANDS.finditer(" ".join(text.split())):
        yield short(match[0])


def short(command: str) -> str:
    words = shlex.split(command)
    if words[0] != "ansible-playbook":
        # Up to the first field or argument that differs.
        kept = []
        for word in words:
            if "X" in word or word.startswith(("/", "-")) or word.isupper():
                break
            kept.append(word)
        return " ".join(kept)
    book, options = "", []
    rest = iter(words[1:])
    for word in rest:
        if word in ("-e", "--tags"):
            value = next(rest)
            options.append(f"{word} {value.partition('=')[0] if word == '-e' else value}")
        elif word != "-i":
            book = book or Path(word).stem
    return " ".join([book, *sorted(options)])


def of_calls(path: Path) -> Iterator[str]:
    """The commands that a plugin makes with `command_line.command`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        if node.func.id not in ("command", "printed") or not isinstance(node.args[0], ast.Constant):
            continue
        words = [str(each.value) if isinstance(each, ast.Constant) else "X" for each in node.args]
        names = sorted(f"-e {each.arg}" for each in node.keywords if each.arg)
        yield " ".join([words[0], *names, *([" ".join(words[1:])] if words[1:] else [])])
