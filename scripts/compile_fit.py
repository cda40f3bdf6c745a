#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles the training step of models on accelerators, and keeps what it needs in the collection.

    make fit                        all rows that are missing: many hours
    make fit FIT_ARGS="--first 5"   the next five

Writes plugins/module_utils/training/compiled_rows.py after each row, so it goes on where it was stopped. Rows
of other versions than those of the lock are dropped. The lock's environment is made in build/fit.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if "ansible_collections" not in sys.modules:  # a test has it
    init_plugin_loader([])

# ruff: noqa: E402
from ansible_collections.tpuops.maxtext.plugins.module_utils import accelerators
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import compiled_rows, memory
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe, Row

LOCK = ROOT / "environments" / "train-tpu.txt"
PROGRAM = ROOT / "roles" / "sft" / "files" / "compile_sft.py"
TABLE = ROOT / "plugins" / "module_utils" / "training" / "compiled_rows.py"
PACKAGES = ("google-tunix", "jax", "libtpu", "maxtext")

# What is asked most, before the product of all.
FIRST = (
    (Recipe("qwen3-0.6b", "float32", 0, 1, 1024), "v5litepod-8"),
    (Recipe("qwen3-0.6b", "float32", 0, 1, 1024), "v6e-8"),
    (Recipe("qwen3-4b", "float32", 0, 1, 1024), "v5litepod-8"),
    (Recipe("qwen3-14b", "bfloat16", 0, 1, 1024), "v5litepod-8"),
    (Recipe("qwen3-14b", "bfloat16", 16, 1, 1024), "v5litepod-8"),
    (Recipe("qwen3-4b", "bfloat16", 16, 1, 1024), "v5litepod-4"),
    (Recipe("qwen3-4b", "bfloat16", 16, 1, 1024), "v5litepod-1"),
    (Recipe("qwen3-8b", "float32", 0, 1, 1024), "v6e-8"),
    (Recipe("llama3.1-8b", "bfloat16", 0, 1, 1024), "v5litepod-8"),
    (Recipe("llama3.1-8b", "float32", 0, 1, 1024), "v6e-8"),
    (Recipe("qwen3-4b", "bfloat16", 0, 4, 1024), "v5litepod-8"),
    (Recipe("qwen3-4b", "float32", 0, 1, 1024), "v6e-8"),
    (Recipe("qwen3-8b", "bfloat16", 0, 1, 1024), "v5litepod-8"),
    (Recipe("qwen3-14b", "bfloat16", 0, 1, 1024), "v6e-8"),
    (Recipe("qwen3-4b", "float32", 0, 4, 1024), "v5litepod-8"),
    (Recipe("qwen3-4b", "float32", 0, 1, 1024), "v5p-8"),
    (Recipe("qwen3-32b", "bfloat16", 0, 1, 1024), "v6e-8"),
    (Recipe("qwen3-4b", "bfloat16", 0, 1, 1024), "v5litepod-4"),
    (Recipe("qwen3-32b", "bfloat16", 16, 1, 1024), "v6e-8"),
)
MODELS = (
    *("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b", "qwen3-32b"),
    *("llama3.1-8b", "llama3.1-70b"),
)
TYPES = (
    *("v5litepod-8", "v6e-8", "v5p-8", "v5litepod-4", "v6e-4"),
    *("v5litepod-1", "v6e-1"),
)
# Weights' type, rank of LoRA, sequences a device, tokens of each.
RECIPES = (
    *(("float32", 0, 1, 1024), ("bfloat16", 0, 1, 1024), ("bfloat16", 16, 1, 1024)),
    *(("float32", 0, 4, 1024), ("bfloat16", 0, 4, 1024), ("bfloat16", 16, 4, 1024)),
    *(("float32", 0, 1, 4096), ("bfloat16", 0, 1, 4096), ("bfloat16", 16, 1, 4096)),
)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--first", type=int, help="no more rows than so many")
    parser.add_argument("--python", type=Path, help="of an environment from the lock, in place of build/fit")
    options = parser.parse_args()
    python = options.python or environment()
    versions = locked_versions()
    rows = list(compiled_rows.ROWS) if versions == compiled_rows.VERSIONS else []
    known = {(row.recipe, row.accelerator_type) for row in rows}
    missing = [each for each in wanted() if each not in known][: options.first]
    failed = 0
    for (recipe, accelerator_type), answer in zip(missing, compile_all(python, missing), strict=False):
        if "error" in answer:
            print(f"{recipe} on {accelerator_type}: {answer['error']}", file=sys.stderr)
            failed += 1
            continue
        if answer["versions"] != versions:
            print(f"{python}: not made from {LOCK.name}: {answer['versions']}", file=sys.stderr)
            return 1
        rows.append(row(recipe, accelerator_type, answer))
        TABLE.write_text(written(rows, versions), encoding="utf-8")
        print(
            f"{rows[-1].total:7.2f} GiB, {rows[-1].verdict}: {recipe} on {accelerator_type}, "
            f"{answer['cpu']} s of CPU",
            flush=True,
        )
    return 1 if failed else 0


