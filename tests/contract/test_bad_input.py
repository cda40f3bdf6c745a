# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input ends in one error that names it and what to do, before anything is created."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.contract.conftest import ROOT, Play
from tests.contract.served import Served

# Of a TPU, with the whole model; the repository is one that the local Hub has.
REAL = {
    "platform": "tpu",
    "hf_model": "Qwen/Qwen3-4B",
    "maxtext_arguments": [],
    "tpu_vm_disk_size_gb": 256,
}

BAD = {
    "no token": ({"hf_token": ""}, ["token", "HF_TOKEN"]),
    "no name on the Hub": ({"hf_username": ""}, ["hf_username: is empty", "HF_USERNAME", "hf_repo"]),
    "a refused token": ({"hf_token": "hf_wrong"}, ["token", "refuse"]),
    "an unknown model": ({"hf_model": "Qwen/Qwen9-4B"}, ["hf_model: there is no Qwen/Qwen9-4B"]),
    "a model that has no known repository": (
        {"model": "gpt9-20b"},
        ["model: gpt9-20b is not in the table of models. Set hf_model=USER/NAME", "choose one of qwen3-0.6b"],
    ),
    "a misspelt model": ({"model": "qwen9-4b"}, ["model: qwen9-4b is not in", "Did you mean qwen3-4b?"]),
    "a model that cannot be converted back": (
        {"model": "olmo3-7b"},
        ["model: olmo3-7b cannot be used: MaxText 0.2.5 converts it from the Hub but not back"],
    ),
    "a column that is not there": ({"train_data_columns": ["text"]}, ["text", "messages"]),
    "a split that is not there": (
        {"train_split": "validation"},
        ["train_split", "has no split 'validation': it has train"],
    ),
    "a name that no repository can have": (
        {"hf_repo": "local/my run"},
        ["hf_repo: 'local/my run'", "is not the name of a repository"],
    ),
    "more steps than the data last for": (
        {"steps": 100000},
        ["steps: 100000 steps need more data", "read 10 times", "Set steps to"],
    ),
    "a model that cannot be converted": (
        {"model": "gemma3-4b", "hf_model": "Qwen/Qwen3-4B"},
        ["gemma3-4b", "PyTorch", "Choose a model"],
    ),
    "a slice of several workers": (
        {"tpu_vm_accelerator_type": "v5litepod-16"},
        ["tpu_vm_accelerator_type", "4 workers", "v5litepod-8 or less"],
    ),
    "a candidate of several workers": (
        {"tpu_vm_candidates": [{"zone": "us-west1-c", "accelerator_type": "v5litepod-32"}]},
        ["8 workers", "v5litepod-8 or less"],
    ),
    "a model that is too large to train": (
        {**REAL, "model": "qwen3-14b", "max_target_length": 1024},
        ["qwen3-14b", "17.69 GiB or more", "15.75 GiB", "lora_rank=16", "v6e-8"],
    ),
    "a model that is too large to serve on one chip": (
        # The local Hub has a model of other sizes.
        {
            **REAL,
            "model": "qwen3-8b",
            "maxtext_arguments": ["override_model_config=True"],
            "tensor_parallel_size": 1,
        },
        ["tensor_parallel_size: 1", "qwen3-8b", "Set tensor_parallel_size to 2"],
    ),
    "an adapter by an argument of MaxText": (
        {"sft_arguments": ["lora.enable_lora=True"]},
        ["sft_arguments: lora.enable_lora", "Set lora_rank instead", "leave it out of sft_arguments"],
    ),
    "an argument that changes the model in the export alone": (
        {"export_arguments": ["base_emb_dim=64"]},
        ["export_arguments: base_emb_dim is part of the model", "Move it to maxtext_arguments"],
    ),
    "files in place of a data set": (
        {"dataset": "json", "sft_arguments": []},
        ["dataset: 'json' is no repository of the Hub", "Upload the files as a data set"],
    ),
    "a run above its directory": ({"run_name": ".."}, ["run_name: '..'", "letters, digits"]),
    "a model above its directory": ({"model": "..", "hf_model": "local/tiny-qwen3"}, ["model: '..'"]),
    # Each by itself is in tests/unit/plugins/settings. From the command line each value is a string.
    "settings that are wrong by themselves": (
        {
            "steps": "abc",
            "learning_rate": "fast",
            "per_device_batch_size": "1.5",
            "tensor_parallel_size": "two",
            "stepss": 200,
            "sft_steps": 200,
        },
        [
            "steps: 'abc' is not a whole number",
            "learning_rate: 'fast' is not a number",
            "per_device_batch_size: '1.5' is not a whole number",
            "tensor_parallel_size: 'two' is not a whole number",
            "stepss: is not a setting",
            "Did you mean steps?",
            "sft_steps: is now called steps",
        ],
    ),
    "a data type that there is not": (
        {"sft_weight_dtype": "fp32"},
        ["sft_weight_dtype: 'fp32' is not one of bfloat16, float32."],
    ),
    "a model at no revision": ({"hf_revision": "v9"}, ["hf_revision: ", "no branch, tag or commit 'v9'"]),
    "a data set at no revision": (
        {"dataset_revision": "v9"},
        ["dataset_revision: ", "no branch, tag or commit 'v9'"],
    ),
    "a result without a place": ({"hf_username": ""}, ["hf_username: is empty", "HF_USERNAME", "hf_repo"]),
    "a disk that is too small": (
        {**REAL, "tpu_vm_disk_size_gb": "100"},
        ["tpu_vm_disk_size_gb: 100 is too small", "3 checkpoints of 48 GB", "Set tpu_vm_disk_size_gb to 160"],
    ),
    "checkpoints by steps and by minutes": (
        {"sft_checkpoint_period": 10, "sft_checkpoint_minutes": 5},
        ["sft_checkpoint_period: is 10", "sft_checkpoint_minutes is 5", "one of the two"],
    ),
    "an accelerator type that the zone lacks": (
        {"tpu_vm_accelerator_type": "v99-8"},
        ["accelerator_type", "v99-8", "v5litepod-8"],
    ),
    "a bad project": ({"project": "no-such-project"}, ["no-such-project"]),
    "a name that Google refuses": ({"tpu_vm_name": "TPU_v5e"}, ["name", "TPU_v5e"]),
}

