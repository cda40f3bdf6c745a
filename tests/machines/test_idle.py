# SPDX-License-Identifier: GPL-3.0-or-later
"""A node that nobody uses ends by itself: the units of the role on a machine's systemd. Needs root.

A program on the machine stands in for Google and for vLLM. The clock of the last use is put forward by the
program's own argument. Commands reach the machine without SSH, as a login is use.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from localcloud.machines import Machine, MachineSpec, guest
from localcloud.machines.commands import run

from .support import USER, Cloud, CloudFactory
from .test_job import Controller

pytestmark = pytest.mark.machines

ROOT = Path(__file__).resolve().parents[2]
NODE = "projects/p/locations/us-west1-c/nodes/tpu"
MINUTES = 30
LATER = MINUTES * 60
PORT = 8123
#: Answers as the metadata server, as the TPU API and as vLLM do; keeps what the API was asked.
STANDS_IN = f"""
import http.server, json, threading
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size).decode()
        if self.path == "/metrics":
            value = open("/run/counters").read()
        elif self.path.endswith("/token"):
            value = json.dumps({{"access_token": "t"}})
        else:
            with open("/run/asked", "a") as asked:
                print(self.command, self.path, body, file=asked)
            value = json.dumps({{"name": "{NODE}", "done": True}})
        self.send_response(200)
        self.end_headers()
        self.wfile.write(value.encode())
    do_DELETE = do_PATCH = do_POST = do_GET
    def log_message(self, *_):
        pass
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Answer) for port in (80, {PORT})]
threading.Thread(target=servers[0].serve_forever).start()
servers[1].serve_forever()
"""
#: What vLLM's unit has of its arguments.
SERVER = f"""[Service]
ExecStart=/bin/sh -c "exec sleep infinity" \\
  "--port" \\
  "{PORT}"
