# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from testinfra.host import Host


def test_the_checkpoint_has_what_the_trainer_reads(vm: Host, mount_point: str) -> None:
    items = vm.check_output(f"echo {mount_point}/maxtext/qwen3-4b-*/0/items")
    for name in ("_METADATA", "manifest.ocdbt"):
        assert vm.file(f"{items}/{name}").is_file
    for name in ("d", "ocdbt.process_0"):
        assert vm.file(f"{items}/{name}").is_directory


def test_it_is_described_with_its_commit(vm: Host, mount_point: str) -> None:
    manifest = json.loads(vm.check_output(f"cat {mount_point}/maxtext/qwen3-4b-*/manifest.json"))
    assert manifest["about"]["hf_model"] == "Qwen/Qwen3-4B"
    assert len(manifest["about"]["hf_commit"]) == 40
    assert "items/_METADATA" in manifest["files"]


def test_the_job_left_a_record(vm: Host, mount_point: str) -> None:
    record = json.loads(
        vm.check_output(f"sudo -n sh -c 'cat {mount_point}/.tpuops/jobs/convert-qwen3-4b-*.json'")
    )
    assert "Qwen/Qwen3-4B" in record["argv"]
    assert (record["status"], record["exit_code"]) == ("finished", 0)
    assert record["disk"]["needed"] > 0, "the Hub told the model's size"
    assert record["runs"] == 1, "it was there, on a disk that had another node before"
