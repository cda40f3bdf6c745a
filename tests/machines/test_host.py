# SPDX-License-Identifier: GPL-3.0-or-later
"""The first look at a TPU VM, on machines with the faults that it is there for. Needs root.

The chips are character devices with the names that Google's images give them, and what /dev/null does.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcloud.machines import Machine, MachineSpec

from .support import Cloud, CloudFactory
from .test_job import USERS, Controller

pytestmark = pytest.mark.machines

TYPE = "v5litepod-4"
CHIPS = [f"/dev/vfio/{number}" for number in range(4)]
HUGE_PAGES = "/sys/kernel/mm/transparent_hugepage/enabled"
# A Hub that answers with the time of day and an hour more, or less.
HUB = """
import email.utils, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response_only(200)
        self.send_header("Date", email.utils.formatdate(time.time() + float(sys.argv[2]), usegmt=True))
        self.end_headers()
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Hub)
import os, socket
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
"""
HOLD = """
import os, socket, sys
held = open(sys.argv[1], "r+b", buffering=0)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
import signal
signal.pause()
"""


@pytest.fixture(scope="module")
def cloud(new_cloud: CloudFactory) -> Cloud:
    return new_cloud()


@pytest.fixture(scope="module")
def machine(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with the users of the jobs, and two Hubs: one whose clock is right, one an hour ahead."""
    machine = cloud.boot(MachineSpec("host-0", "t1v-n-host-w-0"))
    Controller(cloud, machine, tmp_path_factory.mktemp("users")).run(USERS, module="system_users")
    for port, ahead in ((8001, 0), (8002, 3600)):
        start(cloud, machine, f"hub-{port}", HUB, port, ahead)
    return machine


def start(cloud: Cloud, machine: Machine, unit: str, program: str, *arguments: object) -> None:
    """Start a service; returns when it says that it is ready."""
    command = ["sudo", "systemd-run", "--quiet", "--collect", f"--unit={unit}", "--service-type=notify"]
    command += ["--property=NotifyAccess=all", "/usr/bin/python3", "-c", program, *map(str, arguments)]
    cloud.ssh(machine, shlex.join(command))


@pytest.fixture
def vm(cloud: Cloud, machine: Machine) -> Iterator[Machine]:
    """The machine as a v5litepod-4 is, and as if it had just booted."""
    cloud.ssh(machine, "sudo rm -rf /dev/vfio /dev/accel* /run/tpuops-host.json; sudo mkdir /dev/vfio")
    for path in [*CHIPS, "/dev/vfio/vfio"]:
        cloud.ssh(machine, f"sudo mknod -m 666 {path} c 1 3")
    yield machine
    cloud.ssh(machine, "sudo systemctl stop thief 2>/dev/null; true")


class Doctor:
    """Looks at the machine from a controller."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.options: dict[str, Any] = {"accelerator_type": TYPE, "endpoint": "http://127.0.0.1:8001"}

    def look(self, **options: Any) -> str:
        return self.controller.run({**self.options, **options}, module="tpu_host")

    def problem(self, **options: Any) -> str:
        told, status = self.controller.start({**self.options, **options}, module="tpu_host").finish()
        assert status == 2, told
        result = yaml.safe_load(re.split(r"FAILED! =>|\n\nPLAY RECAP", told)[1])
        return str(result["msg"])


@pytest.fixture
def doctor(cloud: Cloud, vm: Machine, tmp_path: Path) -> Doctor:
    return Doctor(Controller(cloud, vm, tmp_path))


def test_a_sound_machine_is_looked_at_once_in_a_boot(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    before = cloud.ssh(vm, f"cat {HUGE_PAGES}")
    doctor.look(accelerator_type="v4-8")
    cloud.ssh(vm, "sudo systemctl stop hub-8001")
    assert "changed=0" in doctor.look(accelerator_type="v4-8"), "the Hub is not asked again"
    start(cloud, vm, "hub-8001", HUB, 8001, 0)
    assert cloud.ssh(vm, f"cat {HUGE_PAGES}; ls /etc/tmpfiles.d | grep tpuops | wc -l").split("\n") == [
        before,
        "0",
    ]


def test_no_device(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    cloud.ssh(vm, "sudo rm -r /dev/vfio")
    problem = doctor.problem()
    assert problem.startswith("chips: there is no /dev/vfio/*")


def test_a_file_in_the_place_of_a_device_is_none(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    cloud.ssh(vm, f"sudo rm {CHIPS[3]} && sudo touch {CHIPS[3]}")
    problem = doctor.problem()
    assert problem.startswith("chips: the machine has 3 (")


def test_the_wrong_number(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    problem = doctor.problem(accelerator_type="v5litepod-8")
    assert f"the machine has 4 ({', '.join(CHIPS)}), and v5litepod-8 has 8" in problem


def test_a_busy_device_names_who_has_it(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    start(cloud, vm, "thief", HOLD, CHIPS[2])
    pid = cloud.ssh(vm, "systemctl show -P MainPID thief")
    problem = doctor.problem()
    assert f"chips: python3 (process {pid} of thief.service) has {CHIPS[2]} open" in problem
    cloud.ssh(vm, problem[problem.index("sudo systemctl stop thief.service") :])
    assert "changed" in doctor.look(accelerator_type="v4-8")


@pytest.mark.parametrize("path", [CHIPS[1], "/dev/vfio/vfio"])
def test_a_device_that_a_job_cannot_open(cloud: Cloud, vm: Machine, doctor: Doctor, path: str) -> None:
    cloud.ssh(vm, f"sudo chmod 600 {path}")
    problem = doctor.problem()
    assert problem.startswith(f"chips: the user tpuops of the jobs cannot open {path}: Permission denied.")
    found = re.search(r"\((sudo chmod .*?)\)", problem)
    assert found
    cloud.ssh(vm, found[1])
    doctor.look(accelerator_type="v4-8")


def test_no_hub_is_an_error_before_the_first_download_and_a_warning_later(doctor: Doctor) -> None:
    gone = {"endpoint": "http://127.0.0.1:8009", "accelerator_type": "v4-8"}
    problem = doctor.problem(**gone)
    assert problem.startswith("hf_endpoint: the Hub at http://127.0.0.1:8009 does not answer the machine:")
    assert "What was downloaded before is used." in doctor.look(**gone, downloaded="/usr/bin/env")


def test_a_wrong_clock(doctor: Doctor) -> None:
    problem = doctor.problem(endpoint="http://127.0.0.1:8002")
    # The Hub's header has whole seconds, and its way takes time.
    assert re.match(r"clock: that of the machine is 3[56]\d\d s slow against the Hub's\.", problem)


def test_without_chips_nothing_is_asked_of_them(cloud: Cloud, vm: Machine, doctor: Doctor) -> None:
    cloud.ssh(vm, "sudo rm -r /dev/vfio")
    assert "changed=0" in doctor.look(platform="cpu")
