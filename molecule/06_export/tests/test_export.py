# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

from testinfra.host import Host


def test_the_export_is_a_model_of_the_hub_s_format(vm: Host, mount_point: str) -> None:
    export = f"{mount_point}/huggingface/qwen3-4b-sft"
    config = json.loads(vm.file(f"{export}/config.json").content_string)
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert any(name.endswith(".safetensors") for name in vm.file(export).listdir())
