# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of a run: which there are, and what is wrong with what a user set.

Names, types, choices and defaults come from the argument specs of the roles. What an argument spec cannot
say, a range above all, is in LIMITS.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpuops.maxtext.plugins.filter.plain_name import plain_name

ROLES = Path(__file__).resolve().parents[2] / "roles"
SPECS = "meta/argument_specs.yml"

NO_TAGS = "Leave it out."

# What people write who mean a setting of ours; too far from its name to be a misspelling of it. These count
# on the command line only, since an inventory may have such variables for others.
MEANT: Mapping[str, str] = {"job": "job_name", "lr": "learning_rate", "batch_size": "per_device_batch_size"}

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
    whole: it is a whole number, also written as 2.0.
    """

    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    number: bool = False
    null: bool = False
    name: bool = False
    directory: bool = False
    whole: bool = False


_COUNT = Limit(minimum=1)
_NOT_NEGATIVE = Limit(minimum=0)
_PORT = Limit(minimum=1024, maximum=65535)
_NAME = Limit(name=True)
_RATE = Limit(above=0, number=True)

LIMITS: Mapping[str, Limit] = {
    "model": _NAME,
    "run_name": _NAME,
    "steps": _COUNT,
    "per_device_batch_size": Limit(above=0, whole=True),
    "data_disk_mount_point": Limit(directory=True),
    "local_port": _PORT,
    "max_target_length": _COUNT,
    "learning_rate": _RATE,
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

# Of each pair one is above 0, and the other is 0.
EITHER: Sequence[tuple[str, str]] = [("sft_checkpoint_period", "sft_checkpoint_minutes")]


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


@dataclass(frozen=True)
class Given:
    """A variable that a user set.

    source: where, for the message; command_line: whether it came with -e; value: as it was written there;
    ours: whether it counts for this run, as a variable of hosts that are no TPU VMs does not.
    """

    name: str
    source: str
    command_line: bool = False
    value: Any = None
    ours: bool = True


class Invalid(ValueError):
    """A value that a setting cannot have. The message has the problem and the remedy, without the name."""


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


@cache
def internal() -> frozenset[str]:
    """Variables of the roles that are no settings: a test may replace them."""
    return frozenset(name for path in sorted(ROLES.glob("*/vars/main.yml")) for name in _read(path))


def _read(path: Path) -> dict[str, Any]:
    # Quicker than Ansible's own loader, whose marks nobody needs here.
    loaded = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return dict(loaded or {})


def misspelt(given: Iterable[Given]) -> list[str]:
    """A sentence for each variable that looks like one of ours and is none."""
    return [told for each in given if (told := _misspelt(each))]


def _misspelt(given: Given) -> str:
    name = given.name
    if name in RENAMED:
        return f"{name}: is now called {RENAMED[name]} ({given.source}). Set {RENAMED[name]} instead."
    if name in known() and known()[name].passed:
        return (
            f"{name}: is not a setting ({given.source}). The playbooks give it a value themselves. "
            "Remove yours."
        )
    if name in known() or name.startswith("ansible_"):
        return ""
    meant = MEANT.get(name, "") if given.command_line else ""
    names = [each.name for each in known().values() if not each.passed]
    meant = meant or nearest(name, [*names, *RENAMED])
    meant = RENAMED.get(meant, meant)
    ours = any(name.startswith(f"{role}_") for role in roles())
    if name in internal() or not (meant or ours):
        return ""
    remedy = f"Did you mean {meant}?" if meant else "See docs/variables.md for all of them."
    return f"{name}: is not a setting ({given.source}). {remedy}"


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that `word` is most likely a misspelling of; "" where it is like none."""
    allowed = 0 if len(word) < 4 else 1 if len(word) < 6 else 2
    lengths = range(len(word) - allowed, len(word) + allowed + 1)
    found = [(distance(word, each, allowed), each) for each in words if len(each) in lengths]
    best = min(found, default=(allowed + 1, ""))
    return best[1] if best[0] <= allowed else ""


def distance(one: str, other: str, most: int) -> int:
    """How many letters must be added, left out, changed or exchanged with the next one.

    More than `most` is most + 1.
    """
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (other[j - 2], one[i - 2]):
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]


def unknown_tags(tags: Iterable[str], there: Iterable[str]) -> list[str]:
    """A sentence for each tag that the playbook has not. It would do nothing, and end well."""
    existing = sorted(there)
    told = []
    for tag in tags:
        if tag in existing or tag == "all":
            continue
        meant = nearest(tag, existing)
        remedy = f"Did you mean {meant}?" if meant else f"Use {_or(existing)}." if existing else NO_TAGS
        told.append(f"--tags: {tag} is no tag of this playbook, and nothing would be done. {remedy}")
    return told


def unknown_skips(tags: Iterable[str], there: Iterable[str]) -> list[str]:
    """A sentence for each tag that the playbook cannot skip."""
    existing = sorted(there)
    remedy = f"Tags that can: {', '.join(existing)}." if existing else NO_TAGS
    return [f"--skip-tags: {tag} cannot be skipped here. {remedy}" for tag in tags if tag not in existing]


def problem(name: str, value: Any) -> str:
    """What is wrong with the value of a setting, as a sentence; "" where nothing is."""
    try:
        converted(known()[name], value)
    except Invalid as error:
        return f"{name}: {error}"
    return ""


