# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a run: which there are, what they were called, and which values they take.

Names, types, choices and defaults come from the argument specs of the roles. What an argument spec cannot
say, a range above all, is in LIMITS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[2] / "roles"
SPECS = "meta/argument_specs.yml"

# What settings were called. An old name has no effect, and says so.
RENAMED: Mapping[str, str] = {
    "sft_steps": "steps",
    "sft_per_device_batch_size": "per_device_batch_size",
    "sft_max_target_length": "max_target_length",
    "sft_learning_rate": "learning_rate",
    "sft_train_split": "train_split",
    "sft_train_data_columns": "train_data_columns",
    "common_model": "model",
    "common_hf_model": "hf_model",
    "preflight_hf_model": "hf_model",
    "common_hf_revision": "hf_revision",
    "preflight_hf_revision": "hf_revision",
    "common_run_name": "run_name",
    "common_dataset": "dataset",
    "common_dataset_config": "dataset_config",
    "common_dataset_revision": "dataset_revision",
    "common_hf_token": "hf_token",
    "common_hf_endpoint": "hf_endpoint",
    "common_hf_repo": "hf_repo",
    "preflight_hf_repo": "hf_repo",
    "export_hf_repo": "hf_repo",
    "common_hf_replace": "hf_replace",
    "preflight_hf_replace": "hf_replace",
    "export_hf_replace": "hf_replace",
    "common_hf_environment": "hf_environment",
    "common_mount_point": "data_disk_mount_point",
    "common_uv_cache_dir": "uv_cache_dir",
    "maxtext_env_uv_cache_dir": "uv_cache_dir",
    "vllm_serve_uv_cache_dir": "uv_cache_dir",
    "common_platform": "platform",
    "common_python": "python",
    "maxtext_env_python": "python",
    "common_maxtext_version": "maxtext_version",
    "maxtext_env_maxtext_version": "maxtext_version",
    "common_convert_arguments": "convert_arguments",
    "common_maxtext_arguments": "maxtext_arguments",
    "common_maxtext_environment": "maxtext_environment",
    "vllm_serve_port": "serve_port",
    "vllm_serve_tensor_parallel_size": "tensor_parallel_size",
    "serve_source": "vllm_serve_source",
    "max_model_len": "vllm_serve_max_model_len",
    "serve_api_key": "vllm_serve_api_key",
    "serve_python": "vllm_serve_python",
    "wheel_directories": "vllm_serve_find_links",
    "tpu_vm_project": "project",
    "tpu_vm_zone": "zone",
    "tpu_vm_auth": "gcp_auth",
    "tpu_vm_leftovers_delete": "leftovers_delete",
    "tpu_vm_leftovers_owner": "leftovers_owner",
    "sft_tokenizer_revision": "tokenizer_revision",
    "common_tokenizer_revision": "tokenizer_revision",
    "sft_tokenizer": "tokenizer",
    "common_tokenizer": "tokenizer",
    "sft_checkpoint_size": "sft_checkpoint_factor",
    "export_size": "export_factor",
    "convert_hf_size": "convert_hf_bytes",
    "maxtext_env_size": "maxtext_env_bytes",
    "vllm_serve_install_size": "vllm_serve_install_bytes",
    "common_train_data_columns": "train_data_columns",
    "preflight_dataset": "dataset",
    "preflight_train_split": "train_split",
    "preflight_train_data_columns": "train_data_columns",
    "convert_model": "model",
    "convert_hf_model": "hf_model",
    "convert_hf_revision": "hf_revision",
    "convert_weight_dtype": "common_base_dtype",
    "convert_scan_layers": "common_scan_layers",
    "sft_dataset": "dataset",
    "sft_model": "model",
    "sft_run_name": "run_name",
    "sft_scan_layers": "common_scan_layers",
    "export_model": "model",
    "export_run_name": "run_name",
    "export_scan_layers": "common_scan_layers",
    "evaluate_dataset": "dataset",
    "evaluate_run_name": "run_name",
}


