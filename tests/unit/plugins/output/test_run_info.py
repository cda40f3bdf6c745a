# SPDX-License-Identifier: GPL-3.0-or-later
"""What the records, logs and the unit on a node tell of its runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible_collections.tpuops.maxtext.plugins.module_utils import run_info

from tests.json_types import Json

STEP = "completed step: {}, seconds: 2.0, TFLOP/s/device: 0.1, Tokens/s/device: 8.0, loss: {}\n"


def record(name: str, argv: list[str], **more: Any) -> Json:
    return {"name": name, "argv": argv, "status": "finished", "started": "s", "seconds": 1.0, **more}


def test_a_run_with_all_its_jobs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("noise\n" + STEP.format(0, 7.1) + STEP.format(1, 5.0) + STEP.format(59, 1.2) + "saved\n")
    request = {"repo_id": "me/r-1", "folder": "/hf/r-1"}
    known = [
        record("env-train", ["x"]),
        record("sft-r-1", ["x"], log=str(log), progress={"format": "maxtext", "total": 60}),
        record("export-r-1", ["python", "--output", "/hf/r-1"]),
        record("upload-me.r-1", ["python", "-I", "p", "upload", json.dumps(request)]),
        record("upload-other", ["python", "upload", json.dumps({"folder": "/else", "repo_id": "x"})]),
    ]
    assert run_info.runs(known) == [
        {
            "name": "r-1",
            "training": {
                "status": "finished",
                "seconds": 1.0,
                "started": "s",
                "steps": 60,
                "first": {"step": 0.0, "loss": 7.1, "seconds": 2.0, "tokens_per_second": 8.0},
                "last": {"step": 59.0, "loss": 1.2, "seconds": 2.0, "tokens_per_second": 8.0},
            },
            "export": {"status": "finished", "directory": "/hf/r-1"},
            "upload": {"status": "finished", "repo": "me/r-1"},
        }
    ]


def test_a_training_without_a_log_has_no_loss() -> None:
    (run,) = run_info.runs([record("sft-r", ["x"], log="/nowhere", progress={"format": "maxtext"})])
    assert (run["training"]["first"], run["training"]["last"]) == (None, None)


def test_an_upload_that_is_not_ours_to_read_is_left_out() -> None:
    assert run_info.runs([record("upload-x", ["upload", "no json"])]) == []


def test_the_server_by_its_unit() -> None:
    unit = (
        "X-Run=r 100%%\nX-Serves=base\n[Service]\nExecStart=/usr/local/sbin/tpuops-vllm-service run  \\\n"
        '  "/env/bin/vllm" \\\n  "serve" \\\n  "--port" \\\n  "8001" \\\n'
        '  "--served-model-name" \\\n  "me/a\\"b%%$$" \\\n  "--enforce-eager"\n\nEnvironment="A=b"\n'
        "LoadCredential=api-key:/root/the key\n"
    )
    server = {
        "model": 'me/a"b%$',
        "port": 8001,
        "run": "r 100%",
        "kind": "base",
        "key_file": "/root/the key",
    }
    assert run_info.server(unit) == server
    assert run_info.server("[Service]\nExecStart=/bin/true\n") is None