def problems(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each problem of the settings of a role, which belong together."""
    found = [told for name, value in values.items() if (told := problem(name, value))]
    if found:
        return found
    typed = {name: converted(known()[name], value) for name, value in values.items()}
    return [
        f"{one}: is {typed[one]:g}, and {other} is {typed[other]:g}. Set one of the two to a number above 0, "
        "and leave the other out."
        for one, other in EITHER
        if one in typed and other in typed and (typed[one] > 0) == (typed[other] > 0)
    ]


def converted(setting: Setting, value: Any) -> Any:
    """The value in the type of the setting. A value from the command line is a string. Raises Invalid."""
    if value is None:
        if setting.limit.null:
            return None
        raise Invalid("is set to nothing. Give it a value, or leave it out for the default.")
    if setting.limit.number and value == "":
        return value
    result = _CONVERTERS.get(setting.type, _text)(setting, value)
    _check_choices(setting, result)
    _check_range(setting, result)
    return result


def _shown(setting: Setting, value: Any) -> str:
    """The value in a message. A secret is not shown."""
    if setting.secret:
        return "its value"
    text = repr(str(value)) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _whole(setting: Setting, value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", text):
        raise Invalid(f"{_shown(setting, value)} is not a whole number. Set it to one, such as 10.")
    return int(text)


def _number(setting: Setting, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(f"{_shown(setting, value)} is not a number. Set it to one, such as 0.5 or 1e-5.")
    if setting.limit.whole and number != int(number):
        raise Invalid(f"{_shown(setting, value)} is not a whole number. Set it to one, such as 1.")
    return number


_WORDS = frozenset({"yes", "on", "1", "true", "no", "off", "0", "false"})


def _truth(setting: Setting, value: Any) -> bool:
    # No more than Ansible's filter bool, by which the roles read it. That takes others, as "y", for false.
    try:
        if not isinstance(value, str) or value.lower() in _WORDS:
            return bool(boolean(value, strict=True))
    except TypeError:
        pass
    raise Invalid(f"{_shown(setting, value)} is neither true nor false. Set it to true or false.")


def _text(setting: Setting, value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        raise Invalid(f"{_shown(setting, value)} is not a text. Set it to a single word or text.")
    if setting.limit.name:
        try:
            return plain_name(value, setting.name)
        except AnsibleFilterError as error:
            raise Invalid(str(error).removeprefix(f"{setting.name}: ")) from error
    if setting.limit.directory and not is_directory(value):
        raise Invalid(
            f"{_shown(setting, value)} is not the absolute path of a directory of its own. Set one, such as "
            "/mnt/disks/checkpoints."
        )
    return value


def is_directory(value: Any) -> bool:
    """Whether it is an absolute path, in its shortest form, below the root."""
    return isinstance(value, str) and value == os.path.normpath(value) and bool(re.match("/[^/]", value))


def _list(setting: Setting, value: Any) -> list[Any]:
    structured = setting.option.get("elements") in ("dict", "list")
    if isinstance(value, str):
        if structured:
            raise Invalid(
                "is a text, and must be a list. Set it in the inventory, or with "
                f"-e '{{\"{setting.name}\": [...]}}'."
            )
        return _list(setting, list_of_text(value))
    if not isinstance(value, list | tuple):
        raise Invalid(f"{_shown(setting, value)} is not a list. Write a list such as [a, b].")
    wrong = [each for each in value if each is None or (not structured and isinstance(each, Mapping | list))]
    if wrong:
        raise Invalid(f"{_shown(setting, wrong[0])} is not a text. Write a list of texts such as [a, b].")
    return list(value)


def list_of_text(text: str) -> list[Any]:
    """The list that a text from the command line means: [a, b] as in YAML, or a,b as Ansible has it."""
    stripped = text.strip()
    if not stripped:
        return []
    if stripped.startswith("["):
        try:
            loaded = yaml.safe_load(stripped)
        except yaml.YAMLError:
            loaded = None
        if not isinstance(loaded, list):
            raise Invalid(f"{text!r} is not a list. Write a list such as [a, b].")
        return loaded
    return [each.strip() for each in stripped.split(",")]


def _dict(setting: Setting, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Invalid(
            f"{_shown(setting, value)} is not a dictionary. Set it in the inventory, or with "
            f'-e \'{{"{setting.name}": {{"NAME": "VALUE"}}}}\'.'
        )
    return dict(value)


_CONVERTERS: Mapping[str, Callable[[Setting, Any], Any]] = {
    "int": _whole,
    "float": _number,
    "bool": _truth,
    "list": _list,
    "dict": _dict,
}


def _check_choices(setting: Setting, value: Any) -> None:
    choices = [str(each) for each in setting.choices]
    if choices and str(value) not in choices:
        meant = nearest(str(value), filter(None, choices))
        shown = [each or "'' (empty)" for each in choices]
        remedy = f"Did you mean {meant}?" if meant else f"Set it to {_or(shown)}."
        raise Invalid(f"{_shown(setting, value)} is not one of {', '.join(shown)}. {remedy}")


def _check_range(setting: Setting, value: Any) -> None:
    rule = range_of(setting)
    limit = setting.limit
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if (
        (limit.minimum is not None and value < limit.minimum)
        or (limit.maximum is not None and value > limit.maximum)
        or (limit.above is not None and value <= limit.above)
    ):
        raise Invalid(f"{value:g} is out of range. Set a number {rule}.")


def range_of(setting: Setting) -> str:
    """The range of a setting in words; "" where it has none."""
    limit = setting.limit
    if limit.above is not None:
        return f"above {limit.above:g}"
    if limit.minimum is not None and limit.maximum is not None:
        return f"from {limit.minimum:g} to {limit.maximum:g}"
    return f"of {limit.minimum:g} or more" if limit.minimum is not None else ""


def _or(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
