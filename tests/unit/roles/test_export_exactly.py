# SPDX-License-Identifier: GPL-3.0-or-later
"""How a checkpoint is read for the export: MaxText's converter rounds before it computes."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "roles/export/files/export_exactly.py"
#: As MaxText's does it: arrays are restored in weight_dtype, which the weights are saved in as well.
READS = """
def load_orbax_checkpoint(config):
    return f"read in {config.weight_dtype}"
"""
CONVERTER = """
import sys
from converter_package.utils.utils import load_orbax_checkpoint

class Config:
    weight_dtype = "bfloat16"
    def model_copy(self, update):
        other = Config()
        vars(other).update(update)
        return other

config = Config()
print(__name__, sys.argv[1:], load_orbax_checkpoint(config), "saved in", config.weight_dtype)
"""


def test_arrays_are_read_as_they_were_stored(tmp_path: Path) -> None:
    utils = tmp_path / "converter_package" / "utils"
    utils.mkdir(parents=True)
    for directory in (utils, utils.parent):
        (directory / "__init__.py").touch()
    (utils / "utils.py").write_text(READS)
    (utils.parent / "to_huggingface.py").write_text(CONVERTER)
    command = [sys.executable, str(PROGRAM), "converter_package.to_huggingface", "base.yml", "a=1"]
    told = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert told.stdout == "__main__ ['base.yml', 'a=1'] read in None saved in bfloat16\n", told.stderr


@pytest.mark.parametrize(
    ("name", "exactly"),
    [("llama3.1-8b", True), ("gemma2-2b", True), ("qwen3-4b", False), ("gpt-oss-20b", False)],
)
def test_of_the_families_that_maxtext_scales(
    exporter: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, exactly: bool
) -> None:
    ran: list[list[str]] = []

    def run(command: list[str], **_options: Any) -> Any:
        ran.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(exporter.subprocess, "run", run)
    arguments = ["base.yml", f"model_name={name}"]
    options = argparse.Namespace(module="package.module", arguments=arguments)
    program = exporter.converter(options, None, Path("/adapter"))
    assert exporter.convert(program, arguments, Path("/draft"), Path("/base")) == 0
    start = [sys.executable, str(PROGRAM)] if exactly else [sys.executable, "-m"]
    assert ran[0][: len(start) + 3] == [*start, "package.module", *arguments]
