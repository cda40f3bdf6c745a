# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs for real: ansible-playbook, SSH, and systemd on a machine with a data disk. Needs root."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from localcloud.machines import DiskAttachment, Machine, MachineSpec

from .support import USER, Cloud, CloudFactory, output

pytestmark = pytest.mark.machines

ROOT = Path(__file__).resolve().parents[2]
SECURITY = ROOT / "docs" / "security.md"
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
DISK = "/mnt/disks/checkpoints"
RECORDS = f"{DISK}/.tpuops/jobs"
BY_ID = "/dev/disk/by-id/google-persistent-disk-1"
CHIP = "/dev/accel0"  # stands for one; in fact /dev/null by another name
MOUNT_UNIT = f"[Mount]\\nWhat={BY_ID}\\nWhere={DISK}\\n[Install]\\nWantedBy=multi-user.target\\n"
SECRET = "hf_thisisnottobefoundanywhere"
JOBS, SERVER = "tpuops", "tpuops-serve"
USERS = {
    "users": [
        {"name": JOBS, "number": 60801, "home": f"/var/lib/{JOBS}"},
        {"name": SERVER, "number": 60802, "home": f"/var/lib/{SERVER}"},
    ],
    "devices": ["/dev/vfio/*", "/dev/accel*"],
}
# Says each step as MaxText does, then leaves its output; stands still at a step while the file hold is there.
# arguments: steps, seconds a step
TRAIN = f"""
import os, sys, time
assert len(os.environ.get("HF_TOKEN", "{"x" * len(SECRET)}")) == {len(SECRET)}
with open("{DISK}/runs", "a") as runs:
    runs.write("run\\n")
for step in range(1, int(sys.argv[1]) + 1):
    time.sleep(float(sys.argv[2]))
    print(f"completed step: {{step}}, seconds: {{sys.argv[2]}}, TFLOP/s/device: 0.0, loss: 1.5")
    while os.path.exists("{DISK}/hold"):
        time.sleep(0.1)
open("{DISK}/out", "w").close()
"""


def train(steps: int, seconds: float) -> dict[str, Any]:
    return {
        "name": "train",
        "argv": ["/usr/bin/python3", "-c", TRAIN, str(steps), str(seconds)],
        "secrets": {"HF_TOKEN": SECRET},
        "outputs": [f"{DISK}/out"],
        "progress": {"format": "maxtext", "total": steps},
        "reconnect_interval": 0.5,
    }


@dataclass
class Playbook:
    """A playbook that runs. It writes into a file: SSH's master would hold a pipe open after its end."""

    process: subprocess.Popen[bytes]
    log: Path

    def told(self) -> str:
        return self.log.read_text()

    def wait_until_told(self, text: str, times: int = 1) -> None:
        while self.told().count(text) < times:
            assert self.process.poll() is None, self.told()
            time.sleep(0.1)

    def finish(self) -> tuple[str, int]:
        """All that it printed, and its exit status."""
        status = self.process.wait()
        return self.told(), status


