# SPDX-License-Identifier: GPL-3.0-or-later
"""What each role tells its job to expect on the disk: the roles' own templates, filled in as Ansible does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

ROLES = Path(__file__).resolve().parents[3] / "roles"
JOB = "tpuops.maxtext.job"
MODEL = "/mnt/disks/checkpoints/maxtext/qwen3-4b-"
#: Jobs that write next to nothing: a question, and the start of a service.
SMALL = {"question-{{ run_name }}-{{ evaluate_row }}", "serve-start"}


def load(path: Path) -> Any:
    return DataLoader().load_from_file(str(path), trusted_as_template=True) if path.exists() else {}


def jobs(tasks: Any) -> Iterator[dict[str, Any]]:
    """The options of the jobs that are run, blocks included."""
    for task in tasks:
        if JOB in task and "finished" in task[JOB].get("state", "finished"):  # or an expression that gives it
            yield task[JOB]
        for part in ("block", "rescue", "always"):
            yield from jobs(task.get(part, []))


def found() -> dict[str, dict[str, Any]]:
    """The job that a task file runs, by role/file."""
    files = sorted(ROLES.glob("*/tasks/*.yml"))
    return {f"{file.parts[-3]}/{file.stem}": job for file in files for job in jobs(load(file) or [])}


def disk_space(where: str, **values: Any) -> dict[str, Any]:
    """The option of the job, with the user's values."""
    role = where.partition("/")[0]
    variables: dict[str, Any] = {}
    for each in ("common", role):
        for kind in ("defaults", "vars"):
            variables |= load(ROLES / each / kind / "main.yml")
    template = Templar(loader=DataLoader(), variables=variables | GIVEN | values)
    option = template.template(found()[where]["disk_space"])
    assert isinstance(option, dict)
    numbers = {name: float(option[name]) for name in ("bytes", "times") if option.get(name) is not None}
    return option | numbers


def test_every_job_that_writes_looks_at_the_disk_first() -> None:
    without = {str(job["name"]) for job in found().values() if "disk_space" not in job}
    assert without == SMALL


KNOWN = {"hf_model": "me/other"}
GIVEN = {
    "hf_username": "me",
    "_convert_on_the_hub": {},
    "_common_commits": {"model": {"commit": "0" * 40}, "dataset": {"commit": "1" * 40}},
}
HUB = {"repo_id": "me/other", "revision": "0" * 40, "bytes": 9000, "safetensors_bytes": 4000}


@pytest.mark.parametrize(
    ("where", "values", "expected"),
    [
        ("convert/main", {}, {"bytes": 2 * 8.045e9}),
        ("convert/main", {"common_base_dtype": "float32"}, {"bytes": 3 * 8.045e9}),
        ("convert/main", {"convert_hf_bytes": 1e15}, {"bytes": 2e15}),
        ("convert/main", {"convert_hf_bytes": 0}, {"bytes": 0}),
        ("convert/main", {**KNOWN, "_convert_on_the_hub": {"models": [HUB]}}, {"bytes": 8000}),
        (
            "convert/main",
            {**KNOWN, "_convert_on_the_hub": {"models": [{**HUB, "safetensors_bytes": 0}]}},
            {"bytes": 18000},
        ),
        ("convert/main", {**KNOWN, "_convert_on_the_hub": {"msg": "models: is gated"}}, {"bytes": None}),
        ("sft/main", {}, {"times": 24}),
        ("sft/main", {"sft_weight_dtype": "bfloat16"}, {"times": 12}),
        ("sft/main", {"sft_checkpoint_factor": 1e6}, {"times": 3e6}),
        ("sft/main", {"sft_checkpoint_factor": 0}, {"times": 0}),
        (
            "export/main",
            {"_export_parameters_path": "/here", "export_directory": "/hub/run"},
            {"like": "/here", "times": 1.5, "present": ["/hub/.run.draft"]},
        ),
        ("export/main", {"_export_parameters_path": "/here", "export_factor": 0}, {"times": 0}),
        ("locked_env/main", {"locked_env_size": 1e15, "_locked_env_prefix": "/env"}, {"bytes": 1e15}),
        (
            "vllm_serve/hub",
            {"_vllm_serve_answer": {"commit": "1", "bytes": 2005}},
            {"bytes": 2005},
        ),
    ],
)
def test_the_estimate_reaches_the_job(where: str, values: dict[str, Any], expected: dict[str, Any]) -> None:
    option = disk_space(where, **values)
    assert {name: option.get(name) for name in expected} == expected
