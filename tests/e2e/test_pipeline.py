# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole pipeline from nothing on a local cloud, with real MaxText and real vLLM, as a user runs it.

Each fixture brings the cloud a step further, so the tests of a step stand before those of the next. What the
run left is saved for all other tests that need a finished run (tests/prepared.py).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import prepared, transcript

from .support import MOUNT, RECORDS, Cloud, CommandLines, PlayResult

RUN = "qwen3-4b-sft"
MORE_STEPS = ("-e", "steps=70", "-e", "sft_checkpoint_minutes=0.02", "-e", "sft_checkpoint_period=0")
SKIP_PREFLIGHT = ("--skip-tags", "preflight")  # for a run whose inputs an earlier one looked at
#: A tiny model need not come to the end of an answer by itself.
FEW_TOKENS = ("-e", "vllm_serve_chat_max_tokens=16")
Records = dict[str, dict[str, Any]]


def commits(cloud: Cloud) -> list[str]:
    """Commits of the uploaded repository, newest first."""
    script = (
        "from huggingface_hub import HfApi; import os; "
        f"print(HfApi().repo_info('{cloud.settings['hf_username']}/{RUN}').sha)"
    )
    done = cloud.command(
        [sys.executable, "-c", script], HF_ENDPOINT=cloud.settings["hub"], HF_TOKEN=cloud.hf_token
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture(scope="session")
def sources() -> str:
    """The name of the finished run, from what it depends on before it begins."""
    return prepared.key()


@pytest.fixture(scope="session")
def first_run(cloud: Cloud, sources: str, command_lines: CommandLines) -> str:
    """Output of the first run, at the highest verbosity that a user would send to somebody."""
    played = cloud.play("-vvv")
    assert played.status == 0, played.output[-5000:]
    assert played.recap["failed"] == 0
    return played.output


@pytest.fixture(scope="session")
def records(cloud: Cloud, first_run: str) -> Records:
    """The records of the jobs of the first run."""
    return cloud.records()


@pytest.fixture(scope="session")
def converted(cloud: Cloud, first_run: str) -> str:
    """The sha256 of each file of the converted model, as sha256sum writes and checks them."""
    return cloud.ssh(f"find {MOUNT}/maxtext/qwen3-4b-*/0 -type f -exec sha256sum {{}} +")


@pytest.fixture(scope="session")
def deleted(cloud: Cloud, sources: str, records: Records, converted: str) -> None:
    """The node is deleted, its disk is not; the finished run is saved."""
    with prepared.alone():
        prepared.finish(cloud, sources)


@pytest.fixture(scope="session")
def more_steps(cloud: Cloud, deleted: None) -> PlayResult:
    """More steps of the same run, on another node, and their export."""
    played = cloud.play("--tags", "tpu_vm,data_disk,sft,export", *MORE_STEPS, *SKIP_PREFLIGHT)
    assert played.status == 0, played.output[-5000:]
    return played


# The run from nothing, its node, and its server


def test_from_nothing_to_an_answer(first_run: str) -> None:
    answer = first_run.partition("The model answers")[2]
    assert "def " in answer
    assert "```python" in answer


def test_every_long_step_tells_how_far_it_is(first_run: str) -> None:
    """The lines that a user watches, as the real programs let them be made."""
    number = r"[\d.]+"
    written = rf"{number} [kMG]B written"
    shown = {
        "env-train": rf"{number} of about {number} GB written",
        r"convert-qwen3-4b-\w+": written,
        f"sft-{RUN}": rf"step \d+/60  loss {number}  {number} s/step  {number} tokens/s/device  ETA \d+ ",
        f"export-{RUN}": r"\d+ (?:s|min)  (?:.*  )?(?:compared \d+ tensors|exported the model)",
        f"upload-local.{RUN}": "the Hub has all 6 files",
        "serve-download": r"\d+ (?:s|min)",
        "serve-start": r"the server answers, \d+ s after its start",
    }
    silent = {
        job: line for job, line in shown.items() if not re.search(rf"^{job}  .*{line}", first_run, re.M)
    }
    assert not silent, first_run[-5000:]


def test_the_server_is_installed_while_the_model_is_trained(records: Records) -> None:
    installed, trained = records["env-serve"], records[f"sft-{RUN}"]
    assert installed["background"]
    assert installed["started"] < trained["started"]
    assert trained["started"] < installed["ended"]


def test_what_was_uploaded_does_not_come_back(cloud: Cloud, first_run: str) -> None:
    """The server has the export's weights, and the Hub's word for them."""
    log = cloud.ssh(f"sudo -n cat {RECORDS}/serve-download.log")
    assert re.search(r"^1 files, \d+ MB, are on this disk already$", log, re.M)
    served = f"{MOUNT}/cache/hf/hub/models--*--{RUN}/snapshots/*/model.safetensors"
    inodes = cloud.ssh(f"stat -Lc %i {served} {MOUNT}/huggingface/{RUN}/model.safetensors").split()
    assert (len(inodes), len(set(inodes))) == (2, 1)


def test_a_run_ends_with_where_its_model_is_and_what_it_costs(cloud: Cloud, first_run: str) -> None:
    begin, _, _ = first_run.partition("PLAY [Preflight]")
    repo = f"{cloud.settings['hub']}/{cloud.settings['hf_username']}/{RUN}"
    assert f"Publishes: {repo}\n" in begin
    _, _, end = first_run.rpartition("The model answers")
    number = r"[\d.]+"
    for line in (
        r"  Cost:     9\.60 USD an hour, at most \d+\.\d\d USD so far",
        rf"    Training: finished in .*, step \d+ of 60, loss {number} \(step \d\) -> {number}",
        rf"    Hub:      {re.escape(repo)}",
        rf"    Disk:     {MOUNT}/huggingface/{RUN}",
        rf"  Served:   {cloud.settings['hf_username']}/{RUN}, of run {RUN}, on port 8000 of the node alone",
        r"    Chat:   ansible-playbook -i inventories/local tpuops\.maxtext\.chat",
        r"  delete \S+, keep its data disk: ansible-playbook -i inventories/local tpuops\.maxtext\.teardown",
    ):
        assert re.search(f"^{line}$", end, re.MULTILINE), (line, end)
    # As a line of its own; the results of tasks, which this verbosity shows too, have it again.
    assert len(re.findall(r"^ +\(prices of .* without taxes and discounts", first_run, re.MULTILINE)) == 1


@pytest.mark.parametrize("document", transcript.DOCUMENTS, ids=lambda path: str(path.name))
def test_the_sample_of_the_documents_is_what_a_run_prints(
    cloud: Cloud, first_run: str, document: Path
) -> None:
    """Word for word; times, losses and amounts are those of the run that wrote it (tests/transcript.py)."""
    printed = transcript.sample(transcript.with_names_of_google(first_run, cloud.settings))
    if os.environ.get("TRANSCRIPT") == "write":
        transcript.write(document, printed)
    assert transcript.shapes(transcript.documented(document)) == transcript.shapes(printed)


def test_the_model_answers_in_a_chat(cloud: Cloud, first_run: str) -> None:
    played = cloud.play("-e", "prompt=Hello", *FEW_TOKENS, playbook="playbooks/chat.yml")
    assert (played.status, played.recap["changed"]) == (0, 0), played.output
    answer = played.output.partition("vllm_serve : Chat with the model] ")[2].partition("\n")[2]
    assert answer.partition("\nok: ")[0].strip(), played.output


def test_the_second_run_changes_nothing(cloud: Cloud, records: Records) -> None:
    before = commits(cloud)
    played = cloud.play()
    assert played.status == 0, played.output[-5000:]
    assert played.recap["changed"] == 0
    assert len(played.tasks) < 91
    assert cloud.records() == records
    assert commits(cloud) == before


def test_another_run_is_refused_beside_the_server(cloud: Cloud, records: Records) -> None:
    played = cloud.play("--tags", "sft", "-e", "run_name=another", *SKIP_PREFLIGHT)
    assert played.status != 0
    assert "job sft-another cannot run beside vllm.service" in played.output
    assert cloud.records() == records


def test_hf_downloads_what_was_exported(cloud: Cloud, first_run: str, tmp_path: Path) -> None:
    done = cloud.command(
        ["hf", "download", f"{cloud.settings['hf_username']}/{RUN}", "--local-dir", str(tmp_path)],
        HF_ENDPOINT=cloud.settings["hub"],
        HF_TOKEN=cloud.hf_token,
    )
    assert done.returncode == 0, done.stderr
    sums = cloud.ssh(f"cd {MOUNT}/huggingface/{RUN} && sha256sum *").splitlines()
    exported = {name: digest for digest, name in (line.split(maxsplit=1) for line in sums)}
    assert "model.safetensors" in exported
    downloaded = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in exported}
    assert downloaded == exported


