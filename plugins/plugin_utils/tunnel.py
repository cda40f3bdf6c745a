# Copyright (c) 2026, The tpuops.maxtext maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A way from here to the server on a node's loopback address, through SSH.

The server listens on the node alone. The command is that of the inventory, which trusts the node's published
host key. It ends with the task: its input is a pipe of ours.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Any

#: A connection of its own: forwarding on a shared one outlives the command.
OPTIONS = (
    "-T",
    *("-o", "ControlMaster=no"),
    *("-o", "ControlPath=none"),
    *("-o", "BatchMode=yes"),
    *("-o", "ConnectTimeout=30"),
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ServerAliveInterval=15"),
    *("-o", "StreamLocalBindMask=0177"),
)


class TunnelError(Exception):
    """Why there is no tunnel; the text is the whole error message."""


def command(variables: Mapping[str, Any]) -> tuple[str, ...]:
    """The command that logs in to a host of the inventory; () where the host has no address.

    The destination is last. variables: those of `hostvars`; what a task is given has templates in it.
    """
    address, user = str(variables.get("ansible_host") or ""), str(variables.get("ansible_user") or "")
    if not address:
        return ()
    arguments = ["ssh"]
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        arguments += shlex.split(str(variables.get(name) or ""))
    if key := str(variables.get("ansible_ssh_private_key_file") or ""):
        arguments += ["-o", "IdentitiesOnly=yes", "-i", key]
    if port := variables.get("ansible_port"):
        arguments += ["-p", str(port)]
    return (*arguments, f"{user}@{address}" if user else address)


def output(process: subprocess.Popen[str]) -> IO[str]:
    """What the process writes, through a pipe."""
    if process.stdout is None:
        raise TunnelError("ssh: has no pipe to write to")
    return process.stdout


class Tunnel:
    """Open between `with` and its end. key: the key of the server, which only root can read on the node.

    ssh: the command that logs in, the destination last; port: of the server; key_file: on the node;
    local_port: where to listen here, None for a socket in a directory that nobody else can enter.
    """

    def __init__(self, ssh: Sequence[str], port: int, key_file: str, local_port: int | None = None) -> None:
        self._directory = tempfile.mkdtemp(prefix="tpuops-")
        self.path = os.path.join(self._directory, "server")
        self._address = f"127.0.0.1:{local_port}" if local_port else self.path
        self._port, self._local_port = port, local_port
        read = f"sudo -n cat {shlex.quote(key_file)} || echo; exec cat >/dev/null"
        forward = ("-L", f"{self._address}:127.0.0.1:{port}")
        self._ssh = ssh
        self._argv = [*ssh[:-1], *OPTIONS, *forward, *ssh[-1:], read]
        self._process: subprocess.Popen[str] | None = None
        self.key = ""

    def __enter__(self) -> Tunnel:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        if self._local_port:
            self._check_free(self._local_port)
        if len(self._ssh) < 2:
            raise TunnelError(
                "ansible_host: the inventory has no address of the node. Use that of the plugin."
            )
        with open(os.path.join(self._directory, "errors"), "w+", encoding="utf-8") as errors:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
            answer = output(self._process).readline()
            errors.seek(0)
            said = errors.read().strip()
        self.key = answer.strip()
        if not self.key:
            raise TunnelError(
                f"vllm_serve_api_key_file: the key of the server cannot be read on the node ({said})."
                if answer
                else f"ssh: no tunnel to the node: {said}."
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Also from a signal handler, and twice."""
        if self._process:
            self._process.terminate()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    pipe.close()
            self._process = None
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def end(self) -> int:
        """A descriptor that can be read when the tunnel is at its end."""
        if self._process is None:
            raise TunnelError("the tunnel is not open")
        return output(self._process).fileno()

    def connect(self) -> socket.socket:
        """A connection to the server."""
        if self._local_port:
            return socket.create_connection(("127.0.0.1", self._local_port))
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return connection

    def keep(self, name: str, text: str) -> str:
        """Write a file that only this user can read, and that goes with the tunnel; its path."""
        path = os.path.join(self._directory, name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
        return path

    @staticmethod
    def _check_free(port: int) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise TunnelError(
                    f"local_port: {port} cannot be used on this machine ({error.strerror}). Choose another "
                    f"with -e local_port={port + 1}."
                ) from error