@dataclass
class Controller:
    """A controller with its own inventory, host keys and playbooks."""

    cloud: Cloud
    machine: Machine
    home: Path
    number: int = field(default=0)

    def start(self, options: dict[str, Any], *arguments: str, module: str = "job") -> Playbook:
        self.number += 1
        playbook = self.home / f"play-{self.number}.json"
        tasks = [{"name": "Run the job", f"tpuops.maxtext.{module}": options}]
        playbook.write_text(
            json.dumps([{"hosts": "vm", "become": True, "gather_facts": False, "tasks": tasks}])
        )
        return self.begin(playbook, *arguments)

    def play(self, playbook: Path, *arguments: str) -> None:
        told, status = self.begin(playbook, *arguments).finish()
        assert status == 0, told

    def begin(self, playbook: Path, *arguments: str) -> Playbook:
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=1 "
            "-o ServerAliveCountMax=3 -o ConnectTimeout=3",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.home),
            "ANSIBLE_NOCOLOR": "1",
        }
        log = playbook.with_suffix(".log")
        with log.open(
            "a"
        ) as out:  # as a terminal takes it: where the last one ended, whichever process writes
            process = subprocess.Popen(
                [str(PLAYBOOK), "-i", str(self.inventory()), str(playbook), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        return Playbook(process, log)

    def run(self, options: dict[str, Any], *arguments: str, module: str = "job") -> str:
        """What ansible-playbook printed; it must succeed."""
        told, status = self.start(options, *arguments, module=module).finish()
        assert status == 0, told
        return told

    def fail(self, job: dict[str, Any], *arguments: str) -> str:
        told, status = self.start(job, *arguments).finish()
        assert status == 2, told
        return told

    def inventory(self) -> Path:
        known = self.home / "known_hosts"
        known.write_text(
            "".join(f"{self.machine.address} {kind} {key}\n" for kind, key in self.machine.host_keys.items())
        )
        host = {
            "ansible_host": self.machine.address,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.cloud.key),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o IdentitiesOnly=yes",
        }
        path = self.home / "hosts.json"
        path.write_text(json.dumps({"all": {"hosts": {"vm": host}}}))
        return path


@pytest.fixture(scope="module")
def cloud(new_cloud: CloudFactory) -> Cloud:
    return new_cloud()


@pytest.fixture(scope="module")
def vm(cloud: Cloud, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine with its data disk, the users, and a device of a group as chips may be."""
    cloud.machines.create_disk("data", 1)
    machine = cloud.boot(MachineSpec("job-0", "t1v-n-job-w-0", (DiskAttachment("data", 1),)))
    cloud.ssh(
        machine,
        f"sudo mkfs.ext4 -q -m 0 {BY_ID} && printf '{MOUNT_UNIT}' | "
        f"sudo tee /etc/systemd/system/mnt-disks-checkpoints.mount && "
        f"sudo systemctl enable --now mnt-disks-checkpoints.mount && sudo chmod 777 {DISK}",
    )
    cloud.ssh(machine, f"sudo mknod -m 660 {CHIP} c 1 3 && sudo chgrp video {CHIP}")
    Controller(cloud, machine, tmp_path_factory.mktemp("users")).run(USERS, module="system_users")
    return machine


MakeController = Callable[[], Controller]


@pytest.fixture
def new_controller(cloud: Cloud, vm: Machine, tmp_path: Path) -> MakeController:
    cloud.ssh(vm, f"sudo rm -rf {DISK}/out {DISK}/runs {DISK}/hold {RECORDS}")

    def make() -> Controller:
        home = tmp_path / f"controller-{len(list(tmp_path.iterdir()))}"
        home.mkdir()
        return Controller(cloud, vm, home)

    return make


@pytest.fixture
def controller(new_controller: MakeController) -> Controller:
    return new_controller()


def record(cloud: Cloud, vm: Machine, name: str = "train") -> dict[str, Any]:
    value = json.loads(cloud.ssh(vm, f"sudo cat {RECORDS}/{name}.json"))
    assert isinstance(value, dict)
    return value


def runs(cloud: Cloud, vm: Machine) -> int:
    return cloud.ssh(vm, f"cat {DISK}/runs").count("run")


def wait_for(cloud: Cloud, vm: Machine, condition: str) -> None:
    """Wait on the machine until a shell condition holds. One that never does is a failure, not a hang."""
    cloud.ssh(vm, f"for _ in $(seq 3000); do {condition} && exit; sleep 0.1; done; exit 1")


# Every file but the unit's own memory and the host's package cache, every command line, all properties of
# units, the journal.
SEARCH = """
import os, subprocess, sys
secret = bytes.fromhex(sys.argv[1])
found = []
for root in ("/run", "/etc", "/var", "/home", "/root", "/tmp", "/mnt", "/srv", "/opt"):
    for directory, folders, files in os.walk(root):
        if directory in ("/run/credentials", "/var/cache/uv"):
            folders.clear()
        for name in files:
            path = os.path.join(directory, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as handle:
                    if secret in handle.read():
                        found.append(path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            if secret in handle.read():
                found.append(f"command line of {pid}")
    except FileNotFoundError:
        continue
for command in (["systemctl", "show", "*"], ["systemctl", "cat", "tpuops-*"], ["journalctl", "--all"]):
    if secret in subprocess.run(command, capture_output=True).stdout:
        found.append(" ".join(command))
print(found, [unit for unit in os.listdir("/run/credentials") if unit.startswith("tpuops")])
"""


def search(cloud: Cloud, vm: Machine) -> str:
    code = SEARCH.replace('"', '\\"')
    return cloud.ssh(vm, f'sudo python3 -c "{code}" {SECRET.encode().hex()}')


def restart(cloud: Cloud, vm: Machine, how: str) -> None:
    cloud.try_ssh(vm, f"sudo systemctl {how}")
    while not cloud.machines.watch_once():
        time.sleep(0.1)


def test_a_job_runs_once_shows_its_steps_and_leaves_nothing_but_its_record(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    begun = time.monotonic()
    first = controller.run(train(10, 0.5))
    took = time.monotonic() - begun
    second = controller.run(train(10, 0.5))
    assert "changed=1" in first
    assert re.search(r"^train  step 10/10  loss 1\.50  0\.5 s/step$", first, re.MULTILINE)
    assert re.search(r"^train  step \d+/10  loss 1\.50  0\.5 s/step  ETA \d+ s$", first, re.MULTILINE)
    assert "changed=0" in second
    assert "step" not in second
    left = record(cloud, vm)
    assert (left["status"], left["exit_code"], left["user"], left["runs"]) == ("finished", 0, JOBS, 1)
    assert left["peak_memory_bytes"] > 1_000_000
    assert 5 <= left["seconds"] < took
    assert runs(cloud, vm) == 1
    assert cloud.ssh(vm, "ls -A /run/tpuops").split() == [".start.lock", ".train.lock"]
    assert cloud.ssh(vm, "systemctl list-units --all --no-legend 'tpuops-*'") == ""
    assert cloud.ssh(vm, f"ls {RECORDS}").split() == ["train.json", "train.log"]


def test_a_record_is_for_root_and_a_log_for_the_jobs_user_as_well(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    stat = f"stat -c '%U %G %a' {RECORDS}/train.json {RECORDS}/train.log"
    controller.run({**train(200, 0.3), "state": "started"})
    while_running = cloud.ssh(vm, stat).splitlines()
    controller.run({"name": "train", "state": "stopped"})
    assert while_running == ["root root 600", f"root {JOBS} 640"]
    assert cloud.ssh(vm, stat).splitlines() == while_running


AWKWARD = "../it's \\x2d %n $(reboot) ä"


def test_any_name_can_name_a_job(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    first = controller.run({**train(2, 0), "name": AWKWARD})
    second = controller.run({**train(2, 0), "name": AWKWARD})
    assert "changed=1" in first
    assert "changed=0" in second
    assert AWKWARD in first
    names = cloud.ssh(vm, f"ls {RECORDS}").split()
    assert len(names) == 2
    assert re.fullmatch(r"it-s-x2d-n-reboot:[0-9a-f]{16}\.json", names[0])
    assert runs(cloud, vm) == 1


SANDBOX = f"""
import os, tempfile
mine = tempfile.mkstemp()[1]
open("{DISK}/out", "w").write(mine)
for path in ("/etc/tpuops-test", "/usr/tpuops-test"):
    try:
        open(path, "w")
    except OSError as error:
        print(path, error.strerror)
print(open("/proc/self/status").read())
os.stat("/dev/sdb")
open("{CHIP}", "r+b", buffering=0).write(b"x")
home = os.environ["HOME"]
open(home + "/writable", "w").close()
print("home", home, "in reach", [path for path in ("/home", "/root") if os.access(path, os.X_OK)])
"""


def test_a_job_runs_in_a_sandbox(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    job = {"name": "sandbox", "argv": ["/usr/bin/python3", "-c", SANDBOX], "outputs": [f"{DISK}/out"]}
    controller.run(job)
    log = cloud.ssh(vm, f"sudo cat {RECORDS}/sandbox.log")
    assert "/etc/tpuops-test Read-only file system" in log
    assert "/usr/tpuops-test Read-only file system" in log
    assert re.search(r"^NoNewPrivs:\s+1$", log, re.MULTILINE)
    assert re.search(r"^CapBnd:\s+0+$", log, re.MULTILINE)
    assert f"home /var/lib/{JOBS} in reach []" in log
    temporary = cloud.ssh(vm, f"cat {DISK}/out")
    assert temporary.startswith("/tmp/")
    cloud.ssh(vm, f"test ! -e {temporary}")


def test_a_job_in_the_background_gives_way(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    def properties() -> list[str]:  # systemd has its own order
        return cloud.ssh(vm, "systemctl show -p Nice,CPUWeight,IOWeight tpuops-ahead.service").split()

    gives_way = ["CPUWeight=1", "IOWeight=1", "Nice=19"]
    job = {"name": "ahead", "argv": ["sleep", "1000"], "outputs": [], "background": True}
    controller.run({**job, "state": "started"})
    assert properties() == gives_way
    # Another task attaches to it.
    assert "changed=1" in controller.run({**job, "background": False, "state": "started"})
    assert properties() == gives_way
    controller.run({"name": "ahead", "state": "stopped"})
    controller.run({**job, "background": False, "state": "started"})
    assert not {*properties()} & {*gives_way}
    controller.run({"name": "ahead", "state": "stopped"})


# Reads what it can of the processes that are named: their environment, and their credentials by the two ways.
SPY = """
import os, sys
print("I see myself:", "PATH=" in open("/proc/self/environ").read())
ways = [f"/proc/{pid}/{way}" for pid in sys.argv[1:] for way in (
    "environ", "mem", "maps", "root/run/credentials/tpuops-train.service/HF_TOKEN")]
for path in [*ways, "/run/credentials/tpuops-train.service/HF_TOKEN"]:
    try:
        text = open(path, "rb").read(100000)
    except OSError as error:
        print("closed", path, error.strerror)
    else:
        print("OPEN", path, b"HF_TOKEN" in text)
print("listed", set(sys.argv[1:]) & set(os.listdir("/proc")))
"""
# As hf_repo runs the Hub's client.
CLIENT = f"""
import subprocess
env = dict(HF_TOKEN=bytes.fromhex("{SECRET.encode().hex()}").decode())
options = dict(user=60801, group=60801, extra_groups=[], stdin=-3, stdout=-3, stderr=-3)
print(subprocess.Popen(["sleep", "1000"], env=env, **options).pid)
"""


def test_a_job_reads_no_token_of_another_process_of_its_user(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    controller.run({**train(200, 0.3), "state": "started"})
    pids = cloud.ssh(vm, "cat /sys/fs/cgroup/unified/system.slice/tpuops-train.service/cgroup.procs").split()
    client = cloud.ssh(vm, f"sudo python3 -c {shlex.quote(CLIENT)}").strip()
    spy = {"name": "spy", "argv": ["/usr/bin/python3", "-c", SPY, *pids, client]}
    controller.run(spy)
    owners = cloud.ssh(vm, f"ps -o user= -p {','.join([*pids, client])}").split()
    cloud.ssh(vm, f"sudo kill {client}")
    controller.run({"name": "train", "state": "stopped"})
    told = cloud.ssh(vm, f"sudo cat {RECORDS}/spy.log")
    assert len(pids) == 2, "the runner and the command"
    assert owners == [JOBS] * 3
    assert "I see myself: True" in told
    assert "OPEN" not in told
    assert told.count("closed") == 4 * 3 + 1
    assert "listed set()" in told


FORWARD = ("-W", "127.0.0.1:22")  # sshd's own banner, over a forwarded port


def test_nobody_logs_in_as_the_user_of_the_jobs(cloud: Cloud, vm: Machine) -> None:
    """Also with a key that a job has put there, and also not to forward a port."""
    assert "SSH-2.0" in cloud.try_ssh(vm, "", more=FORWARD).stdout
    for user in (JOBS, SERVER):
        place = f"/var/lib/{user}/.ssh"
        cloud.ssh(
            vm,
            f"sudo install -d -o {user} -m 700 {place} && "
            f"sudo install -o {user} -m 600 ~/.ssh/authorized_keys {place}/authorized_keys",
        )
        assert cloud.try_ssh(vm, "", user=user, more=FORWARD).stdout == ""
        assert cloud.try_ssh(vm, f"sudo -u {user} sudo -n true").returncode != 0
        assert cloud.ssh(vm, f"sudo getent shadow {user}").split(":")[1:2] == ["!"]


def test_the_users_are_created_once(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    assert "changed=0" in controller.run(USERS, module="system_users")
    ids = cloud.ssh(vm, f"id -u {JOBS}; id -g {JOBS}; id -u {SERVER}; stat -c '%U %a' /var/lib/{JOBS}")
    assert ids.split() == ["60801", "60801", "60802", JOBS, "700"]


def test_a_disk_of_an_older_version_is_taken_over_when_its_job_has_ended(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    """Its jobs ran as the user who logs in."""
    old = f"{DISK}/old"
    cloud.ssh(vm, f"mkdir {old} && touch {old}/file")
    cloud.ssh(vm, f"sudo systemd-run --collect --unit=tpuops-old --property=User={USER} sleep infinity")
    options = {"paths": [], "shared": [old], "owner": JOBS, "recursive": True}
    refused, status = controller.start(options, module="directories").finish()
    told = " ".join(refused.split())
    assert status == 2
    assert "while tpuops-old.service runs, a job of its former owner" in told
    printed = re.search(r"or stop it \((.*?) on the machine\)", told)
    assert printed
    cloud.ssh(vm, printed[1])
    assert "changed=1" in controller.run(options, module="directories")
    assert cloud.ssh(vm, f"stat -c %U {old} {old}/file").split() == ["root", JOBS]
    assert "changed=0" in controller.run(options, module="directories")
    cloud.ssh(vm, f"sudo rm -r {old}")


def test_the_login_user_reads_the_log_as_printed(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    told = controller.fail({"name": "bad", "argv": ["sh", "-c", "echo a line of the log; exit 1"]})
    printed = re.search(r"follow its log with: (.*)", told)
    assert printed
    follow = f"timeout --foreground 300 {printed[1]} | grep -m 1 'a line of the log'"
    assert cloud.ssh(vm, follow) == "a line of the log"


def test_a_jobs_exposure_is_what_the_documents_say(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    controller.run({**train(200, 0.3), "state": "started"})
    told = cloud.try_ssh(vm, "systemd-analyze security --no-pager tpuops-train.service").stdout
    controller.run({"name": "train", "state": "stopped"})
    exposure = re.search(r"Overall exposure level for tpuops-train.service: ([\d.]+)", told)
    assert exposure, told
    documented = re.search(r"^\| a job of a stage \| ([\d.]+) \|", SECURITY.read_text(), re.MULTILINE)
    assert documented
    assert float(exposure[1]) <= float(documented[1])


def test_a_job_is_refused_beside_what_it_conflicts_with(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    controller.run({**train(200, 0.3), "state": "started"})
    other = {"name": "serve", "argv": ["true"], "conflicts": ["vllm.service", "tpuops-*"]}
    told = " ".join(controller.fail(other).split())
    printed = re.search(
        r"cannot run beside tpuops-train.service\. .*? or stop it first: (.*? \S+\.service)", told
    )
    assert printed
    cloud.ssh(vm, printed[1])
    assert record(cloud, vm)["status"] == "stopped"
    assert "changed=1" in controller.run(other)


def test_a_job_that_needs_more_than_is_free_does_not_start(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    told = controller.fail({**train(1, 0), "disk_space": {"bytes": 50e9}})
    assert re.search(r"job train is about to write 50\.0 GB, but the disk of \S+ has [01]\.\d GB left", told)
    cloud.ssh(vm, f"test ! -e {DISK}/runs")


def test_a_command_that_fails_is_started_again_by_the_machine(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    script = f"echo run >> {DISK}/runs; test $(wc -l < {DISK}/runs) -ge 2"
    controller.run({"name": "again", "argv": ["sh", "-c", script], "restart": {"failed": 3}})
    left = record(cloud, vm, "again")
    assert (left["status"], left["attempts"], left["runs"]) == ("finished", 2, 1)


def test_changed_inputs_run_again_and_check_mode_says_so(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    controller.run(train(2, 0))
    told = controller.run(train(3, 0), "--check", "--diff")
    assert runs(cloud, vm) == 1
    assert "-    - '2'" in told
    assert "+    - '3'" in told
    controller.run(train(3, 0))
    assert runs(cloud, vm) == 2


def test_a_failure_names_its_cause(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    code = "import sys; print('loading'); sys.exit('ValueError: no column named messages')"
    job = {"name": "bad", "argv": ["/usr/bin/python3", "-c", code], "secrets": {"HF_TOKEN": SECRET}}
    told = controller.fail(job, "-vvv")
    assert re.search(r"job bad failed after \d+ s with exit status 1: ValueError: no column named mess", told)
    assert (
        f"unit tpuops-bad.service on vm; follow its log with: sudo tail -n 100 -F {RECORDS}/bad.log" in told
    )
    assert record(cloud, vm, "bad")["status"] == "failed"
    assert (search(cloud, vm), SECRET in told) == ("[] []", False)


def test_two_controllers_get_one_run(cloud: Cloud, vm: Machine, new_controller: MakeController) -> None:
    started = [new_controller().start(train(10, 0.5)) for _ in range(2)]
    ended = [playbook.finish() for playbook in started]
    assert [status for _told, status in ended] == [0, 0], ended
    assert runs(cloud, vm) == 1
    assert all("step 10/10" in told for told, _status in ended)


def test_a_job_outlives_its_controller(cloud: Cloud, vm: Machine, new_controller: MakeController) -> None:
    cloud.ssh(vm, f"touch {DISK}/hold")
    doomed = new_controller().start(train(10, 0.3))
    wait_for(cloud, vm, f"sudo grep -q 'step: 1' {RECORDS}/train.log")
    os.killpg(doomed.process.pid, signal.SIGKILL)
    doomed.finish()
    refused = new_controller().fail(train(11, 0.3))
    assert "job train is running and argv changed" in refused
    attached = new_controller().start(train(10, 0.3))
    attached.wait_until_told("step 1/10")
    cloud.ssh(vm, f"rm {DISK}/hold")
    told, status = attached.finish()
    assert status == 0, told
    assert "step 10/10" in told
    assert runs(cloud, vm) == 1


def test_a_daemon_reload_does_not_lose_the_record(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    running = controller.start(train(10, 0.5))
    wait_for(cloud, vm, f"sudo grep -q 'step: 2' {RECORDS}/train.log")
    cloud.ssh(vm, "sudo systemctl daemon-reload")
    told, status = running.finish()
    assert status == 0, told
    left = record(cloud, vm)
    assert (left["status"], left["exit_code"]) == ("finished", 0)
    cloud.ssh(vm, "test ! -e /run/tpuops/train")  # another job's lock may lie beside it


def test_ctrl_c_says_that_the_job_goes_on(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    playbook = controller.start(train(200, 0.3), "-e", "tpu_vm_name=vm", "-e", "hf_token=not-to-be-shown")
    playbook.wait_until_told("step ")
    os.killpg(playbook.process.pid, signal.SIGINT)
    told, status = playbook.finish()
    assert status == 99
    assert "Job train goes on without this command" in told
    command, where = (
        f"ansible-playbook -i {controller.home}/hosts.json",
        "-e tpu_vm_name=vm -e job_name=train",
    )
    assert f"{command} tpuops.maxtext.follow {where}\n" in told
    assert f"{command} tpuops.maxtext.stop {where}, or" in told
    assert "not-to-be-shown" not in told
    assert record(cloud, vm)["status"] == "running"
    printed = re.search(r"or on the machine: (.*)", told)
    assert printed
    cloud.ssh(vm, printed[1])
    left = record(cloud, vm)
    assert (left["status"], left["signal"]) == ("stopped", "SIGTERM")
    assert "changed=0" in controller.run({"name": "train", "state": "stopped"})


def test_out_of_time_even_when_the_command_ignores_it(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    stubborn = "trap 'echo still here' TERM; while :; do sleep 0.1; done"
    job = {"name": "slow", "argv": ["sh", "-c", stubborn], "secrets": {"HF_TOKEN": SECRET}}
    told = controller.fail({**job, "timeout": 2, "stop_timeout": 1}, "-vvv")
    assert re.search(r"job slow ran out of time after \d+ s: it ran longer than 2 s", told)
    assert "still here" in told
    left = record(cloud, vm, "slow")
    assert (left["status"], left["signal"]) == ("timeout", "SIGKILL")
    assert (search(cloud, vm), SECRET in told) == ("[] []", False)


def test_a_cut_network_is_waited_out(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    links = json.loads(output("ip", "-json", "link", "show", "master", cloud.config.bridge))
    (link,) = [each["ifname"] for each in links]
    playbook = controller.start(train(40, 0.2), "-vvv")
    playbook.wait_until_told("step ")
    output("ip", "link", "set", link, "down")
    try:
        playbook.wait_until_told("connection lost; trying again")
        attempt = "ESTABLISH SSH CONNECTION"
        playbook.wait_until_told(attempt, times=playbook.told().count(attempt) + 3)
    finally:
        output("ip", "link", "set", link, "up")
    told, status = playbook.finish()
    assert status == 0, told
    assert "step 40/40" in told
    assert runs(cloud, vm) == 1


def test_a_killed_runner_is_a_failure(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    playbook = controller.start(train(100, 0.3), "-vvv")
    wait_for(cloud, vm, f"sudo grep -q 'step: 2' {RECORDS}/train.log")
    cloud.ssh(vm, "sudo systemctl kill --kill-who=main --signal=KILL tpuops-train.service")
    told, status = playbook.finish()
    assert status == 2
    assert re.search(r"job train failed after \d+ s by SIGKILL", told)
    assert (search(cloud, vm), SECRET in told) == ("[] []", False)


def test_the_secret_is_found_nowhere(cloud: Cloud, vm: Machine, controller: Controller) -> None:
    told = controller.run({**train(200, 0.3), "state": "started"}, "-vvv")
    wait_for(cloud, vm, f"sudo grep -q 'step: 1' {RECORDS}/train.log")
    while_running = search(cloud, vm)
    told += controller.run({"name": "train", "state": "stopped"}, "-vvv")
    afterwards = search(cloud, vm)
    assert while_running == "[] ['tpuops-train.service']"
    assert afterwards == "[] []"
    assert SECRET not in told
    assert "the value of HF_TOKEN is also part of argv" in controller.fail(
        {**train(1, 0), "argv": ["echo", SECRET]}
    )


def test_the_search_finds_what_is_there(cloud: Cloud, vm: Machine) -> None:
    cloud.ssh(
        vm, f"python3 -c \"open('/home/{USER}/copy', 'wb').write(bytes.fromhex('{SECRET.encode().hex()}'))\""
    )
    assert f"/home/{USER}/copy" in search(cloud, vm)
    cloud.ssh(vm, f"rm /home/{USER}/copy")


def test_a_full_disk_leaves_a_record_with_that_word(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    code = f"f = open('{DISK}/big', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()"
    try:
        job = {"name": "fill", "argv": ["/usr/bin/python3", "-c", code], "secrets": {"HF_TOKEN": SECRET}}
        told = controller.fail(job, "-vvv")
        left = record(cloud, vm, "fill")
    finally:
        cloud.ssh(vm, f"rm -f {DISK}/big")
    assert "No space left on device" in told
    assert (left["status"], left["exit_code"]) == ("failed", 1)
    assert (search(cloud, vm), SECRET in told) == ("[] []", False)


@pytest.mark.parametrize(
    ("reboot", "reason"),
    [
        ("reboot", "the machine shut down"),
        ("reboot --force --force", "the machine restarted or was replaced while it ran"),
    ],
)
def test_a_job_of_an_earlier_boot_is_interrupted_and_runs_again(
    cloud: Cloud, vm: Machine, controller: Controller, reboot: str, reason: str
) -> None:
    playbook = controller.start(train(500, 0.3), "-vvv")
    wait_for(cloud, vm, f"sudo grep -q 'step: 1' {RECORDS}/train.log")
    restart(cloud, vm, reboot)
    told, status = playbook.finish()
    assert status == 2, told
    assert re.search(rf"job train was interrupted.*: {reason}", told), told
    assert record(cloud, vm)["runs"] == 1
    assert (search(cloud, vm), SECRET in told) == ("[] []", False)
    again = controller.run({**train(500, 0.3), "state": "started"})
    assert "changed=1" in again
    assert record(cloud, vm)["runs"] == 2
    controller.run({"name": "train", "state": "stopped"})


def test_an_interrupted_job_goes_on_where_that_is_allowed(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    cloud.ssh(vm, f"touch {DISK}/hold")
    playbook = controller.start({**train(20, 0.1), "restart": {"interrupted": 1}})
    wait_for(cloud, vm, f"sudo grep -q 'step: 1' {RECORDS}/train.log")
    restart(cloud, vm, "reboot --force --force")
    # The disk may be mounted between the rm and the check: then it is tried again.
    wait_for(cloud, vm, f"rm -f {DISK}/hold && mountpoint --quiet {DISK} && ! test -e {DISK}/hold")
    told, status = playbook.finish()
    assert status == 0, told
    assert "the machine restarted or was replaced while it ran; starting it again" in told
    assert "step 20/20" in told
    left = record(cloud, vm)
    assert (left["status"], left["runs"], runs(cloud, vm)) == ("finished", 2, 2)


def test_a_finished_job_is_not_run_again_before_its_disk_is_mounted(
    cloud: Cloud, vm: Machine, controller: Controller
) -> None:
    controller.run(train(2, 0))
    cloud.ssh(vm, "sudo systemctl stop mnt-disks-checkpoints.mount")
    assert cloud.ssh(vm, f"ls -A {DISK}") == ""
    told = controller.run(train(2, 0))
    assert "changed=0" in told
    assert runs(cloud, vm) == 1
    cloud.ssh(vm, f"mountpoint --quiet {DISK}")
