# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from testinfra.host import Host


def test_the_last_step_is_saved(vm: Host, mount_point: str) -> None:
    checkpoint = vm.file(f"{mount_point}/maxtext/qwen3-4b-sft/checkpoints/60")
    assert {"model_params", "optimizer_state"} <= set(checkpoint.listdir())


def test_the_last_two_checkpoints_are_kept(vm: Host, mount_point: str) -> None:
    steps = vm.file(f"{mount_point}/maxtext/qwen3-4b-sft/checkpoints").listdir()
    assert sorted(steps) == ["45", "60"]


def test_each_checkpoint_is_described(vm: Host, mount_point: str) -> None:
    assert sorted(vm.file(f"{mount_point}/maxtext/qwen3-4b-sft/manifests").listdir())[-1] == "60.json"


def test_training_lowered_the_loss(vm: Host, mount_point: str) -> None:
    log = vm.check_output(
        f"sudo -n grep -ao ' loss: [0-9.]*' {mount_point}/.tpuops/jobs/sft-qwen3-4b-sft.log"
    )
    losses = [float(line.split()[-1]) for line in log.splitlines()]
    assert losses[-1] < losses[0] / 2


def test_the_profile_is_there(vm: Host, mount_point: str) -> None:
    assert vm.check_output(f"find {mount_point}/maxtext/qwen3-4b-sft/tensorboard -name '*.xplane.pb'")


def test_it_was_trained_once(vm: Host, mount_point: str) -> None:
    """By an earlier node, on a disk that this one found."""
    record = json.loads(vm.check_output(f"sudo -n cat {mount_point}/.tpuops/jobs/sft-qwen3-4b-sft.json"))
    assert (record["status"], record["runs"]) == ("finished", 1)