SITE, PROVISION, PREFLIGHT = "site.yml", "playbooks/provision.yml", "playbooks/preflight.yml"
#: Where a case is judged, if not in preflight, which costs less by itself. The first check of all and the
#: last one of preflight show that site.yml makes all of them before it creates anything.
JUDGED_IN = {
    "a run above its directory": SITE,
    "a model above its directory": SITE,
    "settings that are wrong by themselves": SITE,
    "checkpoints by steps and by minutes": SITE,
    "a model that is too large to serve on one chip": SITE,
    "a bad project": SITE,
    "an accelerator type that the zone lacks": PROVISION,
    "a name that Google refuses": PROVISION,
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_makes_nothing(play: Play, served: Served, case: str) -> None:
    values, named = BAD[case]
    before = served.records()
    told = play(JUDGED_IN.get(case, PREFLIGHT), "-e", json.dumps(values), status=None)
    assert not [word for word in named if word not in told], told
    assert Path(served.description["hf_token_file"]).read_text().strip() not in told
    assert told.count("fatal:") <= 1
    assert served.records() == before


def test_a_repository_with_files_of_others_is_named_and_makes_nothing(play: Play, served: Served) -> None:
    api = HfApi(served.description["hub"], Path(served.description["hf_token_file"]).read_text().strip())
    api.create_repo("local/foreign", private=False)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="local/foreign")
    values, before = ["-e", "hf_repo=local/foreign"], served.records()
    told = play(PREFLIGHT, *values, status=None)
    assert "local/foreign has files that were not uploaded from here" in told
    assert "config.json" in told and "hf_replace=true" in told
    assert told.count("fatal:") == 1
    assert served.records() == before
    play(PREFLIGHT, *values, "-e", "hf_replace=true")
    assert not api.model_info("local/foreign").private


def test_a_missing_python_is_explained() -> None:
    elsewhere = {"PATH": "/usr/bin:/bin", "PYTHON": "", "PYENV_ROOT": "/nonexistent", "HOME": "/nonexistent"}

    def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "scripts/find-python"],
            cwd=ROOT,
            env={**os.environ, **elsewhere, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    done = find_python()
    if done.returncode == 0:
        done = find_python(PYTHON="/bin/false")
    assert done.returncode != 0
    assert "Python 3.12 or newer" in done.stderr
