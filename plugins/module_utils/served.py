# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which model the server of this machine serves, and whether it is that of a run's last export.

The server writes a record when it starts, as a JSON object with run, directory (of the model), manifest (its
path) and fingerprint (SHA-256 of the manifest then). systemd removes it when the server ends. The user of the
server could write anything there: it is data, and only compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from fnmatch import fnmatch
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import manifest
from ansible_collections.tpuops.maxtext.plugins.module_utils.huggingface import model_files

FIELDS = ("run", "directory", "manifest", "fingerprint")
LARGEST = 64 << 10  # bytes of a record
SERVE = "Serve the model of the run: ansible-playbook site.yml --tags vllm_serve,evaluate"
UPLOAD = "ansible-playbook site.yml --tags export,vllm_serve,evaluate"
SHOWN = 3
#: What a model is loaded from, of the files of an export.
LOADED = (model_files.WEIGHTS, *model_files.LOADED)
#: What vLLM and transformers load by its name alone, also where the export has no such file.
BY_NAME = (
    model_files.WEIGHTS,
    "config.json",
    "params.json",
    "*_config.json",
    "*.index.json",
    "adapter_*",
    "chat_template*",
    "additional_chat_templates/*",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
)


class NotServed(Exception):
    """The server does not serve what is wanted; the text says what it serves, and what to do."""


def read(path: str) -> dict[str, str]:
    """The record of the server that runs. Raises NotServed where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise NotServed(f"served: no server of the role vllm_serve runs here. {SERVE}") from error
    except OSError as error:
        raise NotServed(f"served: {path} cannot be read ({error.strerror}). Set become: true") from error
    with os.fdopen(descriptor, "rb") as handle:
        text = handle.read(LARGEST) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    try:
        record = json.loads(text)
        return {name: str(record[name]) for name in FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise NotServed(f"served: {path} does not tell what the server serves. {SERVE}") from error


def check(record: dict[str, str], run: str, export: str) -> dict[str, Any]:
    """run, directory, and about: what the manifest of the export records, None if there is no export here.

    ``export`` is the path of the manifest of the run's export. Raises NotServed.
    """
    directory = record["directory"]
    if record["run"] != run:
        raise NotServed(
            f"served: the server has the model of run {record['run']}, and not of {run}. {SERVE}. Or ask "
            f"that one: -e run_name={shlex.quote(record['run'])}"
        )
    served = manifest.read(record["manifest"]) if os.path.isfile(record["manifest"]) else None
    if served is None or fingerprint(record["manifest"]) != record["fingerprint"]:
        raise NotServed(f"served: {directory} has changed since the server started. {SERVE}")
    exported = manifest.read(export)
    if exported is not None and (other := differing(served, exported)):
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        raise NotServed(
            f"served: the server has {directory}, which is not the last export of run {run}: "
            f"{', '.join(other[:SHOWN])}{more} differ. Upload and serve that: {UPLOAD}"
        )
    return {"run": run, "directory": directory, "about": exported["about"] if exported is not None else None}


def fingerprint(path: str) -> str:
    with open(path, "rb") as handle:
        return hashlib.sha256(handle.read()).hexdigest()


def differing(served: dict[str, Any], exported: dict[str, Any]) -> list[str]:
    """The files that a model is loaded from, and that are not the same in both, or in one alone."""
    own, theirs = exported["files"], served["files"]
    return [
        name
        for name in sorted(own.keys() | theirs.keys())
        if os.path.basename(name) != model_files.UPLOAD
        and any(fnmatch(name, pattern) for pattern in (BY_NAME if name not in own else LOADED))
        and theirs.get(name, {}).get("sha256") != own.get(name, {}).get("sha256")
    ]


def name_of(models: list[dict[str, Any]], directory: str, url: str) -> str:
    """The name under which the server at this address serves this directory. Raises NotServed."""
    for model in models:
        if model.get("root") == directory:
            return str(model["id"])
    found = ", ".join(f"{model.get('id')} ({model.get('root')})" for model in models) or "nothing"
    raise NotServed(
        f"url: another server answers at {url}. It serves {found}, and not {directory}. Stop it, or give the "
        "port of the run's server in serve_port"
    )
