# SPDX-License-Identifier: GPL-3.0-or-later
"""Running the host's tools, and the one error that this package raises."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path

# What the host needs, by the command that shows it is there; Debian's and Ubuntu's package names.
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "ssh-keygen": "openssh-client",
    "losetup": "mount",
    "nsenter": "util-linux",
}
# mmdebstrap checks the archive's signature with this keyring, which Ubuntu does not install by itself.
KEYRING = "debian-archive-keyring"
SYSTEM_PACKAGES = (*sorted(TOOLS.values()), KEYRING)

_KEYRING_FILES = "debian-archive-keyring.[gp]*"  # named .gpg up to Debian 12, .pgp from 13 on
_KEYRINGS = Path("/usr/share/keyrings")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MachineError(Exception):
    """A machine, disk or network could not be brought into the state asked for, and what to do about it."""


def missing_packages() -> list[str]:
    """Packages of SYSTEM_PACKAGES that are not on this host."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool, path=_PATH) is None}
    if not any(_KEYRINGS.glob(_KEYRING_FILES)):
        missing.add(KEYRING)
    return sorted(missing)


def tool_environment() -> dict[str, str]:
    """The caller's environment with the system directories on PATH and messages in English."""
    return {**os.environ, "PATH": _PATH, "LC_ALL": "C"}


def run(argv: Sequence[str], stdin: str = "", check: bool = True) -> str:
    """Run a command to its end and return its standard output.

    Raises MachineError with the command and its last words when it fails and `check` is set.
    """
    result = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, env=tool_environment(), check=False
    )
    if check and result.returncode != 0:
        words = (result.stderr.strip() or result.stdout.strip() or "no message").splitlines()[-5:]
        command = textwrap.shorten(shlex.join(argv), 200)
        raise MachineError(f"{command} failed with exit status {result.returncode}: {' '.join(words)}")
    return result.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether a command exits with status 0."""
    return subprocess.run(argv, capture_output=True, env=tool_environment(), check=False).returncode == 0