@dataclass(frozen=True)
class Limit:
    """What an argument spec cannot say about a value.

    minimum, maximum: the range, with its ends; above: the value is more than this. number: the value is a
    number, although its spec has another type because it may be empty. null: it may be null. name: it is a
    name that may be part of a path. directory: it is the absolute path of a directory below the root.
    whole: it is a whole number, also written as 2.0. environment: it is a dictionary of
    environment variables.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    number: bool = False
    null: bool = False
    name: bool = False
    directory: bool = False
    whole: bool = False
    environment: bool = False


_COUNT = Limit(minimum=1)
_NOT_NEGATIVE = Limit(minimum=0)
_PORT = Limit(minimum=1024, maximum=65535)
_NAME = Limit(name=True)
_ENVIRONMENT = Limit(environment=True)
_RATE = Limit(above=0, number=True)

LIMITS: Mapping[str, Limit] = {
    "model": _NAME,
    "run_name": _NAME,
    "steps": _COUNT,
    "per_device_batch_size": Limit(above=0, whole=True),
    "data_disk_mount_point": Limit(directory=True),
    "local_port": _PORT,
    "max_target_length": _COUNT,
    "hf_environment": _ENVIRONMENT,
    "maxtext_environment": _ENVIRONMENT,
    "maxtext_env_environment": _ENVIRONMENT,
    "vllm_serve_install_environment": _ENVIRONMENT,
    "learning_rate": _RATE,
    "gradient_accumulation_steps": _COUNT,
    "warmup_steps_fraction": Limit(minimum=0, maximum=1),
    "learning_rate_schedule_steps": _NOT_NEGATIVE,
    "data_shuffle_seed": _NOT_NEGATIVE,
    "lora_rank": Limit(minimum=0, maximum=1024),
    "lora_alpha": _NOT_NEGATIVE,
    "serve_port": _PORT,
    "tensor_parallel_size": _COUNT,
    "common_disk_size_gb": _NOT_NEGATIVE,
    "convert_hf_bytes": Limit(minimum=0, null=True),
    "convert_timeout": _COUNT,
    "evaluate_max_tokens": _COUNT,
    "evaluate_row": _NOT_NEGATIVE,
    "export_factor": _NOT_NEGATIVE,
    "export_timeout": _COUNT,
    "export_upload_timeout": _COUNT,
    "locked_env_size": _NOT_NEGATIVE,
    "locked_env_timeout": _COUNT,
    "maxtext_env_bytes": _NOT_NEGATIVE,
    "maxtext_env_timeout": _COUNT,
    "sft_checkpoint_minutes": _NOT_NEGATIVE,
    "sft_checkpoint_period": _NOT_NEGATIVE,
    "sft_checkpoint_factor": _NOT_NEGATIVE,
    "sft_checkpoints_kept": _COUNT,
    "sft_num_epoch": _COUNT,
    "sft_reached": _NOT_NEGATIVE,
    "sft_timeout": _COUNT,
    "tpu_vm_disk_size_gb": Limit(minimum=10),
    "tpu_vm_max_hours": _NOT_NEGATIVE,
    "tpu_vm_max_idle_minutes": _NOT_NEGATIVE,
    "tpu_vm_max_recoveries": _NOT_NEGATIVE,
    "tpu_vm_os_login_ttl": _NOT_NEGATIVE,
    "tpu_vm_wait_timeout": _COUNT,
    "vllm_serve_chat_max_tokens": Limit(minimum=1, number=True, whole=True),
    "vllm_serve_chat_temperature": Limit(minimum=0, number=True),
    "vllm_serve_download_timeout": _COUNT,
    "vllm_serve_install_bytes": _NOT_NEGATIVE,
    "vllm_serve_install_timeout": _COUNT,
    "vllm_serve_max_model_len": _COUNT,
    "vllm_serve_start_timeout": _COUNT,
}


#: Arguments that our playbooks give to our roles, and a role that only our roles play. A user's value would
#: replace all of theirs.
PASSED = frozenset({"sft_reached", "tpu_vm_report_hosts", "tpu_vm_report_phase"})
PART = "locked_env"


@dataclass(frozen=True)
class Setting:
    """A variable of a role. option: its argument spec; role: whose spec it is."""

    name: str
    role: str
    option: Mapping[str, Any]

    @property
    def type(self) -> str:
        return "float" if self.limit.number else str(self.option.get("type", "str"))

    @property
    def limit(self) -> Limit:
        return LIMITS.get(self.name, Limit())

    @property
    def choices(self) -> Sequence[Any]:
        return list(self.option.get("choices", []))

    @property
    def passed(self) -> bool:
        """Whether our playbooks and roles set it, and a user must not."""
        return self.name in PASSED or self.role == PART

    @property
    def secret(self) -> bool:
        return bool(self.option.get("no_log", False))


@cache
def known() -> Mapping[str, Setting]:
    """All settings by name."""
    return {each.name: each for role in roles() for each in of_role(role)}


def of_role(role: str, entry: str | None = None) -> list[Setting]:
    """The settings of a role, or of one of its entry points, in the order of its specs."""
    found: dict[str, Setting] = {}
    for name, point in _read(ROLES / role / SPECS).get("argument_specs", {}).items():
        if entry in (None, name):
            for each, option in (point.get("options") or {}).items():
                # The entry point main is the first, and describes a variable best.
                found.setdefault(each, Setting(each, role, option))
    return list(found.values())


@cache
def roles() -> Sequence[str]:
    return sorted(path.parents[1].name for path in ROLES.glob(f"*/{SPECS}"))


def _read(path: Path) -> dict[str, Any]:
    # Quicker than Ansible's own loader, whose marks nobody needs here.
    loaded = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return dict(loaded or {})


def range_of(setting: Setting) -> str:
    """The range of a setting in words; "" where it has none."""
    limit = setting.limit
    if limit.above is not None:
        return f"above {limit.above:g}"
    if limit.minimum is not None and limit.maximum is not None:
        return f"from {limit.minimum:g} to {limit.maximum:g}"
    return f"of {limit.minimum:g} or more" if limit.minimum is not None else ""
