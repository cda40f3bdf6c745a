# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules that look at the Hub from the controller share: options and the frame of such a module."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.hub import HubError
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface.preflight import as_named

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


def answer(module: AnsibleModule, look: Callable[[], dict[str, Any]]) -> None:
    """End the module with what it found, or with one message that has the user's names for the options.

    `warnings` of the result become warnings.
    """
    try:
        result = look()
    except ImportError as error:
        module.fail_json(
            msg=missing_required_lib(error.name or "huggingface_hub"), exception=traceback.format_exc()
        )
    except HubError as error:
        module.fail_json(msg=as_named(str(error), module.params["names"]))
    for warning in result.pop("warnings", []):
        module.warn(as_named(warning, module.params["names"]))
    module.exit_json(changed=False, **result)
