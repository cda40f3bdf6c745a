# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runs on a disk, read from the records of jobs, their logs and the server's unit. On the TPU VM."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils.job import log
from ansible_collections.tpuops.maxtext.plugins.module_utils.job.progress import Fields, parser
from ansible_collections.tpuops.maxtext.plugins.module_utils.json_types import Json

#: The first loss is looked for in so many bytes from the beginning of a log, the last in its last ones.
LOOKED_AT = 4 * 1024 * 1024
ARGUMENT = re.compile(r'^\s*"((?:[^"\\]|\\.)*)"\s*\\?\s*$')


def runs(records: Iterable[Json]) -> list[Json]:
    """The runs that these jobs belong to, in the order in which their trainings started.

    name; training: {status, seconds, started, steps, first, last}, with the fields of the first and the last
    step of the log; export: {status, directory}; upload: {status, repo}; None for what there is not.
    """
    known = list(records)
    found: dict[str, Json] = {}
    for record in known:
        kind, _dash, run = str(record["name"]).partition("-")
        if kind == "sft" and run:
            found[run] = {"name": run, "training": training(record), "export": None, "upload": None}
    for record in known:
        kind, _dash, run = str(record["name"]).partition("-")
        if kind == "export" and run:
            entry = found.setdefault(run, {"name": run, "training": None, "export": None, "upload": None})
            entry["export"] = {"status": record["status"], "directory": option(record["argv"], "--output")}
    directories = {(run["export"] or {}).get("directory"): run for run in found.values()}
    for record in known:
        request = uploading(record)
        if request and request.get("folder") in directories:
            directories[request["folder"]]["upload"] = {
                "status": record["status"],
                "repo": str(request.get("repo_id", "")),
            }
    return list(found.values())


def training(record: Json) -> Json:
    first, last = ends(record)
    return {
        "status": record["status"],
        "seconds": record.get("seconds"),
        "started": record.get("started"),
        "steps": (record.get("progress") or {}).get("total"),
        "first": first,
        "last": last,
    }


def ends(record: Json) -> tuple[Fields | None, Fields | None]:
    """The fields of the first and of the last step with a loss that the job's log tells."""
    options = record.get("progress") or {}
    path = options.get("file") or record.get("log")
    if "format" not in options or not path:
        return None, None
    parse = parser(options["format"], options.get("pattern"))
    try:
        with open(path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            begin = handle.read(LOOKED_AT)
            handle.seek(max(0, size - LOOKED_AT))
            end = handle.read(LOOKED_AT)
    except OSError:
        return None, None
    return told(begin, parse, 1), told(end, parse, -1)


def told(data: bytes, parse: Any, direction: int) -> Fields | None:
    lines = log.lines_of(data.decode("utf-8", "replace"))[::direction]
    steps = (fields for fields in map(parse, lines) if fields and "loss" in fields)
    found: Fields | None = next(steps, None)
    return found


def option(argv: Sequence[str], name: str) -> str | None:
    """The value behind an option of a command line."""
    return next((argv[at + 1] for at, each in enumerate(argv[:-1]) if each == name), None)


def uploading(record: Json) -> Json | None:
    """The request of a job of the module hf_upload."""
    argv = record["argv"]
    if len(argv) < 2 or argv[-2] != "upload":
        return None
    try:
        request = json.loads(argv[-1])
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def server(unit: str) -> Json | None:
    """The model, port, run, kind and key file of a server, by the text of its unit; None where it is none."""
    arguments = [match[1] for match in map(ARGUMENT.match, unit.splitlines()) if match]
    run = re.search(r"^X-Run=(.*)$", unit, re.MULTILINE)
    kind = re.search(r"^X-Serves=(.*)$", unit, re.MULTILINE)
    key_file = re.search(r"^LoadCredential=api-key:(.*)$", unit, re.MULTILINE)
    model, port = option(arguments, "--served-model-name"), option(arguments, "--port")
    if model is None or port is None or not port.isdigit():
        return None
    return {
        "model": plain(model),
        "port": int(port),
        "run": run[1].replace("%%", "%") if run else "",
        "kind": kind[1] if kind else "",
        "key_file": key_file[1] if key_file else "",
    }


def plain(argument: str) -> str:
    """An argument without what systemd needs around its special characters."""
    return re.sub(r"\\(.)", r"\1", argument).replace("%%", "%").replace("$$", "$")
