# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the table of models knows of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.tpuops.maxtext.plugins.module_utils.training import models
from ansible_collections.tpuops.maxtext.plugins.plugin_utils.spelling import nearest, one_of


def hub_repository(name: Any) -> str:
    """The repository of a model. AnsibleFilterError, which says what to do, for one without a row."""
    name = str(name)
    if name in models.TABLE:
        return models.TABLE[name].hub
    if name in models.REFUSED:
        raise AnsibleFilterError(f"model: {name} cannot be used: {models.REFUSED[name]}.")
    meant = nearest(name.rpartition("/")[2].lower(), models.TABLE)
    remedy = (
        f"Did you mean {meant}? If not, set hf_model=USER/NAME to its repository on the Hub."
        if meant
        else "Set hf_model=USER/NAME to its repository on the Hub, or choose one of "
        f"{one_of(list(models.TABLE))}."
    )
    raise AnsibleFilterError(f"model: {name} is not in the table of models. {remedy}")


def model_arguments(name: Any, program: str = "") -> list[str]:
    return models.arguments(str(name), program)


def base_dtype(asked: str, name: Any) -> str:
    return models.base_dtype(asked, str(name))


def hub_bytes(repository: Any) -> float | None:
    """Bytes of a repository's safetensors files; None where the table does not have it."""
    return next((row.hub_bytes for row in models.TABLE.values() if row.hub == repository), None)


class FilterModule:
    """What Ansible looks for in this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "base_dtype": base_dtype,
            "hub_bytes": hub_bytes,
            "hub_repository": hub_repository,
            "model_arguments": model_arguments,
        }
