# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stage left is damaged, replaced, or of other inputs; the next stage notices, and the way out works.

With the real programs, on the disk of a finished run. The tests are in the order of the stages. Each leaves
a whole run, of some more steps perhaps.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download
from safetensors.numpy import load_file, save

from localcloud.hub.store import HubStore
from localcloud.tiny.dataset import TRAIN_FILE, dataset_files
from localcloud.tiny.questions import rows
from localcloud.tiny.seed import DATASET, publish
from tests import prepared
from tests.advice import advised, follow
from tests.e2e.support import MOUNT, RECORDS, Cloud

numbers = count()
RUN = "qwen3-4b-sft"
BASE = "Qwen/Qwen3-4B"
MODEL = f"{MOUNT}/maxtext/qwen3-4b-*"
EXPORT = f"{MOUNT}/huggingface/{RUN}"
TOKENIZER = f"{MOUNT}/cache/hf/hub/models--Qwen--Qwen3-4B/snapshots/*/tokenizer.json"
FETCHED = "tokenizer.json is not what the Hub has: it is downloaded again"
#: For a play whose inputs an earlier one has looked at: these checks cost seconds of a core.
SEEN = ("--skip-tags", "preflight")
#: Turns one bit in the middle of the largest file below each path, as a rotten disk does: size and time stay.
ROT = """
import os, sys
for root in sys.argv[1:]:
    found = [os.path.join(d, n) for d, _, names in os.walk(root) for n in names] or [root]
    path = max(found, key=os.path.getsize)
    before = os.stat(path)
    with open(path, "r+b") as handle:
        handle.seek(before.st_size // 2)
        byte = handle.read(1)[0]
        handle.seek(before.st_size // 2)
        handle.write(bytes([byte ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A finished run, and a node with its disk."""
    with prepared.prepared_cloud(tmp_path_factory.mktemp("damage")) as cloud:
        played = cloud.play("--tags", "tpu_vm,data_disk", *SEEN)
        assert played.status == 0, played.output[-5000:]
        yield cloud


@pytest.fixture(scope="module")
def api(cloud: Cloud) -> Iterator[HfApi]:
    with pytest.MonkeyPatch.context() as patch:
        # The cache of Xet knows the parts of an earlier run's upload, which this Hub does not have.
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield HfApi(endpoint=cloud.settings["hub"], token=cloud.hf_token)


@pytest.fixture(scope="module")
def pinned(cloud: Cloud) -> str:
    """The commit of the data set that the run began with."""
    return str(cloud.records()[f"sft-{RUN}"]["inputs"]["dataset_commit"])


def root(cloud: Cloud, command: str) -> str:
    return cloud.ssh(f"sudo -n sh -c {shlex.quote(command)}")


def rot(cloud: Cloud, path: str) -> None:
    """Damage what lies there; the second time it is whole again."""
    root(cloud, f"python3 -c {shlex.quote(ROT)} {path}")


def log(cloud: Cloud, job: str) -> str:
    return root(cloud, f"cat {RECORDS}/{job}.log")


def whole(cloud: Cloud, record: str, tree: str) -> bool:
    return (
        root(cloud, f"python3 {MOUNT}/env/programs/tpuops/manifest.py {record} {tree} && echo whole")
        == "whole\n"
    )


def runs(cloud: Cloud, job: str) -> list[int]:
    return [record["runs"] for name, record in cloud.records().items() if name.startswith(job)]


def steps(cloud: Cloud) -> list[int]:
    """The steps with a checkpoint, newest first."""
    names = cloud.ssh(f"ls {MOUNT}/maxtext/{RUN}/checkpoints").split()
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def push_new_rows(cloud: Cloud, files: dict[str, bytes] | None = None) -> None:
    """One more commit of the data set. By default nothing can train with it."""
    store = HubStore(Path(cloud.settings["state_dir"]) / "hub")
    new = {"notes.txt": f"commit {next(numbers)}".encode()}
    publish(store, DATASET, {**new, **(files or {TRAIN_FILE: b"no rows"})})


