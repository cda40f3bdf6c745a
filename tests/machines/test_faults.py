# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong with real machines on command, and that it can be undone. Needs root."""

from __future__ import annotations

import socket
import time

import pytest
import yaml

from localcloud.machines import DiskAttachment, Machine, MachineError, MachineSpec
from tests.e2e.support import ROOT

from .support import Cloud, CloudFactory, output, traces

pytestmark = pytest.mark.machines

BY_ID = "/dev/disk/by-id/google-persistent-disk-1"
MOUNTED = f"mountpoint -q /mnt || sudo mount {BY_ID} /mnt"


@pytest.fixture(scope="module")
def cloud(new_cloud: CloudFactory) -> Cloud:
    return new_cloud()


@pytest.fixture(scope="module")
def machine(cloud: Cloud) -> Machine:
    cloud.machines.create_disk("data", 1)
    machine = cloud.boot(MachineSpec("vm", "vm", (DiskAttachment("data", 1),)))
    cloud.ssh(machine, f"sudo mkfs.ext4 -q {BY_ID}")
    return machine


@pytest.fixture
def vm(cloud: Cloud, machine: Machine) -> Machine:
    """A machine without faults, its disk mounted on /mnt."""
    cloud.machines.heal(machine.name)
    cloud.ssh(machine, MOUNTED)
    return machine


def test_a_reboot_ends_what_runs_and_keeps_the_disk(cloud: Cloud, vm: Machine) -> None:
    cloud.ssh(vm, "echo precious | sudo tee /mnt/file && sync && sudo systemd-run --unit=work sleep 1000")
    cloud.machines.reboot(vm.name)
    assert cloud.machines.get(vm.name) == vm
    assert cloud.try_ssh(vm, "systemctl is-active work").stdout.strip() == "inactive"
    assert cloud.ssh(vm, f"{MOUNTED}; cat /mnt/file") == "precious"


@pytest.mark.parametrize("which", [{"unit": "victim.service"}, {"pattern": r"sleep 31415\b"}])
def test_only_the_processes_meant_are_killed(cloud: Cloud, vm: Machine, which: dict[str, str]) -> None:
    cloud.ssh(
        vm, "sudo systemctl reset-failed victim bystander 2>/dev/null; sudo systemctl stop bystander; true"
    )
    # Each is seen only once it runs its own program.
    start = "sudo systemd-run --property=Type=exec --unit"
    cloud.ssh(vm, f"{start}=victim sleep 31415; {start}=bystander sleep 27182")
    assert cloud.machines.kill(vm.name, **which) == ["/usr/bin/sleep 31415"]
    cloud.ssh(vm, "while systemctl is-active --quiet victim; do sleep 0.05; done")
    assert cloud.ssh(vm, "systemctl show -P Result victim; systemctl is-active bystander").split() == [
        "signal",
        "active",
    ]
    with pytest.raises(MachineError, match="no process of the machine is of"):
        cloud.machines.kill(vm.name, **which)


def test_a_cut_machine_is_out_of_reach_until_it_is_healed(cloud: Cloud, vm: Machine) -> None:
    cloud.machines.cut(vm.name)
    output("ip", "neighbour", "flush", "to", vm.address, "dev", cloud.config.bridge)
    with pytest.raises(OSError, match=r"timed out|No route"):
        # After 3 s the host gives up the address; it asked for it for the last time a second before.
        socket.create_connection((vm.address, 22), timeout=2.9)
    cloud.again().heal(vm.name)
    assert cloud.ssh(vm, "echo back") == "back"


def test_a_slow_network_is_slow_both_ways_and_stays_so_over_a_reboot(cloud: Cloud, vm: Machine) -> None:
    def seconds() -> float:
        start = time.monotonic()
        assert len(cloud.ssh(vm, "head -c 400000 /dev/zero | base64 -w 0")) > 400000
        return time.monotonic() - start

    cloud.machines.slow(vm.name, 1000)
    assert seconds() > 2  # 533,336 bytes at a megabit a second take four
    cloud.machines.reboot(vm.name)
    assert seconds() > 2
    link = f"v{cloud.config.instance_id[:6]}-2"
    assert "rate 1Mbit" in output("tc", "qdisc", "show", "dev", link)
    cloud.machines.heal(vm.name)
    assert "tbf" not in output("tc", "qdisc", "show", "dev", link)


