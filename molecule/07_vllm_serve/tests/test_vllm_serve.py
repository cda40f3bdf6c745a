# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
from pathlib import Path

from testinfra.host import Host

SECURITY = Path(__file__).resolve().parents[3] / "docs" / "security.md"


def test_the_service_runs_and_comes_back_at_boot(vm: Host) -> None:
    service = vm.service("vllm")
    assert service.is_running
    assert service.is_enabled


def test_it_listens_on_loopback_only(vm: Host) -> None:
    """All its processes: what they say to each other has no key."""
    told = vm.check_output("sudo -n ss --no-header --listening --tcp --numeric --processes")
    sockets = [line.split() for line in told.splitlines()]
    assert [address for _, _, _, address, *_ in sockets if address == "127.0.0.1:8000"]
    beyond = [fields for fields in sockets if not re.match(r"127\.|\[::1\]:", fields[3])]
    assert [fields for fields in beyond if not re.search(r'"(sshd|systemd-resolve)"', fields[-1])] == []


def test_it_refuses_without_its_key(vm: Host) -> None:
    status = vm.check_output(
        "curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8000/v1/models"
    )
    assert status == "401"


def test_its_exposure_is_what_the_documents_say(vm: Host) -> None:
    told = vm.check_output("systemd-analyze security --no-pager vllm.service")
    exposure = re.search(r"Overall exposure level for vllm.service: ([\d.]+)", told)
    assert exposure, told
    documented = re.search(r"^\| the vLLM server \| ([\d.]+) \|", SECURITY.read_text(), re.MULTILINE)
    assert documented
    assert float(exposure[1]) <= float(documented[1])
