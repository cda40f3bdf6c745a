# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that look at the Hub from the controller share: options, and what such a module does."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import as_named
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import Operation, OperationFailed

NAMES: dict[str, Any] = {"type": "dict", "default": {}}
REPOSITORY: dict[str, Any] = {
    "repo_id": {"type": "str", "required": True},
    "revision": {"type": "str", "default": "main"},
}


def hub_argument_spec(**options: Any) -> dict[str, Any]:
    """The argument spec of a module: `options` and those of the doc fragment tpuops.maxtext.hub."""
    return {
        "token": {"type": "str", "no_log": True},
        "endpoint": {"type": "str", "default": "https://huggingface.co"},
        "names": NAMES,
        **options,
    }


def looks(spec: Mapping[str, Any], look: Callable[[dict[str, Any]], dict[str, Any]]) -> Operation:
    """The operation of a module that changes nothing: what it finds for its options, or one message that has
    the user's names for the options.

    `warnings` of the result become warnings.
    """

    def perform(module: AnsibleModule) -> dict[str, Any]:
        names = module.params["names"]
        try:
            result = look(module.params)
        except ImportError as error:
            missing = missing_required_lib(error.name or "huggingface_hub")
            raise OperationFailed(missing, exception=traceback.format_exc()) from error
        except HubError as error:
            raise OperationFailed(as_named(str(error), names)) from error
        for warning in result.pop("warnings", []):
            module.warn(as_named(warning, names))
        return {"changed": False, **result}

    return Operation(spec, perform)