def play(cloud: Cloud, tags: str, *arguments: str, status: int = 0) -> str:
    played = cloud.play("--tags", tags, *arguments)
    assert (played.status != 0) == (status != 0), played.output[-5000:]
    return played.output


def test_a_base_model_that_rotted_is_not_trained(cloud: Cloud) -> None:
    rot(cloud, f"{MODEL}/0/items")
    told = play(cloud, "sft", "-e", "run_name=fresh", "-e", "steps=2", status=2)
    assert "The converted base model is damaged" in told
    assert "has other content than was recorded" in told
    record = root(cloud, f"echo {MODEL}/manifest.json").strip()
    cloud.ssh(advised(told, f"sudo rm {record}"))
    follow(advised(told, "-e run_name=fresh -e steps=2 --tags convert"), cloud.environment)
    assert whole(cloud, record, root(cloud, f"echo {MODEL}/0").strip())


def test_another_model_under_the_same_preset_has_its_own_weights(
    cloud: Cloud, api: HfApi, tmp_path: Path
) -> None:
    """Orbax keeps a step 0 that exists, and the record would name the new model."""
    other = f"{cloud.settings['hf_username']}/other-base"
    api.create_repo(other, exist_ok=True)
    files = {
        name: Path(hf_hub_download(BASE, name, endpoint=api.endpoint, token=api.token, cache_dir=tmp_path))
        for name in api.list_repo_files(BASE)
        if not name.startswith(".")
    }
    tensors: dict[str, Any] = load_file(files["model.safetensors"])
    tensors["model.norm.weight"] = np.full_like(tensors["model.norm.weight"], 0.5)
    content = {name: path.read_bytes() for name, path in files.items()}
    content["model.safetensors"] = save(tensors, metadata={"format": "pt"})
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=data) for name, data in content.items()
    ]
    commit = api.create_commit(other, operations, commit_message="Another norm").oid
    told = play(cloud, "convert", "-e", f"hf_model={other}", status=2)
    assert f"Run {RUN} began with another hf_commit, hf_model" in told
    play(cloud, "convert", "-e", f"hf_model={other}", "-e", "run_name=other", *SEEN)
    records = [
        json.loads(text)
        for text in root(
            cloud, f"cat {MODEL}/manifest.json | tr -d '\\n' | sed 's/}}{{/}}\\n{{/g'"
        ).splitlines()
    ]
    commits = {record["about"]["hf_model"]: record["about"]["hf_commit"] for record in records}
    assert set(commits) == {BASE, other}
    assert commits[other] == commit
    assert "compared 398 tensors with the base model" in log(cloud, "convert-qwen3-4b-*")
    assert ml_dtypes.bfloat16(0.5) == tensors["model.norm.weight"][0]


def test_training_goes_on_behind_a_rotten_checkpoint_with_its_own_data(cloud: Cloud, pinned: str) -> None:
    """And near its end: one step more than the run has. And with a whole tokenizer, although the Hub's client
    takes its cache for whole."""
    push_new_rows(cloud)
    newest, before = steps(cloud)
    rot(cloud, f"{MOUNT}/maxtext/{RUN}/checkpoints/{newest}/model_params {TOKENIZER}")
    told = play(cloud, "sft", "-e", f"steps={newest + 1}")
    assert f"The data set {DATASET} has changed on the Hub since run {RUN} began" in told
    text = log(cloud, f"sft-{RUN}")
    assert FETCHED in text
    assert f"checkpoint {newest} is damaged (" in text
    assert f"Restored params from step: {before}" in text
    assert cloud.ssh(f"ls -d {MOUNT}/maxtext/{RUN}/checkpoints/{newest}.damaged")
    assert cloud.records()[f"sft-{RUN}"]["inputs"]["dataset_commit"] == pinned
    assert f"{RUN} stands at step {newest + 1} of {newest + 1}" in told


