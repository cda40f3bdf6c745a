# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that roles copy to a machine are no part of a package: they are loaded by their path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from ..plugins.job.conftest import hub
from .expressions import compiled_once

__all__ = ["compiled_once", "hub"]

ROOT = Path(__file__).resolve().parents[3]


def load(path: str, name: str | None = None) -> ModuleType:
    loader = SourceFileLoader(name or Path(path).stem.replace("-", "_"), str(ROOT / path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[loader.name] = module  # for its neighbours, and for its own data classes
    loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def installer() -> ModuleType:
    return load("roles/locked_env/files/install_environment.py")


@pytest.fixture(scope="session")
def service() -> ModuleType:
    return load("roles/vllm_serve/files/vllm_service.py")


@pytest.fixture(scope="session")
def guard() -> ModuleType:
    return load("roles/tpu_vm/files/tpu_guard.py")


@pytest.fixture(scope="session")
def conversations() -> ModuleType:
    return load("roles/evaluate/files/read_conversation.py")


@pytest.fixture(scope="session")
def shared_programs() -> Iterator[ModuleType]:
    """The package that the role common puts beside the programs."""
    package = ModuleType("tpuops")
    sys.modules["tpuops"] = package
    for path in (
        "plugins/module_utils/manifest.py",
        "plugins/module_utils/checkpoints.py",
        "plugins/module_utils/huggingface/model_files.py",
        "plugins/module_utils/training/models.py",
        "roles/common/files/adapters.py",
        "roles/common/files/arrays.py",
        "roles/common/files/download.py",
        "roles/common/files/installed.py",
        "roles/common/files/rope.py",
        "roles/common/files/architecture.py",
        "roles/common/files/tensors.py",
    ):
        name = Path(path).stem
        module = load(path, f"tpuops.{name}")
        setattr(package, name, module)
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "tpuops"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def training_rows() -> ModuleType:
    return load("roles/sft/files/training_rows.py")


@pytest.fixture(scope="session")
def training_data(training_rows: ModuleType) -> ModuleType:
    return load("roles/sft/files/training_data.py")


@pytest.fixture(scope="session")
def training_lora(shared_programs: ModuleType) -> ModuleType:
    return load("roles/sft/files/training_lora.py")


@pytest.fixture(scope="session")
def trainer(shared_programs: ModuleType, training_data: ModuleType, training_lora: ModuleType) -> ModuleType:
    return load("roles/sft/files/train_sft.py")


@pytest.fixture(scope="session")
def downloader(shared_programs: ModuleType) -> ModuleType:
    return sys.modules["tpuops.download"]


@pytest.fixture(scope="session")
def converter(shared_programs: ModuleType) -> ModuleType:
    return load("roles/convert/files/convert.py")


@pytest.fixture(scope="session")
def architectures(shared_programs: ModuleType) -> ModuleType:
    found = shared_programs.architecture
    assert isinstance(found, ModuleType)
    return found


@pytest.fixture(scope="session")
def adapters(shared_programs: ModuleType) -> ModuleType:
    found = shared_programs.adapters
    assert isinstance(found, ModuleType)
    return found


@pytest.fixture(scope="session")
def ropes(shared_programs: ModuleType) -> ModuleType:
    found = shared_programs.rope
    assert isinstance(found, ModuleType)
    return found


@pytest.fixture(scope="session")
def exporter(shared_programs: ModuleType) -> ModuleType:
    return load("roles/export/files/export.py")


@pytest.fixture(scope="session")
def locker() -> ModuleType:
    return load("scripts/lock-environments")
