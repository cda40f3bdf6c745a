# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from testinfra.host import Host


def test_the_user_of_the_key_is_logged_in_and_may_become_root(vm: Host) -> None:
    assert vm.user().name == "tpu"
    assert vm.check_output("sudo -n id -un") == "root"


def test_root_cannot_log_in_with_the_key(vm: Host) -> None:
    assert "permitrootlogin no" in vm.check_output("sudo -n sshd -T").splitlines()


def test_the_data_disk_is_attached_by_id(vm: Host) -> None:
    assert vm.run("test -b /dev/disk/by-id/google-persistent-disk-1").rc == 0


def test_the_metadata_server_knows_the_node(vm: Host) -> None:
    name = vm.check_output(
        "curl --silent --fail --header 'Metadata-Flavor: Google' "
        "http://metadata.google.internal/computeMetadata/v1/instance/attributes/accelerator-type"
    )
    assert name == "v5litepod-8"