def test_a_run_whose_record_is_lost_goes_on_with_its_own_data(cloud: Cloud, pinned: str) -> None:
    """The checkpoints tell what they depend on, too. And fewer steps than the run has end well."""
    push_new_rows(cloud)
    newest = steps(cloud)[0]
    root(cloud, f"rm {RECORDS}/sft-{RUN}.json")
    told = play(cloud, "sft", "-e", "steps=30")
    assert f"The data set {DATASET} has changed on the Hub since run {RUN} began" in told
    assert cloud.records()[f"sft-{RUN}"]["inputs"]["dataset_commit"] == pinned
    assert f"stand at step {newest}, 30 are wanted: nothing is left to train" in log(cloud, f"sft-{RUN}")


def test_a_rotten_checkpoint_is_not_exported(cloud: Cloud, pinned: str) -> None:
    newest, before = steps(cloud)
    rot(cloud, f"{MOUNT}/maxtext/{RUN}/checkpoints/{newest}/model_params")
    root(cloud, f"rm {EXPORT}.manifest.json")  # or nothing is left to export
    told = play(cloud, "export", "-e", f"steps={newest}", *SEEN, status=2)
    assert "The checkpoint is damaged" in told
    advised(told, f"-e steps={newest} --tags sft,export")
    play(cloud, "sft,export", "-e", f"steps={newest}", "-e", f"dataset_revision={pinned}", *SEEN)
    assert f"Restored params from step: {before}" in log(cloud, f"sft-{RUN}")
    assert whole(cloud, f"{EXPORT}.manifest.json", EXPORT)


def test_an_export_that_is_cut_off_does_not_replace_the_good_one(cloud: Cloud, api: HfApi) -> None:
    """And a rotten tokenizer is not published."""
    repo = f"{cloud.settings['hf_username']}/{RUN}"
    before = api.repo_info(repo).sha
    root(cloud, f"truncate --size=1000 {EXPORT}/model.safetensors")
    rot(cloud, TOKENIZER)
    exported = runs(cloud, f"export-{RUN}")
    play(cloud, "export", *SEEN)
    assert runs(cloud, f"export-{RUN}") == [exported[0] + 1]
    assert whole(cloud, f"{EXPORT}.manifest.json", EXPORT)
    assert api.repo_info(repo).sha == before, "the same files again"
    assert FETCHED in log(cloud, f"export-{RUN}")
    good = hf_hub_download(BASE, "tokenizer.json", endpoint=api.endpoint, token=api.token)
    expected = hashlib.sha256(Path(good).read_bytes()).hexdigest()
    assert root(cloud, f"sha256sum {EXPORT}/tokenizer.json").split()[0] == expected


def test_a_rotten_export_is_neither_uploaded_nor_served(cloud: Cloud, api: HfApi) -> None:
    repo = f"{cloud.settings['hf_username']}/{RUN}"
    before = api.repo_info(repo).sha
    rot(cloud, f"{EXPORT}/model.safetensors")
    told = play(cloud, "export", *SEEN, status=2)
    assert f"{EXPORT} is damaged ({EXPORT}/model.safetensors has other content than was recorded)" in told
    assert api.repo_info(repo).sha == before
    told = play(cloud, "vllm_serve", "-e", "vllm_serve_source=export", *SEEN, status=2)
    assert f"{EXPORT} is damaged" in told
    rot(cloud, f"{EXPORT}/model.safetensors")


def test_training_stops_the_server_of_its_own_run(cloud: Cloud, pinned: str) -> None:
    """And what it serves is asked for its own run alone, and for the last export."""
    push_new_rows(cloud, dataset_files(rows()))  # a question can be read from these
    told = play(cloud, "vllm_serve,evaluate", "-e", "vllm_serve_source=export", *SEEN)
    assert f"The model answers (run {RUN}, step {steps(cloud)[0]})" in told
    told = play(cloud, "evaluate", "-e", "run_name=other", status=2)
    assert f"served: the server has the model of run {RUN}, and not of other" in told
    described = root(cloud, f"cat {EXPORT}.manifest.json")
    root(cloud, f"sed -i s/step/steps/ {EXPORT}.manifest.json")  # as another export leaves another one
    assert f"served: {EXPORT} has changed since the server started" in play(cloud, "evaluate", status=2)
    root(cloud, f"printf %s {shlex.quote(described)} > {EXPORT}.manifest.json")
    more = steps(cloud)[0] + 1
    told = play(cloud, "sft", "-e", f"steps={more}", "-e", f"dataset_revision={pinned}", *SEEN)
    assert f"vllm.service was stopped for job sft-{RUN}" in told
    assert f"{RUN} stands at step {more} of {more}" in told


