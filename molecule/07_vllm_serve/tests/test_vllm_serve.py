# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

from testinfra.host import Host

Play = Callable[..., subprocess.CompletedProcess[str]]

SECURITY = Path(__file__).resolve().parents[3] / "docs" / "security.md"
TRAINING = "tpuops-sft-x.service"
# Used in place of training that needs its time to stop.
TRAIN = (
    f"systemd-run --collect --property=TimeoutStopSec=15 --unit={TRAINING} "
    "sh -c 'trap : TERM; while :; do sleep 1; done'"
)
# Once a second, until it answers or systemd has given it up.
HEALTHY = (
    "until curl --silent --fail http://127.0.0.1:8000/health; "
    "do systemctl is-failed --quiet vllm && exit 1; sleep 1; done"
)


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


def test_it_sees_its_program_its_model_and_its_cache_and_writes_to_the_last(
    vm: Host, mount_point: str
) -> None:
    pid = vm.check_output("systemctl show --property=MainPID --value vllm")
    assert vm.check_output(f"ps -o user:20= -p {pid}") == "tpuops-serve"
    user = "setpriv --reuid=tpuops-serve --regid=tpuops-serve --clear-groups"

    def inside(command: str) -> str:
        """What a shell says that the server would start."""
        script = shlex.quote(f"cd {mount_point} && {command}")
        return str(vm.check_output(f"sudo -n nsenter --target={pid} --mount {user} sh -c {script}"))

    assert inside("ls -A").split() == ["cache", "env"]
    assert re.fullmatch(r"programs (python )?serve-\w{12}", " ".join(inside("ls -A env").split()))
    found = inside("ls -A cache; ls -A cache/hf; ls -A cache/hf/hub").split()
    assert [name for name in found if name != "blobs"] == [
        *("hf", "vllm", "hub", "manifests", "models--local--qwen3-4b-sft")
    ]
    assert "Permission denied" in inside("ls /home 2>&1 | cat")
    its_own = "grep -v -e ^./cache/vllm/ -e ^/var/tmp | cat"
    writable = f"find . /var /etc /usr -writable -not -type l 2>/dev/null | {its_own}"
    assert inside(writable).split() == []
    cache = inside("ls -d cache/vllm/*")
    inside(f"touch {cache}/x && rm {cache}/x")


def test_its_exposure_is_what_the_documents_say(vm: Host) -> None:
    told = vm.check_output("systemd-analyze security --no-pager vllm.service")
    exposure = re.search(r"Overall exposure level for vllm.service: ([\d.]+)", told)
    assert exposure, told
    documented = re.search(r"^\| the vLLM server \| ([\d.]+) \|", SECURITY.read_text(), re.MULTILINE)
    assert documented
    assert float(exposure[1]) <= float(documented[1])


def state(vm: Host, unit: str) -> str:
    return str(vm.check_output(f"systemctl show --property=ActiveState --value {unit}"))


def test_it_is_started_again_when_it_dies(vm: Host) -> None:
    vm.check_output("sudo -n systemctl reset-failed vllm")  # starts of an earlier run of the tests count
    before = vm.check_output("systemctl show --property=MainPID --value vllm")
    vm.check_output(f"sudo -n kill -KILL {before}")
    vm.check_output(f"while [ -d /proc/{before} ]; do sleep 0.1; done")
    vm.check_output(HEALTHY)
    assert vm.check_output("systemctl show --property=MainPID --value vllm") not in (before, "0")


def test_a_start_that_fails_shows_why(vm: Host, play: Play) -> None:
    """In vLLM's own words."""
    played = play("--tags=vllm_serve", "--extra-vars={vllm_serve_arguments: [--no-such-option]}")
    failed = played.stdout.partition("fatal:")[2]
    assert played.returncode != 0
    assert "vllm: error: unrecognized arguments: --no-such-option" in failed
    assert state(vm, "vllm") != "active", "it is not left to fail again"


def test_it_waits_until_training_has_let_go_of_the_chips(vm: Host, play: Play) -> None:
    stopped = play("--tags=vllm_serve", "--extra-vars=vllm_serve_state=stopped")
    assert stopped.returncode == 0, stopped.stdout[-5000:]
    assert state(vm, "vllm") in ("inactive", "failed")
    vm.check_output(f"sudo -n {TRAIN}")
    played = play("--tags=vllm_serve")
    assert played.returncode != 0
    assert f"job serve-start cannot run beside {TRAINING}" in played.stdout

    vm.check_output("sudo -n systemctl start vllm")  # as systemd does it at boot
    assert state(vm, "vllm") == "inactive"
    assert f"not beside {TRAINING}" in vm.check_output("sudo -n journalctl --unit=vllm --lines=20")

    vm.check_output(f"sudo -n systemctl stop --no-block {TRAINING}")
    vm.check_output("sudo -n systemctl start --no-block vllm")
    assert (state(vm, TRAINING), state(vm, "vllm")) == ("deactivating", "activating")
    vm.check_output("sudo -n systemctl start vllm")
    assert state(vm, TRAINING) == "inactive"
    played = play("--tags=vllm_serve")
    assert played.returncode == 0, played.stdout[-5000:]
