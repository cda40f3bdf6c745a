#!/usr/bin/python
# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# pylint: disable=ansible-bad-function # it runs in the process of its task as well, and run_command is a module's

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_key_pair
short_description: Keep a pair of SSH keys that opens what is given its public half
version_added: 0.2.0
description:
  - Makes an Ed25519 pair when there is none, and the public half when only the private one is there.
  - Refuses a pair with which nobody could log in, such as a public key that belongs to another private key. A
    machine that is made with such a key costs money, and nobody gets in.
author:
  - The tpuops.maxtext maintainers (@tpuops)
extends_documentation_fragment:
  - tpuops.maxtext.attributes
attributes:
  check_mode:
    support: full
    details:
      - Of a pair that would be made, RV(public_key) is a valid key that opens nothing.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  path:
    description: The private key, as an absolute path; C(~) is the home of the account that runs this. The
      public one has C(.pub) behind it.
    type: path
    required: true
  comment:
    description: Comment of a pair that is made.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Make the key that gcloud uses as well
  tpuops.maxtext.ssh_key_pair:
    path: ~/.ssh/google_compute_engine
  delegate_to: localhost
  register: pair
"""

RETURN = r"""
public_key:
  description: The line of the public key.
  returned: success
  type: str
  sample: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB tpu
path:
  description: The private key.
  returned: success
  type: str
  sample: /home/ann/.ssh/google_compute_engine
"""

import os
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.errors import InvalidArgument
from ansible_collections.tpuops.maxtext.plugins.module_utils.gcp.ssh_keys import public_key
from ansible_collections.tpuops.maxtext.plugins.module_utils.operation import (
    Operation,
    OperationFailed,
    run_module,
)

#: Stands for a key that a check run does not make. Its private half does not exist.
PREDICTED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


class Pair:
    """A pair of keys in two files."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.private = Path(module.params["path"])
        self.public = Path(f"{self.private}.pub")
        self.changed = False

    def kept(self) -> str:
        """The line of the public key, once both halves are there. Raises InvalidArgument and OSError."""
        self._check_path()
        if not self.private.exists():
            return self._made()
        self._check_mode()
        derived = self._derived()
        if not self.public.exists():
            return self._published(derived)
        line = self.public.read_text(encoding="utf-8", errors="replace").strip()
        given = public_key(line, f"path: what is in {self.public}")
        # A key with a passphrase does not tell its public half; a user with an agent logs in with it.
        if derived and given.split()[:2] != derived.split()[:2]:
            raise InvalidArgument(
                f"path: {self.public} is not the public half of {self.private}, so nobody could log in",
                remedy=f"Move {self.public} away, to have it created anew, or name another key.",
            )
        return line

    def _check_path(self) -> None:
        if not self.private.is_absolute():
            raise InvalidArgument(
                f"path: {self.private} is not absolute", remedy="Write it from / or from ~."
            )
        if any(part.startswith("~") for part in self.private.parts):
            raise InvalidArgument(
                f"path: {self.private} has a ~ that stands for nobody's home", remedy="Write the whole path."
            )
        if self.private.is_dir():
            raise InvalidArgument(f"path: {self.private} is a directory", remedy="Name a file in it.")

    def _check_mode(self) -> None:
        """Refuse what SSH refuses, which would then log in without this key."""
        found = self.private.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o077:
            raise InvalidArgument(
                f"path: others may read {self.private}, so SSH does not use it",
                remedy=f"Close it: chmod 600 {self.private}",
            )

    def _made(self) -> str:
        if self.public.exists():
            raise InvalidArgument(
                f"path: there is {self.public}, and no {self.private} that belongs to it",
                remedy=f"Put the private key there, or name another path. {self.public} is not overwritten.",
            )
        self.changed = True
        if self.module.check_mode:
            return PREDICTED
        self.private.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = ["-q", "-t", "ed25519", "-N", "", "-C", self.module.params["comment"]]
        done = ssh_keygen(*kind, "-f", str(self.private))
        if done.returncode:
            raise InvalidArgument(f"path: {self.private} cannot be created: {done.stderr.strip()}")
        return self.public.read_text(encoding="utf-8").strip()

    def _derived(self) -> str:
        """The public half as the private key tells it, "" where that has a passphrase."""
        done = ssh_keygen("-y", "-P", "", "-f", str(self.private))
        if done.returncode and "passphrase" not in done.stderr:
            raise InvalidArgument(
                f"path: {self.private} is no private key that SSH can use: {done.stderr.strip()}",
                remedy="Name another path, or move that file away, and a key is created.",
            )
        return "" if done.returncode else done.stdout.strip()

    def _published(self, derived: str) -> str:
        if not derived:
            raise InvalidArgument(
                f"path: {self.private} has a passphrase, and {self.public} is not there",
                remedy=f"Create it: ssh-keygen -y -f {self.private} > {self.public}",
            )
        self.changed = True
        if not self.module.check_mode:
            self.public.write_text(f"{derived}\n", encoding="utf-8")
        return derived


def ssh_keygen(*options: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["ssh-keygen", *options], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise InvalidArgument(
            "path: ssh-keygen, which creates and checks keys, is not on the controller",
            remedy="Install the client of OpenSSH.",
        ) from error


def keep(module: AnsibleModule) -> dict[str, Any]:
    pair = Pair(module)
    try:
        line = pair.kept()
    except InvalidArgument as error:
        raise OperationFailed(str(error)) from error
    except OSError as error:
        raise OperationFailed(f"path: {error.filename or pair.private}: {error.strerror}.") from error
    return {"changed": pair.changed, "public_key": line, "path": str(pair.private)}


OPERATION = Operation(
    {"path": {"type": "path", "required": True}, "comment": {"type": "str", "default": ""}}, keep
)


def main() -> None:
    run_module(OPERATION)


if __name__ == "__main__":
    main()
