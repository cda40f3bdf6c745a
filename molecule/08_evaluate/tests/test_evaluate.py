# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path

from testinfra.host import Host

from localcloud.exchanges import ExchangeFile
from tests.exchanges import judge


def test_the_question_is_one_of_the_data_set(vm: Host, mount_point: str) -> None:
    question = json.loads(vm.file(f"{mount_point}/maxtext/qwen3-4b-sft/question-0.json").content_string)
    assert question["messages"][-1]["role"] == "user"
    assert "```python" in question["answer"]


def test_the_server_s_key_is_root_s_alone(vm: Host) -> None:
    assert vm.check_output("sudo -n stat --format '%U %a' /etc/tpuops/vllm-api-key") == "root 600"


def test_google_and_the_scenarios_spoke_in_google_s_own_terms() -> None:
    """Of all scenarios: this is the last."""
    exchanges = list(ExchangeFile(Path(os.environ["LOCALCLOUD_STATE_DIR"])).read())
    assert exchanges
    judge(exchanges)
