# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that all modules of Google's APIs share, the client made from them, and what such a module does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.auth import (
    DEFAULT_SCOPES,
    KINDS,
    AuthSettings,
)
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.client import DEFAULT_TIMEOUT, Client
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import GcpError, InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import Operation, OperationFailed

# Option -> API of the client; the environment variables are those of gcloud, so that one set of exports
# serves both.
ENDPOINT_OPTIONS: Mapping[str, tuple[str, str]] = {
    "tpu_endpoint": ("tpu", "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU"),
    "compute_endpoint": ("compute", "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE"),
    "serviceusage_endpoint": ("serviceusage", "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE"),
    "resourcemanager_endpoint": ("resourcemanager", "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"),
    "oslogin_endpoint": ("oslogin", "CLOUDSDK_API_ENDPOINT_OVERRIDES_OSLOGIN"),
}


def _option(env: str, **option: Any) -> dict[str, Any]:
    return {"type": "str", "fallback": (env_fallback, [env]), **option}


def gcp_argument_spec(**options: Any) -> dict[str, Any]:
    """The argument spec of a module: `options` and those of the doc fragment tpuops.maxtext.gcp."""
    return {
        "project": _option("GCP_PROJECT"),
        "auth_kind": _option("GCP_AUTH_KIND", choices=list(KINDS), default="application"),
        "service_account_file": _option("GCP_SERVICE_ACCOUNT_FILE", type="path"),
        "service_account_contents": _option("GCP_SERVICE_ACCOUNT_CONTENTS", type="jsonarg", no_log=True),
        "service_account_email": _option("GCP_SERVICE_ACCOUNT_EMAIL"),
        "access_token": _option("GCP_ACCESS_TOKEN", no_log=True),
        "scopes": _option("GCP_SCOPES", type="list", elements="str"),
        "token_uri": _option("TPUOPS_TOKEN_URI", no_log=False),
        **{option: _option(env) for option, (_api, env) in ENDPOINT_OPTIONS.items()},
        "timeout": {"type": "float", "default": DEFAULT_TIMEOUT},
        **options,
    }


def connect(options: Mapping[str, Any]) -> Client:
    """A client from the shared options, of a module or of the inventory plugin."""
    auth = AuthSettings(
        kind=options["auth_kind"],
        service_account_file=options["service_account_file"],
        service_account_contents=options["service_account_contents"],
        service_account_email=options["service_account_email"],
        access_token=options["access_token"],
        scopes=tuple(options["scopes"] or DEFAULT_SCOPES),
        token_uri=options["token_uri"],
    )
    endpoints = {api: options[option] for option, (api, _env) in ENDPOINT_OPTIONS.items()}
    return Client(auth, endpoints, options["timeout"])


def google(
    options: Mapping[str, Any],
    operate: Callable[[AnsibleModule, Client], Mapping[str, Any]],
    rules: Mapping[str, Any] | None = None,
) -> Operation:
    """The operation of a module. options: beside those that all share; rules: between them.

    A GcpError becomes the message of the module and its `failure`.
    """

    def perform(module: AnsibleModule) -> Mapping[str, Any]:
        try:
            return {"changed": False, **operate(module, connect(module.params))}
        except GcpError as error:
            raise OperationFailed(str(error), failure=error.failure) from error

    return Operation(gcp_argument_spec(**options), perform, rules or {})


# Google's rules for names, and how to say them.
_RULES: Mapping[str, tuple[re.Pattern[str], str]] = {
    "project": (
        re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+"),
        "Give a project's id: 6 to 30 lower-case letters, digits and hyphens, beginning with a letter "
        "(gcloud projects list).",
    ),
    "zone": (
        re.compile(r"[a-z]+(?:-[a-z]+)*-[a-z]+[0-9]+-[a-z0-9]+"),
        "Give a zone such as us-west1-c (gcloud compute tpus locations list).",
    ),
    "name": (
        re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"),
        "Use up to 63 lower-case letters, digits and hyphens; begin with a letter, end without hyphen.",
    ),
}


def check_names(**values: str) -> None:
    """Refuse what Google would refuse, before anything is sent. Keys: project, zone, name."""
    for option, value in values.items():
        pattern, remedy = _RULES[option]
        if not pattern.fullmatch(value or ""):
            problem = f"{value!r} is not valid" if value else "is not set"
            raise InvalidArgument(f"{option}: {problem}", remedy=remedy)
