# SPDX-License-Identifier: GPL-3.0-or-later
"""What preflight makes of a node that is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.contract.conftest import Play
from tests.contract.served import Served

RunModule = Callable[..., dict[str, Any]]


def test_a_machine_that_does_not_answer_does_not_stop_preflight(
    play: Play, run_module: RunModule, served: Served
) -> None:
    """It is asked what the run keeps. This cloud has no machines: every connection is refused."""
    named = ["-e", "tpu_vm_name=silent", "-e", "tpu_vm_disk_name="]
    play("playbooks/provision.yml", *named)
    try:
        told = play("playbooks/preflight.yml", *named)
        assert told.count("UNREACHABLE!") == 1
        assert "Check model, tokenizer and data of the training" in told
        assert "ignored=" in told
    finally:
        run_module("tpu_vm", name="silent", zone=served.description["zone"], state="absent")
