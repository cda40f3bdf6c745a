# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from testinfra.host import Host


def test_the_export_is_a_model_of_the_hub_s_format(vm: Host, mount_point: str) -> None:
    export = f"{mount_point}/huggingface/qwen3-4b-sft"
    config = json.loads(vm.file(f"{export}/config.json").content_string)
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["rope_theta"] == 1000000  # where transformers 4 looks for it
    assert any(name.endswith(".safetensors") for name in vm.file(export).listdir())


def test_it_was_exported_and_uploaded_once(vm: Host, mount_point: str) -> None:
    """By an earlier node, on a disk that this one found."""
    for job in ("export-qwen3-4b-sft", "upload-local.qwen3-4b-sft"):
        record = json.loads(vm.check_output(f"sudo -n cat {mount_point}/.tpuops/jobs/{job}.json"))
        assert (record["status"], record["runs"]) == ("finished", 1)
