# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from testinfra.host import Host


def test_the_service_runs_and_comes_back_at_boot(vm: Host) -> None:
    service = vm.service("vllm")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_on_loopback_only(vm: Host) -> None:
    assert vm.socket("tcp://127.0.0.1:8000").is_listening
    assert not vm.socket("tcp://0.0.0.0:8000").is_listening


def test_it_refuses_without_its_key(vm: Host) -> None:
    status = vm.check_output(
        "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"
    )
    assert status == "401"
