# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole pipeline on a local cloud, with real MaxText and real vLLM, as a user runs it.

The tests build on each other, in this order.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path

import pytest

from localcloud.config import CloudConfig
from tests.machines.support import traces

from .support import MOUNT, RECORDS, Cloud, CommandLines

RUN = "qwen3-4b-sft"
MORE_STEPS = ("-e", "sft_steps=70", "-e", "sft_checkpoint_minutes=0.02")
PIPELINE_JOBS = {"convert-qwen3-4b", f"sft-{RUN}", f"export-{RUN}"}


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
def first_run(cloud: Cloud, command_lines: CommandLines) -> str:
    """Output of the first run, at the highest verbosity that a user would send to somebody."""
    played = cloud.play("-vvv")
    assert played.status == 0, played.output[-5000:]
    assert played.recap["failed"] == 0
    return played.output


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
        "convert-qwen3-4b": written,
        f"sft-{RUN}": rf"step \d+/60  loss {number}  {number} s/step  {number} tokens/s/device  ETA \d+ ",
        f"export-{RUN}": r"\d+ s  \S",
        f"upload-local.{RUN}": "has all 5 files",
        "env-serve": rf"{number} of about {number} GB written",
        "serve-download": r"\d+ s  \S",
        "serve-start": r"vllm\.service is healthy, \d+ s after its start",
    }
    silent = {
        job: line for job, line in shown.items() if not re.search(rf"^{job}  .*{line}", first_run, re.M)
    }
    assert not silent, first_run[-5000:]


def test_the_second_run_changes_nothing(cloud: Cloud, first_run: str) -> None:
    jobs_before, commits_before = cloud.records(), commits(cloud)
    played = cloud.play()
    assert played.status == 0, played.output[-5000:]
    assert played.recap["changed"] == 0
    assert len(played.tasks) < 58
    assert cloud.records() == jobs_before
    assert commits(cloud) == commits_before


@pytest.mark.parametrize("playbook", ["follow", "stop"])
def test_a_job_that_has_ended_is_told_of_and_left_alone(cloud: Cloud, first_run: str, playbook: str) -> None:
    before = cloud.records()
    played = cloud.play("-e", f"job_name=sft-{RUN}", playbook=f"playbooks/{playbook}.yml")
    assert played.status == 0, played.output[-5000:]
    assert "changed=0" in played.output and "changed=1" not in played.output
    assert cloud.records() == before


def test_training_is_refused_beside_the_server(cloud: Cloud, first_run: str) -> None:
    before = cloud.records()
    played = cloud.play("--tags", "sft", "-e", "sft_steps=70")
    assert played.status != 0
    assert f"job sft-{RUN} cannot run beside vllm.service" in played.output
    assert cloud.records() == before
    played = cloud.play("--tags", "vllm_serve", "-e", "vllm_serve_state=stopped")
    assert played.status == 0, played.output[-5000:]


def test_more_steps_train_on_from_the_last_checkpoint(cloud: Cloud, first_run: str) -> None:
    before = cloud.records()
    played = cloud.play("--tags", "sft", *MORE_STEPS)
    assert played.status == 0, played.output[-5000:]
    after = cloud.records()
    assert {name for name in after if after[name] != before.get(name)} == {f"sft-{RUN}"}
    log = cloud.ssh(f"sudo -n cat {RECORDS}/sft-{RUN}.log")
    assert "Restored params from step: 60" in log
    assert "passing over the data of 60 batches" in log
    assert "completed step: 59," not in log
    # By time, and not by steps: after the first one, then every second or so, and after the last one.
    saved = re.findall(r"Saving checkpoint at step (\d+)", log)
    assert (saved[0], saved[-1]) == ("61", "70")
    assert cloud.ssh(f"ls {MOUNT}/maxtext/{RUN}/checkpoints").split() == saved[-2:]
    assert "stands at step 70 of 70" in played.output


def test_other_inputs_do_not_continue_the_checkpoints(cloud: Cloud, first_run: str) -> None:
    played = cloud.play("--tags", "sft", "-e", "sft_learning_rate=1.e-4")
    assert played.status != 0
    assert "learning_rate" in played.output
    assert "run_name" in played.output


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


def test_the_token_is_found_nowhere(cloud: Cloud, first_run: str, command_lines: CommandLines) -> None:
    token = cloud.hf_token
    assert first_run in cloud.told  # among runs that failed, on bad input and on refusals
    assert not [output for output in cloud.told if token in output]
    assert not [line for line in command_lines.seen if token in line]
    assert any("train_sft" in line for line in command_lines.seen), "the watcher saw the trainer"
    assert cloud.leaks() == []


def test_the_disk_survives_the_node(cloud: Cloud, first_run: str) -> None:
    before = cloud.records()
    cloud.ssh(f"echo precious > {MOUNT}/mine")
    played = cloud.play(playbook="playbooks/teardown.yml")
    assert played.status == 0, played.output[-5000:]
    assert cloud.play(playbook="playbooks/teardown.yml").recap["changed"] == 0

    played = cloud.play(*MORE_STEPS)
    assert played.status == 0, played.output[-5000:]
    assert cloud.ssh(f"cat {MOUNT}/mine") == "precious\n"
    after = cloud.records()
    assert after["convert-qwen3-4b"] == before["convert-qwen3-4b"]
    assert after[f"sft-{RUN}"] == before[f"sft-{RUN}"]


def test_teardown_deletes_the_disk_when_it_is_named(cloud: Cloud, first_run: str) -> None:
    disks = Path(cloud.settings["state_dir"]) / "disks"
    assert list(disks.iterdir())
    played = cloud.play("-e", "tpu_vm_delete_disk=tpu-data-disk", playbook="playbooks/teardown.yml")
    assert played.status == 0, played.output[-5000:]
    assert not [path for path in disks.iterdir() if "tpu-data-disk" in path.name]


def test_down_leaves_this_machine_as_it_was(cloud: Cloud, first_run: str) -> None:
    config = CloudConfig(Path(cloud.settings["state_dir"]))
    assert set(traces(config)) >= {"processes", "links", "rules"}
    cloud.judge()
    down = cloud.command([sys.executable, "-m", "localcloud", "down"])
    assert down.returncode == 0, down.stderr
    assert traces(config) == {}
