# SPDX-License-Identifier: GPL-3.0-or-later
"""Real machines: what a user, a role and the local cloud's server rely on. Needs root."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from localcloud.machines import DiskAttachment, Machine, MachineError, MachineSpec

from .support import Cloud, CloudFactory, output, traces

pytestmark = pytest.mark.machines

BY_ID = "/dev/disk/by-id/google-persistent-disk-1"
FORWARD = "/proc/sys/net/ipv4/ip_forward"
MOUNT_UNIT = (
    f"[Mount]\\nWhat={BY_ID}\\nWhere=/mnt/data\\nOptions=discard\\n[Install]\\nWantedBy=multi-user.target\\n"
)


@pytest.fixture(scope="module")
def cloud(new_cloud: CloudFactory) -> Cloud:
    return new_cloud()


class Metadata(http.server.BaseHTTPRequestHandler):
    """Answers with the address that asks, and as told where it is asked for the startup script."""

    startup_script = (404, "")

    def do_GET(self) -> None:
        asked_for_script = self.path.endswith("/instance/attributes/startup-script")
        status, text = self.startup_script if asked_for_script else (200, self.client_address[0])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture(scope="module")
def metadata(cloud: Cloud) -> Iterator[type[Metadata]]:
    place = (str(cloud.config.address), cloud.config.metadata_port)
    with http.server.ThreadingHTTPServer(place, Metadata) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Metadata
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def vm(cloud: Cloud, metadata: type[Metadata]) -> Machine:
    """A machine with a data disk that is formatted and mounted by a systemd unit."""
    cloud.machines.create_disk("data", 1)
    machine = cloud.boot(MachineSpec("vm-0", "t1v-n-0-w-0", (DiskAttachment("data", 1),)))
    cloud.ssh(
        machine,
        f"sudo mkfs.ext4 -q {BY_ID} && printf '{MOUNT_UNIT}' | sudo tee /etc/systemd/system/mnt-data.mount "
        f"&& sudo systemctl enable --now mnt-data.mount && echo precious | sudo tee /mnt/data/file",
    )
    return machine


def nspawn_pid(cloud: Cloud, name: str) -> int:
    file = cloud.config.state_dir / "machines" / name / "nspawn.pid"
    return int(json.loads(file.read_text())["pid"])


def kill_hard(cloud: Cloud, name: str) -> None:
    os.kill(nspawn_pid(cloud, name), signal.SIGKILL)
    while is_running(cloud, name):
        pass


def is_running(cloud: Cloud, name: str) -> bool:
    machine = cloud.machines.get(name)
    return machine is not None and machine.running


def revive(cloud: Cloud) -> str:
    """Watch as the server does until a machine was booted again; its name."""
    while not (revived := cloud.machines.watch_once()):
        pass
    (name,) = revived
    return str(name)


# The guest


def test_a_user_gets_in_with_its_key_and_has_sudo(cloud: Cloud, vm: Machine) -> None:
    assert cloud.ssh(vm, "id -u; sudo -n id -u; hostname").split() == ["1000", "0", "t1v-n-0-w-0"]
    assert cloud.ssh(vm, "systemctl is-system-running --wait") == "running"


# What systemd, sshd, sudo, mounts and jobs use, by the numbers of capabilities(7): chown, dac_override,
# fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, ipc_lock, sys_chroot,
# sys_ptrace, sys_admin, sys_boot, sys_nice, sys_resource, mknod, audit_write, setfcap.
NEEDED = {0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 14, 18, 19, 21, 22, 23, 24, 27, 29, 31}


def test_root_of_a_machine_has_no_right_that_it_does_not_need(cloud: Cloud, vm: Machine) -> None:
    bound = int(cloud.ssh(vm, "sudo grep CapBnd /proc/1/status").split()[1], 16)
    assert {number for number in range(64) if bound >> number & 1} <= NEEDED  # a host may lack some itself


@pytest.mark.parametrize(
    "command",
    [
        "date --set=@$(date +%s)",
        "dmesg",
        "head -c 1 /dev/mem",
        "mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
        "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg",
        "sh -c 'echo h > /proc/sysrq-trigger'",
        "sh -c 'cat /proc/sys/kernel/core_pattern > /proc/sys/kernel/core_pattern'",
    ],
)
def test_root_of_a_machine_does_not_reach_the_hosts_kernel(cloud: Cloud, vm: Machine, command: str) -> None:
    done = cloud.try_ssh(vm, f"sudo {command}")
    assert done.returncode != 0, done.stdout


def test_root_and_passwords_are_refused(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.set_authorized_keys(vm.name, {"tpu": [cloud.public_key], "root": [cloud.public_key]})
    refused = cloud.try_ssh(vm, "id", user="root")
    assert refused.returncode == 255
    assert "Permission denied (publickey)" in refused.stderr


def test_a_user_no_longer_named_loses_its_keys_and_sudo_but_not_its_home(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.set_authorized_keys(vm.name, {"tpu": [cloud.public_key], "guest": [cloud.public_key]})
    assert cloud.try_ssh(vm, "echo kept > file", user="guest").returncode == 0
    cloud.machines.set_authorized_keys(vm.name, {"tpu": [cloud.public_key]})
    assert cloud.try_ssh(vm, "id", user="guest").returncode == 255
    assert cloud.ssh(vm, "sudo cat /home/guest/file; id -nG guest").split() == ["kept", "guest"]


def test_a_user_name_that_linux_refuses_is_an_error(cloud: Cloud, vm: Machine) -> None:
    with pytest.raises(MachineError, match="invalid user name 'No Name'"):
        cloud.machines.set_authorized_keys(vm.name, {"No Name": [cloud.public_key]})


def test_keys_can_be_set_while_the_machine_is_stopped(cloud: Cloud) -> None:
    cloud.machines.boot(MachineSpec("asleep", "asleep"))
    cloud.machines.stop("asleep")
    cloud.machines.set_authorized_keys("asleep", {"tpu": [cloud.public_key]})
    machine = cloud.machines.start("asleep")
    assert cloud.ssh(machine, "sudo -n id -u") == "0"
    cloud.machines.delete("asleep")


@pytest.mark.parametrize("host", ["metadata.google.internal", "169.254.169.254"])
def test_the_metadata_server_knows_who_asks(cloud: Cloud, vm: Machine, host: str) -> None:
    assert cloud.ssh(vm, f"curl -sS http://{host}/computeMetadata/v1/") == vm.address


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ((200, "#!/bin/sh\necho ran\n"), 0, "ran\n"),
        ((404, "no such attribute"), 0, ""),
        ((403, "not yours"), 1, ""),
    ],
)
def test_a_startup_script_is_run_and_none_is_no_failure(
    cloud: Cloud,
    vm: Machine,
    metadata: type[Metadata],
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, str],
    status: int,
    told: str,
) -> None:
    monkeypatch.setattr(metadata, "startup_script", answer)
    ran = cloud.try_ssh(vm, "sudo google_metadata_script_runner")
    assert (ran.returncode, ran.stdout) == (status, told), ran.stderr
    assert ("the metadata server answered 403" in ran.stderr) == (status == 1)


def test_the_servers_environment_stays_outside(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_do_not_leak")
    machine = cloud.boot(MachineSpec("clean", "clean"))
    environments = cloud.ssh(machine, "sudo sh -c 'cat /proc/[0-9]*/environ'")
    assert "PATH=" in environments
    assert "do_not_leak" not in environments
    cloud.machines.delete("clean")


@pytest.mark.parametrize(
    "options",
    [
        "-p ProtectSystem=strict -p ProtectHome=yes -p PrivateTmp=yes -p NoNewPrivileges=yes",
        "-p PrivateDevices=yes -p ProtectKernelTunables=yes -p ProtectKernelLogs=yes",
        "-p ProtectControlGroups=yes -p RestrictNamespaces=yes -p SystemCallFilter=@system-service",
        "-p LoadCredential=token:/etc/hostname -p User=tpu",
    ],
)
def test_systemds_sandboxes_and_credentials_work(cloud: Cloud, vm: Machine, options: str) -> None:
    command = "cat /etc/hostname"
    assert cloud.ssh(vm, f"sudo systemd-run --quiet --wait --pipe {options} {command}") == "t1v-n-0-w-0"


def test_a_units_result_and_log_can_be_read(cloud: Cloud, vm: Machine) -> None:
    cloud.ssh(vm, "sudo systemd-run --unit=job -p RemainAfterExit=yes sh -c 'echo said; exit 3'")
    cloud.ssh(vm, "while systemctl is-active --quiet job; do sleep 0.05; done")
    assert cloud.ssh(vm, "systemctl show -P ExecMainStatus job") == "3"
    assert "said" in cloud.ssh(vm, "sudo journalctl --unit=job -o cat").splitlines()


def test_pythons_for_maxtext_and_vllm_run_as_the_user(cloud: Cloud, vm: Machine) -> None:
    check = "import ssl, sqlite3, lzma, sys; assert sys.version_info >= {}; print(sys.prefix)"
    for python, least in ((cloud.machines.guest_python, (3, 12)), (cloud.machines.serve_python, (3, 9))):
        venv = f"rm -rf /tmp/venv && {python} -m venv /tmp/venv"
        assert cloud.ssh(vm, f"{venv} && /tmp/venv/bin/python -c '{check.format(least)}'") == "/tmp/venv"


def test_the_uv_cache_belongs_to_the_user_of_the_jobs(cloud: Cloud, vm: Machine) -> None:
    """By its number: no role has created the user."""
    cache = cloud.machines.uv_cache_dir
    probe = f"touch {cache}/.probe && rm {cache}/.probe && stat -c %u {cache}"
    user = "sudo setpriv --reuid=60801 --regid=60801 --clear-groups"
    assert cloud.ssh(vm, f"{user} sh -c '{probe}'") == "60801"


def test_the_hosts_wheels_are_there(cloud: Cloud, vm: Machine) -> None:
    directory = cloud.machines.wheels_dir
    there = cloud.try_ssh(vm, "ls /usr/local/share/wheels").returncode == 0
    assert there == (directory == "/usr/local/share/wheels")


# Disks


def test_a_data_disk_outlives_its_machine(cloud: Cloud) -> None:
    cloud.machines.create_disk("kept", 1)
    spec = MachineSpec("first", "first", (DiskAttachment("kept", 1),))
    cloud.ssh(
        cloud.boot(spec),
        f"sudo mkfs.ext4 -q {BY_ID} && sudo mount {BY_ID} /mnt && echo here | sudo tee /mnt/f",
    )
    cloud.machines.delete("first")
    second = cloud.boot(MachineSpec("second", "second", (DiskAttachment("kept", 1),)))
    assert cloud.ssh(second, f"sudo mount {BY_ID} /mnt && cat /mnt/f") == "here"
    with pytest.raises(MachineError, match="disk 'kept' is attached to second"):
        cloud.machines.delete_disk("kept")
    cloud.machines.delete("second")
    cloud.machines.delete_disk("kept")
    cloud.machines.delete_disk("kept")


def test_disks_come_and_go_while_the_machine_runs(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.create_disk("more", 1)
    cloud.machines.attach_disk(vm.name, DiskAttachment("more", 2, read_only=True))
    link = BY_ID.replace("-1", "-2")
    assert cloud.ssh(vm, f"readlink -f {link}; sudo blockdev --getsize64 --getro {link}").split() == [
        "/dev/sdc",
        str(2**30),
        "1",
    ]
    cloud.machines.create_disk("third", 1)
    with pytest.raises(MachineError, match="place 2"):
        cloud.machines.attach_disk(vm.name, DiskAttachment("third", 2))
    cloud.machines.detach_disk(vm.name, "more")
    cloud.machines.detach_disk(vm.name, "more")
    assert cloud.try_ssh(vm, f"test -e {link}").returncode == 1
    assert "more.img" not in output("losetup", "--list")


def test_a_disk_grows_under_a_running_machine(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.resize_disk("data", 2)
    assert cloud.ssh(vm, f"sudo blockdev --getsize64 {BY_ID}") == str(2**31)
    assert cloud.ssh(vm, "cat /mnt/data/file") == "precious"
    with pytest.raises(MachineError, match="cannot shrink"):
        cloud.machines.resize_disk("data", 1)


def test_one_disk_can_be_read_by_several_machines(cloud: Cloud) -> None:
    cloud.machines.create_disk("shared", 1)
    disk = DiskAttachment("shared", 1, read_only=True)
    readers = [cloud.boot(MachineSpec(f"reader-{n}", f"reader-{n}", (disk,))) for n in range(2)]
    with pytest.raises(MachineError, match="in use read-only, not read-write"):
        cloud.machines.boot(MachineSpec("writer", "writer", (DiskAttachment("shared", 1),)))
    cloud.machines.delete("reader-0")
    assert cloud.ssh(readers[1], f"sudo blockdev --getro {BY_ID}") == "1"
    for name in ("reader-1", "writer"):
        cloud.machines.delete(name)


# Life


def test_a_guest_that_reboots_comes_back_with_its_disk_mounted(cloud: Cloud, vm: Machine) -> None:
    cloud.try_ssh(vm, "sudo reboot")
    assert revive(cloud) == vm.name
    assert cloud.ssh(vm, "cat /mnt/data/file; readlink -f " + BY_ID).split() == ["precious", "/dev/sdb"]
    assert cloud.machines.get(vm.name) == vm


def test_a_machine_that_was_killed_hard_comes_back(cloud: Cloud, vm: Machine) -> None:
    kill_hard(cloud, vm.name)
    assert revive(cloud) == vm.name
    assert cloud.ssh(vm, "cat /mnt/data/file") == "precious"


def test_a_stopped_machine_stays_stopped_until_it_is_started(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.stop(vm.name)
    cloud.machines.stop(vm.name)
    assert cloud.machines.watch_once() == []
    assert not is_running(cloud, vm.name)
    assert cloud.machines.start(vm.name) == cloud.machines.start(vm.name) == vm
    assert cloud.ssh(vm, "cat /mnt/data/file") == "precious"


def test_the_watcher_keeps_away_from_a_machine_that_is_worked_on(cloud: Cloud, vm: Machine) -> None:
    done = threading.Event()
    revived: list[str] = []

    def watch() -> None:
        while not done.is_set():
            revived.extend(cloud.machines.watch_once())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(3):
            cloud.machines.stop(vm.name)
            cloud.machines.start(vm.name)
    finally:
        done.set()
        watcher.join()
    assert revived == []
    assert is_running(cloud, vm.name)


def test_machines_boot_side_by_side_with_addresses_of_their_own(cloud: Cloud) -> None:
    specs = [MachineSpec(f"slice-{n}", f"t1v-n-1-w-{n}") for n in range(4)]
    with ThreadPoolExecutor() as pool:
        booted = list(pool.map(cloud.boot, specs))
    assert len({machine.address for machine in booted}) == 4
    assert len({machine.host_keys["ssh-ed25519"] for machine in booted}) == 4
    # One machine's systemd must not see, nor end, another's services.
    cloud.ssh(booted[0], "sudo systemctl stop dbus.service dbus.socket")
    assert cloud.ssh(booted[1], "systemctl is-active dbus.service") == "active"
    with ThreadPoolExecutor() as pool:
        list(pool.map(cloud.machines.delete, [spec.name for spec in specs]))
    assert [machine.name for machine in cloud.machines.list() if machine.name.startswith("slice")] == []


def test_a_freed_address_is_given_again(cloud: Cloud) -> None:
    first = cloud.machines.boot(MachineSpec("one", "one"))
    cloud.machines.delete("one")
    second = cloud.machines.boot(MachineSpec("two", "two"))
    cloud.machines.delete("two")
    assert (first.address, first.host_keys) != (second.address, second.host_keys)
    assert first.address == second.address


def test_a_server_that_starts_again_adopts_what_runs(cloud: Cloud, vm: Machine) -> None:
    pid = nspawn_pid(cloud, vm.name)
    assert cloud.again().boot(MachineSpec(vm.name, vm.hostname, vm.disks)) == vm
    assert nspawn_pid(cloud, vm.name) == pid


def test_a_boot_that_fails_leaves_nothing_running(cloud: Cloud) -> None:
    with pytest.raises(MachineError, match="there is no disk 'missing'"):
        cloud.machines.boot(MachineSpec("failed", "failed", (DiskAttachment("missing", 1),)))
    assert not is_running(cloud, "failed")
    assert cloud.machines.watch_once() == []
    cloud.machines.delete("failed")
    cloud.machines.delete("failed")
    assert cloud.machines.get("failed") is None


@pytest.mark.parametrize("name", ["../other", "Upper", "", "-x", "a" * 64])
def test_names_that_could_not_be_a_host_are_refused(cloud: Cloud, name: str) -> None:
    with pytest.raises(MachineError, match="name"):
        cloud.machines.boot(MachineSpec(name, "host"))
    with pytest.raises(MachineError, match="name"):
        cloud.machines.create_disk(name, 1)


# Clouds


def ruin(cloud: Cloud) -> None:
    """What a power cut in the middle of everything looks like to the next start."""
    kill_hard(cloud, "vm")
    output("ip", "link", "delete", cloud.config.bridge)
    output("nft", "delete", "table", "ip", f"tpuops_{cloud.config.instance_id}")


def test_two_clouds_live_side_by_side_and_one_heals_alone(
    new_cloud: CloudFactory, cloud: Cloud, vm: Machine
) -> None:
    other = new_cloud()
    other.machines.create_disk("data", 1)
    spec = MachineSpec("vm", "vm", (DiskAttachment("data", 1),))
    first = other.boot(spec)
    ruin(other)
    machines = other.again()
    assert [machine.running for machine in machines.list()] == [False]
    assert machines.boot(spec).host_keys == first.host_keys
    assert other.ssh(first, "sudo -n id -u") == "0"
    machines.teardown()
    assert traces(other.config) == {}
    assert cloud.ssh(vm, "cat /mnt/data/file") == "precious"


def test_a_subnet_that_another_cloud_has_is_refused(new_cloud: CloudFactory, cloud: Cloud) -> None:
    taken = cloud.config.subnet
    half = next(taken.subnets())
    with pytest.raises(MachineError, match=rf"{half} overlaps {taken} on {cloud.config.bridge}"):
        new_cloud(half)


def test_suspend_keeps_machines_and_disks(new_cloud: CloudFactory) -> None:
    cloud = new_cloud()
    spec = MachineSpec("vm", "vm")
    before = cloud.boot(spec)
    cloud.machines.suspend()
    assert not is_running(cloud, "vm")
    assert cloud.machines.boot(spec) == before
    cloud.machines.teardown()
    assert traces(cloud.config) == {}


@pytest.mark.parametrize("state", ["whole", "killed", "lost"])
def test_teardown_leaves_the_host_as_it_was(new_cloud: CloudFactory, state: str) -> None:
    cloud = new_cloud()
    cloud.machines.create_disk("data", 1)
    machine = cloud.boot(MachineSpec("vm", "vm", (DiskAttachment("data", 1),)))
    cloud.ssh(machine, f"sudo mkfs.ext4 -q {BY_ID} && sudo mount {BY_ID} /mnt")
    assert set(traces(cloud.config)) >= {
        "processes",
        "namespaces",
        "links",
        "rules",
        "mounts",
        "loops",
        "groups",
    }
    if state == "killed":
        ruin(cloud)
    if state == "lost":
        (cloud.config.state_dir / "disks/data.img").unlink()
        for file in ("machine.json", "nspawn.pid"):
            (cloud.config.state_dir / "machines/vm" / file).unlink()
    cloud.machines.teardown()
    cloud.machines.teardown()
    assert traces(cloud.config) == {}
    assert not (cloud.config.state_dir / "machines").exists()
    assert not (cloud.config.state_dir / "disks").exists()


def test_teardown_of_a_cloud_that_never_was(new_cloud: CloudFactory, tmp_path: Path) -> None:
    cloud = new_cloud()
    cloud.machines.teardown()
    shutil.rmtree(cloud.config.state_dir)
    cloud.machines.teardown()
    assert not cloud.config.state_dir.exists()


def test_forwarding_is_restored_with_the_last_cloud() -> None:
    """In a network namespace of its own, since other clouds may live on this host."""
    script = 'mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; echo 0 > "$2"; exec "$0" -c "$1"'
    program = f"""
from ipaddress import IPv4Network
from pathlib import Path
from localcloud.machines.network import Network
forward = Path("{FORWARD}")
first = Network("11111111", IPv4Network("10.133.0.0/24"), 1)
second = Network("22222222", IPv4Network("10.134.0.0/24"), 2)
first.prepare(); first.connect(2); second.prepare(); second.connect(2)
states = [forward.read_text()]
first.teardown(); states.append(forward.read_text())
second.teardown(); states.append(forward.read_text())
print([state.strip() for state in states], Path('/run/netns').is_mount())
"""
    argv = ["unshare", "--net", "--mount", "bash", "-c", script, sys.executable, program, FORWARD]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.strip() == "['1', '1', '0'] False"
