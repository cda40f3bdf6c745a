# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from testinfra.host import Host


def test_the_environment_runs_on_python_3_12_or_newer(vm: Host, mount_point: str) -> None:
    major, minor = vm.check_output(
        f"{mount_point}/env/train/bin/python -c 'import sys; print(*sys.version_info[:2])'"
    ).split()
    assert (int(major), int(minor)) >= (3, 12)


def test_maxtext_and_its_trainer_are_there(vm: Host, mount_point: str) -> None:
    found = vm.check_output(
        f"{mount_point}/env/train/bin/python -c 'from importlib.util import find_spec; "
        'print(all(map(find_spec, ("maxtext.trainers.post_train.sft.train_sft", "tunix"))))\''
    )
    assert found.splitlines()[-1] == "True"


def test_the_environment_is_named_after_its_lock(vm: Host, mount_point: str) -> None:
    assert vm.file(f"{mount_point}/env/train").linked_to.startswith(f"{mount_point}/env/train-")
