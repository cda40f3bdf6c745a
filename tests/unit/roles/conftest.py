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

ROOT = Path(__file__).resolve().parents[3]


def load(path: str) -> ModuleType:
    loader = SourceFileLoader(Path(path).stem.replace("-", "_"), str(ROOT / path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
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
def trainer() -> Iterator[ModuleType]:
    """The program beside which the role puts the collection's checkpoints.py."""
    sys.modules["checkpoints"] = load("plugins/module_utils/checkpoints.py")
    yield load("roles/sft/files/train_sft.py")
    del sys.modules["checkpoints"]


@pytest.fixture(scope="session")
def locker() -> ModuleType:
    return load("scripts/lock-environments")