def test_what_is_on_the_disk_belongs_to_root_and_to_the_two_users_alone(cloud: Cloud, first_run: str) -> None:
    find = f"sudo -n find {MOUNT} -xdev"
    others = "-not -user root -not -user tpuops -not -user tpuops-serve"
    assert cloud.ssh(f"{find} {others}") == ""
    assert cloud.ssh(f"{find} -user tpuops-serve -not -path '{MOUNT}/cache/vllm/*'") == ""
    programs = f"{MOUNT}/env/programs {MOUNT}/.tpuops {MOUNT}/cache/vllm"
    assert cloud.ssh(f"sudo -n find {programs} -maxdepth 0 -not -user root") == ""
    assert cloud.ssh(f"sudo -n find {MOUNT}/env/programs {MOUNT}/.tpuops -not -user root") == ""
    home = cloud.inventory()["ansible_user"]
    assert cloud.ssh(f"sudo -n find /home -newer /etc/machine-id -user tpuops; id -un {home}") == f"{home}\n"


def test_the_token_is_found_nowhere(cloud: Cloud, first_run: str, command_lines: CommandLines) -> None:
    token = cloud.hf_token
    assert first_run in cloud.told  # among others, refusals too
    assert not [output for output in cloud.told if token in output]
    assert not [line for line in command_lines.seen if token in line]
    assert command_lines.error is None
    for program in ("train_sft", "vllm serve"):
        assert any(program in line.replace("\0", " ") for line in command_lines.seen)
    assert cloud.leaks() == []