@pytest.mark.soak  # its second half, from the export on, has not been seen to pass
def test_adapters_are_resumed_merged_and_served(cloud: Cloud, pinned: str, tmp_path: Path) -> None:
    """LoRA on the converted base: killed behind a checkpoint, resumed, exported, for peft too, and served."""
    run, length = "adapters", 12
    same = ("-e", f"run_name={run}", "-e", f"dataset_revision={pinned}", "-e", "lora_rank=4", *SEEN)
    quick = ("-e", "sft_checkpoint_period=4", "-e", "learning_rate=3e-3", "-e", "warmup_steps_fraction=0")
    scheduled = (*quick, "-e", f"learning_rate_schedule_steps={length}")
    play(cloud, "sft", "-e", "steps=9", *same, *scheduled)
    # As a kill behind step 8 leaves it: the checkpoint of step 9 was never finished.
    directory = f"{MOUNT}/maxtext/{run}"
    root(cloud, f"mv {directory}/checkpoints/9 {directory}/checkpoints/9.orbax-checkpoint-tmp")
    root(cloud, f"rm {directory}/manifests/9.json")
    told = play(cloud, "sft", "-e", f"steps={length}", *same, *scheduled)
    assert f"{run} stands at step {length} of {length}" in told
    text = log(cloud, f"sft-{run}")
    assert "Restored params from step: 8" in text
    whole_run = (
        root(cloud, f"cat {RECORDS}/sft-{run}.log.1") + text
    )  # the log of the first part, then this one
    losses = [float(each) for each in re.findall(r"completed step: \d+.*? loss: ([0-9.]+)", whole_run)]
    assert losses[-1] < losses[0]
    told = play(cloud, "sft", "-e", f"steps={length}", *same, *scheduled, "-e", "lora_rank=8", status=2)
    assert f"Run {run} began with another lora_alpha, lora_rank" in told
    play(cloud, "export,vllm_serve,evaluate", *same, *scheduled, "-e", "export_adapter=true")
    assert "merged 7 adapters of rank 4 into 252 tensors" in log(cloud, f"export-{run}")
    export = f"{MOUNT}/huggingface/{run}"
    assert whole(cloud, f"{export}.manifest.json", export)
    for layer, module in ((0, "self_attn.o_proj"), (17, "self_attn.v_proj"), (35, "mlp.down_proj")):
        name = f"model.layers.{layer}.{module}.weight"
        assert change_of(cloud, tmp_path, export, name) < 1, name


def change_of(cloud: Cloud, to: Path, export: str, name: str) -> float:
    """How far a weight of the export is from the base's and the adapter's, in units of the last place."""
    files = {
        "export": f"{export}/model.safetensors",
        "adapter": f"{export}/adapter/adapter_model.safetensors",
    }
    for local, path in files.items():
        (to / local).write_bytes(base64.b64decode(root(cloud, f"base64 {path}")))
    endpoint = cloud.settings["hub"]
    base = hf_hub_download(BASE, "model.safetensors", endpoint=endpoint, cache_dir=to)
    module = f"base_model.model.{name.removesuffix('.weight')}"
    adapter = load_file(to / "adapter")
    before, after = (load_file(path)[name].astype(np.float32) for path in (base, to / "export"))
    change = 2 * adapter[f"{module}.lora_B.weight"] @ adapter[f"{module}.lora_A.weight"]
    assert np.abs(after - before).max() > 0
    unit = 2.0**-7 * np.abs(before + change) + 1e-6
    return float((np.abs(after - before - change) / unit).max())