"""


class Vm:
    """A machine with the guard of the role, and what its stand-in was asked."""

    def __init__(self, cloud: Cloud, machine: Machine, leader: int) -> None:
        self.cloud, self.machine = cloud, machine
        self.later = 0
        self.enter = [*guest._namespaces(leader), *guest._CLEAN_ENVIRONMENT]

    def run(self, script: str, stdin: str = "") -> str:
        """A command of root there, which is no login."""
        return run([*self.enter, "/bin/sh", "-ec", script], stdin=stdin)

    def write(self, path: str, text: str) -> None:
        self.run(f"cat > {path}", stdin=text)

    def install(self, home: Path, **settings: Any) -> None:
        """The program and the units, as the role writes them."""
        for name in ("tpuops-guard.service", "tpuops-guard.timer"):
            self.write(f"/etc/systemd/system/{name}", render(home, name, **settings))
        program = (ROOT / "roles/tpu_vm/files/tpu_guard.py").read_text()
        self.write("/usr/local/bin/tpuops-guard", program)
        self.run("chmod 755 /usr/local/bin/tpuops-guard && systemctl daemon-reload")

    def begin(self) -> None:
        """Nobody uses the machine, and what the guard has seen is forgotten, as at a start of the machine."""
        self.later = 0
        self.run("rm -rf /run/tpuops-guard /run/tpuops; : > /run/asked; systemctl reset-failed")
        self.look()
        assert self.asked() == []

    def look(self, after: int = 0) -> None:
        """Let systemd run the guard, as if so many seconds after the last time, and wait for its end."""
        self.later += after
        unit = "/etc/systemd/system/tpuops-guard.service"
        command = self.run(f"sed -n 's/^ExecStart=//p' {unit}").strip()
        more = f"/run/systemd/system/{Path(unit).name}.d"
        self.run(f"mkdir -p {more}")
        given = f"[Service]\nRestart=no\nExecStart=\nExecStart={command} {self.later}\n"
        self.write(f"{more}/later.conf", given)
        journal = "journalctl --unit=tpuops-guard --output=cat --lines=4 --no-pager >&2"
        self.run(
            f"systemctl daemon-reload && systemctl start tpuops-guard.service || {{ {journal}; exit 1; }}"
        )

    def asked(self) -> list[str]:
        return self.run("cat /run/asked").splitlines()

    def deleted(self) -> bool:
        return f"DELETE /v2/{NODE} " in self.asked()

    @contextmanager
    def logged_in(self, *options: str, command: str = "") -> Iterator[None]:
        """Somebody is logged in over SSH meanwhile."""
        before = self.sshd()
        known = self.cloud.config.state_dir / "idle_known_hosts"
        known.write_text(
            "".join(f"{self.machine.address} {k} {v}\n" for k, v in self.machine.host_keys.items())
        )
        argv = [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self.cloud.key),
            f"-oUserKnownHostsFile={known}",
            "-oBatchMode=yes",
        ]
        argv += [*options, f"{USER}@{self.machine.address}", *([command] if command else [])]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as ssh:
            try:
                while self.sshd() <= before:
                    assert ssh.poll() is None
                    time.sleep(0.05)
                yield
            finally:
                ssh.kill()
        while self.sshd() > before:
            time.sleep(0.05)

    def sshd(self) -> int:
        """How many processes sshd has of people who are logged in."""
        return int(self.run(f"pgrep -c -u {USER} sshd || true"))


def render(home: Path, name: str, **settings: Any) -> str:
    """A template of the role, with the role's variables and these."""
    files = [f"{ROOT}/roles/tpu_vm/{kind}/main.yml" for kind in ("defaults/main", "vars")]
    target = home / name
    template = {"src": f"{ROOT}/roles/tpu_vm/templates/{name}.j2", "dest": str(target), "mode": "0644"}
    tasks = [{"name": "Render", "ansible.builtin.template": template}]
    settings = {"ansible_python_interpreter": sys.executable, **settings}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars_files": files,
        "tasks": tasks,
    }
    book = home / f"{name}.json"
    book.write_text(json.dumps([play]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [*command, str(book), "--extra-vars", json.dumps(settings)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target.read_text()


SETTINGS = {
    "tpu_vm_max_idle_minutes": str(MINUTES),  # as from the command line
    "tpu_vm_guard_endpoint": "http://127.0.0.1",
    "_tpu_vm_guarded": {"nodes": [{"name": NODE}]},
}


@pytest.fixture(scope="module")
def vm(new_cloud: CloudFactory, tmp_path_factory: pytest.TempPathFactory) -> Vm:
    cloud = new_cloud()
    machine = cloud.boot(MachineSpec("idle-0", "t1v-n-idle-w-0"))
    made = Vm(cloud, machine, cloud.machines._leader("idle-0"))
    made.run(
        "sed -i '/metadata.google/d' /etc/hosts && echo 127.0.0.1 metadata.google.internal >> /etc/hosts"
    )
    made.write("/run/stands-in.py", STANDS_IN)
    made.write("/run/counters", "vllm:request_success_total 0\n")
    made.write("/etc/systemd/system/vllm.service", SERVER)
    made.install(tmp_path_factory.mktemp("units"), **SETTINGS)
    made.run("systemd-run --unit=stands-in --quiet /usr/bin/python3 /run/stands-in.py")
    made.run(f"until curl -sf http://127.0.0.1:{PORT}/metrics; do sleep 0.05; done")
    return made


def test_a_machine_that_nobody_uses_asks_google_to_delete_it(vm: Vm) -> None:
    """In its sandbox, and it says why in the journal."""
    vm.begin()
    vm.look(LATER - 60)
    assert vm.asked() == []
    vm.look(60)
    assert vm.asked() == [
        f"GET /v2/{NODE} ",
        f'PATCH /v2/{NODE}?updateMask=labels {{"labels": {{"tpuops-ended": "idle-{MINUTES}"}}}}',
        f"DELETE /v2/{NODE} ",
    ]
    journal = vm.run("journalctl --unit=tpuops-guard --output=cat --no-pager")
    why = f"no job, no request and no login for {MINUTES} minutes"
    assert journal.splitlines()[-1] == f"{why}: deleting {NODE}; its data disk stays"


@pytest.mark.parametrize("how", ["a command", "a tunnel"])
def test_a_login_keeps_the_machine(vm: Vm, how: str, tmp_path: Path) -> None:
    vm.begin()
    options = ("-N", "-L", f"{tmp_path}/socket:127.0.0.1:9") if how == "a tunnel" else ()
    with vm.logged_in(*options, command="" if options else "sleep 1000"):
        vm.look(LATER)
        assert vm.asked() == []
    vm.look(LATER)
    assert vm.deleted()


def test_a_job_keeps_the_machine_and_its_end_is_use(vm: Vm) -> None:
    vm.begin()
    vm.run("systemd-run --quiet --unit=tpuops-sft-demo sleep infinity")
    vm.look(LATER)
    vm.run("systemctl stop tpuops-sft-demo")
    assert vm.asked() == []
    vm.run("mkdir /run/tpuops/sft-short && rmdir /run/tpuops/sft-short")  # as a job that nobody saw
    vm.look(LATER)
    assert vm.asked() == []
    vm.look(LATER)
    assert vm.deleted()


def test_a_job_that_starts_keeps_the_machine(vm: Vm) -> None:
    """The module job holds the lock from before its last look at others until its unit runs."""
    vm.begin()
    vm.run("systemd-run --quiet --unit=starts flock /run/tpuops/.start.lock sleep infinity")
    vm.run("until ! flock --nonblock /run/tpuops/.start.lock true; do sleep 0.05; done")
    vm.look(LATER)
    assert not vm.deleted()
    vm.run("systemctl stop starts")
    vm.look(LATER)
    assert vm.deleted()


def test_a_server_keeps_the_machine_while_it_serves(vm: Vm) -> None:
    vm.run("systemctl start vllm")
    try:
        vm.begin()
        vm.write("/run/counters", "vllm:request_success_total 1\n")
        vm.look(LATER)
        assert vm.asked() == []
        vm.look(LATER)
        assert vm.deleted()
    finally:
        vm.run("systemctl stop vllm")


def test_a_restart_of_the_machine_counts_as_use(vm: Vm) -> None:
    """All that the guard keeps lies in memory."""
    vm.begin()
    kept = vm.run("findmnt --noheadings --output FSTYPE --target /run/tpuops-guard/seen.json")
    assert kept.strip() == "tmpfs"
    left = vm.run("find / -xdev -newer /run/stands-in.py -name 'seen.json*' -not -path '/proc/*'")
    assert left == ""


def test_what_jobs_keep_in_memory_outlives_the_guard(vm: Vm) -> None:
    """systemd removes a runtime directory when its unit ends, unless it is told not to."""
    vm.begin()
    vm.run("mkdir -m 700 /run/tpuops/sft-demo && echo secret > /run/tpuops/sft-demo/spec.json")
    vm.look()
    assert vm.run("cat /run/tpuops/sft-demo/spec.json") == "secret\n"
    assert vm.run("stat -c '%a %U' /run/tpuops").strip() == "755 root"


def test_the_guard_is_shut_in(vm: Vm) -> None:
    told = vm.run("systemd-analyze security --no-pager tpuops-guard.service | tail -1")
    documented = [
        line for line in (ROOT / "docs/security.md").read_text().splitlines() if "tpu_vm_max_idle" in line
    ]
    exposure = float(told.split(":")[1].split()[0])
    assert documented
    assert exposure <= float(documented[0].rstrip("| ").rpartition("| ")[2])


def test_the_timer_looks_each_minute_and_at_the_end_of_the_time(vm: Vm, tmp_path: Path) -> None:
    hours = {"tpu_vm_max_hours": "2", "_tpu_vm_deadline": "4102444800.5"}
    try:
        vm.install(tmp_path, **SETTINGS, **hours)
        vm.run("systemctl start tpuops-guard.timer")
        due = vm.run("systemctl show --property=TimersCalendar tpuops-guard.timer")
        assert "OnCalendar=2100-01-01 00:00:00 UTC" in due
        assert "OnCalendar=*-*-* *:*:00" in due
        assert f"{NODE} 4102444800 {MINUTES} deleted" in vm.run("systemctl cat tpuops-guard.service")
        vm.install(tmp_path, **{**SETTINGS, "tpu_vm_max_idle_minutes": "0"}, **hours)
        vm.run("systemctl daemon-reload && systemctl restart tpuops-guard.timer")
        due = vm.run("systemctl show --value --property=TimersCalendar tpuops-guard.timer")
        assert "*:*:00" not in due
        assert "DynamicUser=true" in vm.run("systemctl cat tpuops-guard.service")
    finally:
        vm.run("systemctl stop tpuops-guard.timer")
        vm.install(tmp_path, **SETTINGS)


class Google(BaseHTTPRequestHandler):
    """Tells the controller of the node."""

    def do_GET(self) -> None:
        node = {"name": NODE, "state": "READY", "createTime": "2026-01-01T00:00:00.5Z"}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(node).encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def google() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Google) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_role_arms_changes_and_disarms_the_timer(vm: Vm, google: str, tmp_path: Path) -> None:
    vm.run("rm -rf /run/systemd/system/tpuops-guard.service.d /etc/systemd/system/tpuops-guard.*")
    vm.run("systemctl daemon-reload")
    controller = Controller(vm.cloud, vm.machine, tmp_path)
    given = {
        "project": "a-project",
        "zone": "us-west1-c",
        "tpu_vm_name": "tpu",
        "tpu_vm_guard_endpoint": "http://127.0.0.1",
        "gcp_auth": {"auth_kind": "accesstoken", "access_token": "not-a-secret", "tpu_endpoint": google},
    }
    role = {"name": "tpuops.maxtext.tpu_vm", "tasks_from": "guard"}
    tasks = [{"name": "Arm", "ansible.builtin.include_role": {**role, "apply": {"tags": ["always"]}}}]
    book = tmp_path / "guard.json"
    book.write_text(json.dumps([{"hosts": "vm", "gather_facts": False, "tasks": tasks}]))

    def play(minutes: int, *arguments: str) -> int:
        values = json.dumps({**given, "tpu_vm_max_idle_minutes": str(minutes)})
        told, status = controller.begin(book, "--extra-vars", values, *arguments).finish()
        assert status == 0, told
        return int(re.findall(r"changed=(\d+)", told)[-1])

    def timer() -> str:
        return vm.run("systemctl is-active tpuops-guard.timer || true").strip()

    try:
        assert play(30, "--check") > 0
        assert timer() == "inactive"
        assert play(30) > 0
        assert timer() == "active"
        assert play(30) == 0
        assert play(60) > 0
        show = "systemctl show --value --property=ExecStart tpuops-guard.service"
        assert f"{NODE} never 60 deleted ;" in vm.run(show)
        assert play(0) > 0
        assert timer() == "inactive"
        assert play(0) == 0
    finally:
        vm.run("systemctl stop tpuops-guard.timer || true")