# The disk without its node, then with another


def test_a_second_teardown_changes_nothing(cloud: Cloud, deleted: None) -> None:
    played = cloud.play(playbook="playbooks/teardown.yml")
    assert (played.status, played.recap["changed"]) == (0, 0), played.output[-5000:]


def test_more_steps_train_on_from_the_last_checkpoint_on_another_node(
    cloud: Cloud, records: Records, converted: str, more_steps: PlayResult
) -> None:
    assert "_METADATA" in converted
    cloud.ssh("sha256sum --check --strict --quiet", stdin=converted)
    after = cloud.records()
    again = {name for name in after if after[name] != records.get(name)}
    assert again == {f"sft-{RUN}", f"export-{RUN}", f"upload-local.{RUN}"}
    log = cloud.ssh(f"sudo -n cat {RECORDS}/sft-{RUN}.log")
    assert "Restored params from step: 60" in log
    assert re.search(r"the checkpoint was trained on the first (\d+) rows: the data go on with row \d+", log)
    assert "passing over" not in log
    assert "completed step: 59," not in log
    # By time, and not by steps: never the first one, then every second or so, and the last one.
    saved = re.findall(r"Saving checkpoint at step (\d+)", log)
    assert "61" not in saved
    assert (len(saved) > 2, saved[-1]) == (True, "70")
    assert cloud.ssh(f"ls {MOUNT}/maxtext/{RUN}/checkpoints").split() == saved[-2:]
    assert "stands at step 70 of 70" in more_steps.output


def test_other_inputs_do_not_continue_the_checkpoints(cloud: Cloud, more_steps: PlayResult) -> None:
    played = cloud.play("--tags", "sft", "-e", "learning_rate=1.e-4")
    assert played.status != 0
    assert "learning_rate" in played.output
    assert "run_name" in played.output


def test_the_base_model_is_asked_in_place_of_the_tuned_one(cloud: Cloud, more_steps: PlayResult) -> None:
    asked = ("-e", "vllm_serve_model=base", "-e", "prompt=Hello", *FEW_TOKENS)
    played = cloud.play(*asked, playbook="playbooks/chat.yml")
    assert played.status == 0, played.output
    told = cloud.play(playbook="playbooks/status.yml").output
    assert f"  Served:   Qwen/Qwen3-4B, of run {RUN}, on port 8000 of the node alone" in told


def test_teardown_deletes_the_disk_when_it_is_named(cloud: Cloud, more_steps: PlayResult) -> None:
    disks = Path(cloud.settings["state_dir"]) / "disks"
    assert list(disks.iterdir())
    played = cloud.play("-e", "tpu_vm_delete_disk=tpu-data-disk", playbook="playbooks/teardown.yml")
    assert played.status == 0, played.output[-5000:]
    assert not [path for path in disks.iterdir() if "tpu-data-disk" in path.name]
    assert not [output for output in cloud.told if cloud.hf_token in output]  # of this step too
