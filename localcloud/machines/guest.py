# SPDX-License-Identifier: GPL-3.0-or-later
"""What is inside a machine: its identity, its host keys, its accounts and the nodes of its disks."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .commands import run
from .disk import DiskAttachment
from .firewall import METADATA_ADDRESS
from .process import text_of
from .runtimes import Runtime

_ACCOUNTS = Path(__file__).with_name("accounts.py")
# What runs inside a machine sees nothing of the server's environment.
_CLEAN_ENVIRONMENT = ("/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")
DISKS_FILE = "etc/tmpfiles.d/local-tpu-disks.conf"


def seed_runtime(upper: Path, image: Path, runtime: Runtime) -> None:
    """Make a bound Python find its own library, which it was built to find elsewhere."""
    for libc in image.glob("usr/lib/*/libc.so.6"):
        directory = upper / libc.parent.relative_to(image)
        for library in runtime.shared_libraries:
            make_directory(upper, directory)
            (directory / library).unlink(missing_ok=True)
            (directory / library).symlink_to(f"{runtime.target}/lib/{library}")


def write_identity(upper: Path, hostname: str, address: str, resolv_conf: str) -> None:
    """Name, addresses and keys of a machine, into the upper directory of its root while that isn't mounted.

    What makes the machine recognisable (machine id, host keys) is made once; the rest follows the arguments.
    """
    files = {
        "etc/hostname": f"{hostname}\n",
        "etc/hosts": (
            f"127.0.0.1 localhost\n{address} {hostname}\n"
            f"{METADATA_ADDRESS} metadata.google.internal metadata\n::1 localhost ip6-localhost\n"
        ),
        "etc/resolv.conf": resolv_conf,
    }
    if not (upper / "etc/machine-id").exists():
        files["etc/machine-id"] = f"{uuid.uuid4().hex}\n"
    for name, text in files.items():
        _replace(upper, name, text)
    make_directory(upper, upper / "etc/ssh")
    run(["ssh-keygen", "-A", "-f", str(upper)])


def host_keys(upper: Path) -> dict[str, str]:
    """The machine's public host keys, key type -> base64."""
    lines = [file.read_text().split() for file in sorted(upper.glob("etc/ssh/ssh_host_*_key.pub"))]
    return {words[0]: words[1] for words in lines}


def write_disk_nodes(upper: Path, nodes: Mapping[DiskAttachment, tuple[int, int]]) -> None:
    """Have systemd make the nodes and links of the disks (attachment -> device number) at the next boot.

    There is no udev for them, and mount units of the data disk look for them before local-fs.target.
    """
    lines = [
        f"b {disk.device} {_mode(disk)} root disk - {major}:{minor}\n"
        f"L+ {disk.link} - - - - {_relative(disk)}\n"
        for disk, (major, minor) in nodes.items()
    ]
    _replace(upper, DISKS_FILE, "".join(lines))


def add_disk_node(leader: int, disk: DiskAttachment, number: tuple[int, int]) -> None:
    """Make a disk appear in a machine that runs."""
    major, minor = number
    link = shlex.quote(disk.link)
    _enter(
        leader,
        f"mkdir -p {shlex.quote(str(Path(disk.link).parent))} && rm -f {disk.device} && "
        f"mknod -m {_mode(disk)} {disk.device} b {major} {minor} && chgrp disk {disk.device} && "
        f"ln -sfn {_relative(disk)} {link}",
    )


def remove_disk_node(leader: int, disk: DiskAttachment) -> None:
    """Make a disk disappear from a machine that runs."""
    _enter(leader, f"rm -f {disk.device} {shlex.quote(disk.link)}")


def set_accounts(root: Path, leader: int | None, keys: Mapping[str, Sequence[str]]) -> None:
    """Give the machine's users these keys; in its own namespaces where it runs, else in its mounted root."""
    place = _namespaces(leader) if leader else ["chroot", str(root)]
    script = ["/usr/bin/python3", "-I", "-c", _ACCOUNTS.read_text()]
    run(
        [*place, *_CLEAN_ENVIRONMENT, *script],
        stdin=json.dumps({user: list(lines) for user, lines in keys.items()}),
    )


def leader_of(nspawn: int, children: Iterable[int] | None = None) -> int | None:
    """Number (on the host) of the machine's first process; None before it was made."""
    if children is None:
        text = text_of(Path(f"/proc/{nspawn}/task/{nspawn}/children"))
        children = [int(word) for word in text.split()]
    for child in children:
        status = text_of(Path(f"/proc/{child}/status"))
        if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in status.splitlines()):
            return child
    return None


def _enter(leader: int, script: str) -> None:
    run([*_namespaces(leader), *_CLEAN_ENVIRONMENT, "/bin/sh", "-c", script])


def _namespaces(leader: int) -> list[str]:
    return [
        "nsenter",
        f"--target={leader}",
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--root",
        "--wd",
        "--",
    ]


def _relative(disk: DiskAttachment) -> str:
    return f"../../{Path(disk.device).name}"


def _mode(disk: DiskAttachment) -> str:
    return "0440" if disk.read_only else "0660"


def make_directory(upper: Path, directory: Path) -> None:
    """Make a directory of `upper`, and those above it, as open as Debian's: the guest sees the upper mode."""
    if not directory.exists():
        if directory != upper:
            make_directory(upper, directory.parent)
        directory.mkdir()
        directory.chmod(0o755)


def _replace(upper: Path, name: str, text: str) -> None:
    """Write a file anew: what the guest left in its place may be a link or the mark of a deleted file."""
    file = upper / name
    make_directory(upper, file.parent)
    file.unlink(missing_ok=True)
    file.write_text(text)
    file.chmod(0o644)
