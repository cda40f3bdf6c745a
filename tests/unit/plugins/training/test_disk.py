# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a run fits the data disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import disk, memory
from ansible_collections.tpuops.maxtext.plugins.module_utils.training.models import Model

ROLES = Path(__file__).parents[4] / "roles"


@pytest.mark.parametrize(
    ("model", "dtype", "base", "kept", "gigabytes"),
    [
        # The larger of two. During training: the environment, the download, the base model and kept + 1
        # checkpoints, each with the weights and two moments.
        # At the end: both environments, the export, its download for serving and the kept checkpoints.
        ("qwen3-4b", "float32", "bfloat16", 2, 4 + 8.04 + 8.04 + 3 * 48.3),
        ("qwen3-4b", "float32", "auto", 2, 4 + 8.04 + 8.04 + 3 * 48.3),
        ("qwen3-4b", "bfloat16", "bfloat16", 2, 13 + 4 * 8.04 + 2 * 24.1),
        ("qwen3-4b", "float32", "float32", 2, 4 + 8.04 + 16.1 + 3 * 48.3),
        ("qwen3-4b", "float32", "bfloat16", 1, 4 + 8.04 + 8.04 + 2 * 48.3),
        ("qwen3-8b", "bfloat16", "bfloat16", 2, 4 + 16.4 + 16.4 + 3 * 49.1),
        ("qwen3-8b", "float32", "bfloat16", 2, 4 + 16.4 + 16.4 + 3 * 98.3),
        ("qwen3-14b", "bfloat16", "bfloat16", 2, 4 + 29.5 + 29.5 + 3 * 88.6),
        ("qwen3-4b", "bfloat16", "bfloat16", 0, 13 + 4 * 8.04),
    ],
)  # fmt: skip
def test_what_a_run_writes(model: str, dtype: str, base: str, kept: int, gigabytes: float) -> None:
    found = disk.needed(model, disk.Trained(dtype), base, kept)
    assert found is not None
    assert found / 1e9 == pytest.approx(gigabytes, rel=0.01)


def test_a_model_that_is_not_known_is_not_looked_at() -> None:
    assert disk.needed("gpt-oss-20b", disk.Trained("float32"), "bfloat16", 2) is None
    disk.check("gpt-oss-20b", disk.Trained("float32"), "bfloat16", 2, 10)


@pytest.mark.parametrize(
    ("model", "dtype", "size"),
    [
        ("qwen3-4b", "float32", 256),  # the default of all
        ("qwen3-8b", "bfloat16", 256),
        ("qwen3-8b", "float32", 350),
        ("qwen3-8b", "float32", 0),  # nobody knows the disk
    ],
)
def test_a_disk_that_is_large_enough(model: str, dtype: str, size: int) -> None:
    disk.check(model, disk.Trained(dtype), "bfloat16", 2, size)


@pytest.mark.parametrize(
    ("model", "dtype", "size", "told"),
    [
        ("qwen3-8b", "float32", 256, "tpu_vm_disk_size_gb: 256 is too small"),
        ("qwen3-14b", "bfloat16", 256, "Set tpu_vm_disk_size_gb to 320 or more"),
        ("qwen3-4b", "float32", 100, "3 checkpoints of 48 GB"),
    ],
)
def test_a_disk_that_is_too_small_is_refused(model: str, dtype: str, size: int, told: str) -> None:
    with pytest.raises(HubError) as refused:
        disk.check(model, disk.Trained(dtype), "bfloat16", 2, size)
    assert told in str(refused.value)


def defaults(role: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in (ROLES / role / "defaults").rglob("*.yml"):
        found |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def test_the_size_of_the_disk_is_that_of_the_role_that_makes_it() -> None:
    size, name = (defaults("tpu_vm")[each] for each in ("tpu_vm_disk_size_gb", "tpu_vm_disk_name"))
    assert defaults("common")["common_disk_size_gb"] == (
        f"{{{{ tpu_vm_disk_size_gb | default({size}) if tpu_vm_disk_name | default('{name}') else 0 }}}}"
    )


@pytest.mark.parametrize("base", ["auto", "bfloat16", "float32"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_job_on_the_node_expects_no_less(dtype: str, base: str) -> None:
    """It goes by the base model's files, which are packed: to 0.78 in bfloat16; of float32 that came from
    bfloat16 1.09 GB of 2.38 were left (Qwen3 0.6B's shape, MaxText 0.2.5)."""
    from ...roles.test_sft_checks import variable

    packed = {"auto": 0.78 * 2, "bfloat16": 0.78 * 2, "float32": 1.09 / 2.38 * 4}[base]
    times = float(variable("sft_checkpoint_factor", sft_weight_dtype=dtype, common_base_dtype=base))
    assert packed * times == pytest.approx(3 * {"bfloat16": 2, "float32": 4}[dtype], rel=0.06)
    assert packed * times >= 3 * {"bfloat16": 2, "float32": 4}[dtype] * 0.99


def test_checkpoints_of_adapters_are_small() -> None:
    """In float32, with both moments: the arrays that MaxText saved of a model of 28 layers have this size."""
    tiny = Model("qwen3", 64, 4, 2, 128, 28, 1024, head=32, tied=True)
    assert memory.adapters(tiny, 4) == 28 * 4 * (192 + 128 + 128 + 192 + 3 * 192)
    small = disk.checkpoint("qwen3-4b", disk.Trained("bfloat16", lora_rank=16))
    assert 0.3e9 < small < 0.5e9 < disk.checkpoint("qwen3-4b", disk.Trained("bfloat16")) / 20
    disk.check("qwen3-14b", disk.Trained("bfloat16", 16), "bfloat16", 2, 150)
    with pytest.raises(HubError, match=r"tpu_vm_disk_size_gb: 50 is too small.*3 checkpoints of 0.8 GB"):
        disk.check("qwen3-14b", disk.Trained("bfloat16", 16), "bfloat16", 2, 50)


def test_accumulated_gradients_are_saved() -> None:
    sizes = [disk.checkpoint("qwen3-4b", disk.Trained("float32", 0, each)) for each in (False, True)]
    assert sizes[1] / sizes[0] == pytest.approx(4 / 3)
