# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the chips: the environment of each job, and of the server."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .expressions import ROOT
from .test_sft_role import rendered as sft
from .test_vllm_serve_role import rendered as rendered_for_server


def serve(name: str, **values: Any) -> str:
    return rendered_for_server(name, role_path=str(ROOT / "roles/vllm_serve"), hf_username="me", **values)


def environment_of(stage: str) -> Any:
    """The expression that a stage's job has as its environment."""
    tasks = yaml.safe_load((ROOT / f"roles/{stage}/tasks/main.yml").read_text(encoding="utf-8"))
    jobs = [task["tpuops.maxtext.job"] for task in tasks[0]["block"] if "tpuops.maxtext.job" in task]
    return jobs[0]["environment"]


@pytest.mark.parametrize("platform", ["tpu", "cpu"])
@pytest.mark.parametrize("stage", ["convert", "export", "evaluate"])
def test_what_needs_no_chip_gets_none(stage: str, platform: str) -> None:
    assert environment_of(stage) == "{{ _common_job_environment }}"
    assert sft("_common_job_environment", platform=platform)["JAX_PLATFORMS"] == "cpu"


@pytest.mark.parametrize(("platform", "platforms"), [("tpu", "tpu,cpu"), ("cpu", "cpu")])
def test_training_has_the_chips_or_fails(platform: str, platforms: str) -> None:
    assert environment_of("sft") == "{{ _sft_environment }}"
    assert sft("_sft_environment", platform=platform)["JAX_PLATFORMS"] == platforms


def test_the_users_environment_comes_last() -> None:
    given = {"JAX_PLATFORMS": "", "TPU_LOG_DIR": "disabled"}
    assert given.items() <= sft("_sft_environment", maxtext_environment=given).items()
    assert sft("_common_job_environment", maxtext_environment=given)["JAX_PLATFORMS"] == ""


def test_the_server_has_the_chips_or_fails() -> None:
    assert "'JAX_PLATFORMS': 'tpu,cpu'" in serve("_vllm_serve_variables")
    assert "JAX_PLATFORMS" not in serve("_vllm_serve_variables", platform="cpu")


def test_the_log_of_libtpu_is_on_the_data_disk_and_bounded() -> None:
    trains = sft("_sft_environment")
    assert trains["TPU_LOG_DIR"] == "/mnt/disks/checkpoints/cache/tpu_logs"
    assert trains["TPU_MAX_LOG_SIZE_MB"] == "64"
    serves = serve("_vllm_serve_variables")
    assert f"'TPU_LOG_DIR': '{serve('_vllm_serve_cache_dir')}/tpu_logs'" in serves
    assert "'TPU_MAX_LOG_SIZE_MB': '64'" in serves
    # Errors are in the log of the job as well, and so in the message about its end.
    assert trains["TPU_STDERR_LOG_LEVEL"] == "2"
    assert "'TPU_STDERR_LOG_LEVEL': '2'" in serves


def test_the_compile_cache_of_the_server_is_one_directory() -> None:
    """JAX opens the cache once, at its first compilation; vLLM names its directory only later."""
    cache = f"{serve('_vllm_serve_cache_dir')}/xla"
    for name in ("VLLM_XLA_CACHE_PATH", "JAX_COMPILATION_CACHE_DIR"):
        assert f"'{name}': '{cache}'" in serve("_vllm_serve_variables")


def test_vllm_waits_for_its_engine_as_long_as_the_start_may_take() -> None:
    """By itself it gives up after 600 seconds; a cold start was told to take up to 30 minutes."""
    given = serve("_vllm_serve_variables", vllm_serve_start_timeout=2700)
    assert "'VLLM_ENGINE_READY_TIMEOUT_S': 2700" in given
    assert int(serve("vllm_serve_start_timeout")) > 30 * 60


def test_one_worker_opens_no_port_for_others() -> None:
    """jax.distributed listens on a port without authentication."""
    assert "skip_jax_distributed_system=True" in sft("_sft_argv")
    assert "skip_jax_distributed_system=True" in sft("_sft_argv", tpu_accelerator_type="v5litepod-8")
    assert "skip_jax_distributed_system=False" in sft("_sft_argv", tpu_accelerator_type="v5litepod-16")