def wanted() -> Iterator[tuple[Recipe, str]]:
    """The rows of the table, what is asked most first. What arithmetic refuses needs no compiler."""
    yield from FIRST
    for recipe in RECIPES:
        for accelerator_type in TYPES:
            for model in MODELS:
                one = (Recipe(model, *recipe), accelerator_type)
                if one not in FIRST and memory.copies(*one) <= room(accelerator_type):
                    yield one


def room(accelerator_type: str) -> float:
    kind = accelerators.generation(accelerator_type)
    return (kind and kind.memory) or 0


def row(recipe: Recipe, accelerator_type: str, answer: dict[str, Any]) -> Row:
    if not answer["splash"]:
        raise SystemExit(f"{recipe} on {accelerator_type}: was compiled without splash attention")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    arguments, temporary, output, aliased = map(answer.get, ("arguments", "temporary", "output", "aliased"))
    verdict, total = answer["verdict"], answer["total"]
    return Row(recipe, accelerator_type, verdict, total, arguments, temporary, output, aliased, today)


def compile_all(python: Path, wanted: list[tuple[Recipe, str]]) -> Iterator[dict[str, Any]]:
    """The answers of one process, each when it is there."""
    if not wanted:
        return
    lines = [
        json.dumps({"topology": accelerators.topology(accelerator_type), "arguments": recipe.arguments()})
        for recipe, accelerator_type in wanted
    ]
    log = ROOT / "build" / "fit.log"
    log.parent.mkdir(exist_ok=True)
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [str(python), str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin and process.stdout
        process.stdin.write("".join(f"{line}\n" for line in lines))
        process.stdin.close()
        try:
            yield from map(json.loads, process.stdout)
        finally:
            process.kill()


def environment() -> Path:
    """The Python of an environment from the lock."""
    key = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    prefix = ROOT / "build" / "fit" / key
    python = prefix / "bin" / "python"
    if not (prefix / ".complete").exists():
        uv = str(Path(sys.executable).with_name("uv"))
        wanted = sys.executable if sys.version_info[:2] == (3, 12) else "3.12"  # the lock's
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", wanted, str(prefix)], check=True)
        command = [uv, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--python", str(python)]
        subprocess.run([*command, "-r", str(LOCK)], check=True)
        (prefix / ".complete").touch()
    return python


def locked_versions() -> dict[str, str]:
    text = LOCK.read_text(encoding="utf-8")
    found = {name: re.search(rf"^{name}==(\S+)", text, re.MULTILINE) for name in PACKAGES}
    return {name: match[1] for name, match in found.items() if match}


def written(rows: list[Row], versions: dict[str, str]) -> str:
    lines = [
        f"    Row(\n        {recipe(each.recipe)},\n        {', '.join(map(literal, each[1:]))},\n    ),\n"
        for each in rows
    ]
    return (
        "# Copyright (c) 2026, The tpuops.maxtext maintainers\n"
        "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)\n"
        "# SPDX-License-Identifier: GPL-3.0-or-later\n"
        '"""What the TPU compiler said. Written by make fit; do not edit."""\n'
        "\n"
        "from __future__ import annotations\n"
        "\n"
        "from ansible_collections.tpuops.maxtext.plugins.module_utils.training.compiled import Recipe, Row\n"
        "\n"
        "# fmt: off\n"
        f"VERSIONS = {json.dumps(versions)}\n"
        "ROWS: tuple[Row, ...] = (\n" + "".join(lines) + ")\n"
    )


def recipe(value: Recipe) -> str:
    return "Recipe(" + ", ".join(map(literal, value)) + ")"


def literal(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


if __name__ == "__main__":
    sys.exit(main())