def test_a_filled_disk_has_no_room_even_for_root(cloud: Cloud, vm: Machine) -> None:
    assert cloud.machines.fill_disk(vm.name) > 800 << 20
    full = cloud.try_ssh(vm, "sudo dd if=/dev/zero of=/mnt/more bs=64k count=1")
    assert "No space left on device" in full.stderr
    cloud.machines.heal(vm.name)
    cloud.ssh(vm, "sudo dd if=/dev/zero of=/mnt/more bs=1M count=100 && sudo rm /mnt/more")


def test_a_disk_that_is_not_mounted_cannot_be_filled(cloud: Cloud, vm: Machine) -> None:
    cloud.ssh(vm, "sudo umount /mnt")
    with pytest.raises(MachineError, match="data is not mounted in vm"):
        cloud.machines.fill_disk(vm.name)
    with pytest.raises(MachineError, match="no disk 'other'"):
        cloud.machines.fill_disk(vm.name, "other")


def test_a_failing_disk_gives_io_errors_and_keeps_its_contents(cloud: Cloud, vm: Machine) -> None:
    cloud.ssh(vm, "echo precious | sudo tee /mnt/kept && sync")
    cloud.machines.fail_disk(vm.name)
    failed = cloud.try_ssh(vm, "sudo dd if=/dev/zero of=/mnt/more bs=1M count=8 conv=fsync")
    assert "Input/output error" in failed.stderr
    cloud.machines.heal(vm.name)
    cloud.ssh(vm, f"sudo umount /mnt; sudo e2fsck -p {BY_ID} >/dev/null; {MOUNTED}")
    assert cloud.ssh(vm, "cat /mnt/kept") == "precious"


def test_a_file_that_had_its_name_is_whole_after_the_disk_failed(cloud: Cloud, vm: Machine) -> None:
    """As of a program that syncs nothing; the sync of another file writes down the names of both."""
    defaults = yaml.safe_load((ROOT / "roles/data_disk/defaults/main.yml").read_text())
    options = ",".join(defaults["data_disk_mount_options"])
    cloud.ssh(vm, f"sudo umount /mnt && sudo mount -o {options} {BY_ID} /mnt && sudo chmod 777 /mnt")
    download = "head -c 5000000 /dev/zero | tr '\\0' x > /mnt/download && mv /mnt/download /mnt/weights"
    cloud.ssh(vm, f"{download} && dd if=/dev/zero of=/mnt/record bs=1k count=1 conv=fsync")
    cloud.machines.fail_disk(vm.name)
    cloud.ssh(vm, "sync; sudo umount /mnt")
    cloud.machines.heal(vm.name)
    cloud.ssh(vm, f"sudo e2fsck -p {BY_ID} >/dev/null; {MOUNTED}")
    assert cloud.ssh(vm, "tr -d x < /mnt/weights | wc -c; wc -c < /mnt/weights").split() == ["0", "5000000"]


def test_nothing_is_left_of_a_machine_with_faults(new_cloud: CloudFactory) -> None:
    cloud = new_cloud()
    cloud.machines.create_disk("data", 1)
    machine = cloud.boot(MachineSpec("vm", "vm", (DiskAttachment("data", 1),)))
    cloud.ssh(machine, f"sudo mkfs.ext4 -q {BY_ID} && sudo mount {BY_ID} /mnt")
    cloud.machines.fill_disk("vm")
    cloud.machines.slow("vm", 1000)
    cloud.machines.fail_disk("vm")
    cloud.machines.cut("vm")
    cloud.machines.teardown()
    assert traces(cloud.config) == {}
